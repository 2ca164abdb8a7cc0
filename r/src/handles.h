#pragma once

// What R holds of the library: layers and models behind external pointers, and the one Context.

#include <cpp11/protect.hpp>
#include <cpp11/sexp.hpp>
#include <memory>
#include <optional>
#include <string>

#include "grouphead/core/context.h"
#include "grouphead/models/model.h"
#include "grouphead/train/fit.h"

namespace gr {

namespace gh = grouphead;

/// A layer or a model, and what a model is trained by.
struct Holder {
  std::shared_ptr<gh::Layer> layer;
  std::unique_ptr<gh::CompiledModel> compiled{};  // it refers to the layer
  std::optional<gh::CompileConfig> settings{};    // of compile(), until the model has parameters
  bool is_busy = false;                           // in fit() or evaluate()
};

/// Whether it is a layer or a model of this package, alive or not.
bool is_layer(SEXP value);
/// Errors, here and below: ConfigError for something else, and for one whose memory is gone: it was
/// read from a file, or came from another process.
Holder& holder_of(SEXP value, const std::string& what);
const std::shared_ptr<gh::Layer>& layer_of(SEXP value, const std::string& what);
gh::Model& model_of(SEXP value, const std::string& what);
SEXP make_layer_pointer(std::shared_ptr<gh::Layer> layer);
SEXP make_holder_pointer(std::unique_ptr<Holder> holder);

/// Whether it is what a layer gave for an input that is not there yet.
bool is_symbol(SEXP value);
const gh::Symbol& symbol_of(SEXP value, const std::string& what);
SEXP make_symbol(const gh::Symbol& symbol);

/// The envelope of an initializer, an optimizer, a loss, ...; NULL for other values.
SEXP description_of(SEXP value);

/// The threads and memory of all calls. Errors: ConfigError in a forked process, where its threads
/// are missing.
gh::Context& context();
/// Keras's switch: whether layers may choose flash attention. No result depends on it.
void enable_flash_attention(bool enable);
bool is_flash_attention_enabled();
/// 0: one for each core.
void set_threads(gh::Index threads);

}  // namespace gr
