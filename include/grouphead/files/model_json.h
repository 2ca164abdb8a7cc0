#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "grouphead/models/model.h"

#pragma GCC visibility push(default)
namespace grouphead {

/// A model's architecture as JSON text that Keras loads; no numbers. With indent >= 0 in lines.
/// Source: keras.Model.to_json.
std::string to_json(const Model& model, int indent = -1);
/// The model of such a text, with new parameters from `seed`. Errors: IoError for a text that is
/// not JSON; ConfigError, as model_from_config(). Source: keras.models.model_from_json.
std::shared_ptr<Model> model_from_json(std::string_view text, std::uint64_t seed = 0);

}  // namespace grouphead
#pragma GCC visibility pop
