#pragma once

#include <limits>
#include <memory>
#include <optional>

#include "grouphead/core/context.h"
#include "grouphead/core/kv_cache.h"
#include "grouphead/models/model.h"
#include "grouphead/models/models.h"
#include "grouphead/models/transformer.h"

#pragma GCC visibility push(default)
namespace grouphead {

/// One text that a causal model reads token by token, and what may follow it: the interface that
/// generation.h works with. make_decoder() makes them; a user's own model derives one.
///
/// Threads  one caller at a time; the model may serve other decoders meanwhile
class Decoder {
 public:
  virtual ~Decoder() = default;
  virtual Index vocab_size() const = 0;  ///< V
  virtual Dtype dtype() const = 0;       ///< of the logits: f32 or f64
  virtual Index length() const = 0;      ///< how many tokens it has read
  /// How many it can read without more memory for what it keeps of them.
  virtual Index capacity() const { return std::numeric_limits<Index>::max(); }
  /// Room for `capacity` tokens or more.
  virtual void reserve(Context& /*ctx*/, Index /*capacity*/) {}
  /// Reads tokens [T] (i32) after those before. Writes logits [V] of what follows the last one, or
  /// [T, V] of what follows each.
  /// Errors: ShapeError, also for a token outside [0, V), and where there is no room. Then nothing
  /// is read.
  virtual void read(Context& ctx, ConstView tokens, View logits) = 0;
  /// Forgets the tokens from `length` on. Errors: ShapeError when there are fewer.
  virtual void truncate(Index length) = 0;
  /// Another one that has read the same, of the same model.
  virtual std::unique_ptr<Decoder> fork(Context& ctx) const = 0;
};

struct DecoderOptions {
  Index capacity = 256;  ///< room for so many tokens at the start
  /// Type of the cached keys and values: absent: the model's own; bf16 and u8 take a half and a
  /// quarter of the memory, see KvCacheConfig.
  std::optional<Dtype> cache_dtype{};
};

/// A decoder with nothing read. `model` must outlive it.
std::unique_ptr<Decoder> make_decoder(Context& ctx, const LanguageModel& model,
                                      const DecoderOptions& options = {});
/// Errors: ConfigError for a model that is not causal, or has no head.
std::unique_ptr<Decoder> make_decoder(Context& ctx, const TransformerModel& model,
                                      const DecoderOptions& options = {});
/// The same for a model that is a graph of layers, of Keras's or KerasHub's or of your own: tokens
/// [B, T] to logits or, where it ends in a softmax, probabilities [B, T, V], whose logarithms are
/// the logits. Its attention must be causal self-attention; all other layers must work on each
/// position alone, or place positions as KerasHub's layers do. An input `padding_mask` gets ones.
/// Every attention call has a cache of its own.
/// Errors: ConfigError that names the first layer that cannot be run on new positions alone.
std::unique_ptr<Decoder> make_decoder(Context& ctx, const Model& model,
                                      const DecoderOptions& options = {});

}  // namespace grouphead
#pragma GCC visibility pop
