#pragma once

// Error texts that name a layer by its path inside a model: `[encoder/attn] query: ...`.

#include <string>
#include <string_view>

#include "grouphead/core/error.h"

namespace grouphead::nn {

/// `text` with the layer before the operation it names: `[matmul] x: ...` in the layer "attn" is
/// `[attn/matmul] x: ...`. A layer's own errors stay as they are.
inline std::string with_layer(std::string_view layer, std::string_view text) {
  const std::string own = std::string("[").append(layer).append("]");
  if (!text.starts_with('[') || text.starts_with(own)) return std::string(text);
  return std::string("[").append(layer).append("/").append(text.substr(1));
}

/// Runs `call`. The text of a ConfigError or ShapeError that leaves it names the layer.
template <class Call>
decltype(auto) in_layer(std::string_view layer, const Call& call) {
  try {
    return call();
  } catch (const ConfigError& error) {
    throw ConfigError(with_layer(layer, error.what()));
  } catch (const ShapeError& error) {
    throw ShapeError(with_layer(layer, error.what()));
  }
}

}  // namespace grouphead::nn
