#pragma once

// How a model that is a graph of layers reads a text step by step.

#include <optional>
#include <vector>

#include "grouphead/core/kv_cache.h"
#include "grouphead/layers/layer.h"

namespace grouphead::nn {

/// What a Decoder keeps for the layers of its model.
struct DecodingState {
  Index capacity = 0;                  ///< of each cache
  std::optional<Dtype> cache_dtype{};  ///< absent: the layer's own
  std::vector<KvCache> caches{};       ///< of the attention calls, in their order in a run
  std::size_t next = 0;                ///< whose turn it is in this run

  /// The cache of the call whose turn it is, made at its first one.
  KvCache& next_cache(Context& ctx, KvCacheConfig config);
};

/// Errors: ConfigError, while a Decoder runs, for a layer that can_decode() denies: it would look
/// at positions that are not there.
void require_decodable(const Layer& layer, std::span<const Value> in, const Mode& mode);

/// Errors: ConfigError unless every element of a mask is true, or it is absent: caches have no
/// padding.
void require_no_padding(std::string_view layer, std::string_view operand, const Tensor& mask);

/// What Layer::can_decode() says of the library's layers that work on each position alone.
bool acts_on_positions(const Layer& layer, std::span<const Shape> inputs,
                       const CallArguments* arguments);

}  // namespace grouphead::nn
