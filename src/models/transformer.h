#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "grouphead/models/models.h"

namespace grouphead {

/// Errors: ConfigError unless 1 <= size <= 2^30: products of two sizes stay within an Index.
void require_size(std::string_view model, std::string_view option, Index size);

/// Errors: ConfigError, under the name `model`, for sizes below 1, hidden_size not a multiple of
/// num_heads, num_heads not one of num_key_value_heads, an odd head size with rope, rates outside
/// [0, 1).
void check_transformer_config(std::string_view model, const TransformerConfig& config);

/// A cache that fits a stack.
KvCacheConfig cache_config(const TransformerConfig& config, Index batch, Index capacity,
                           std::optional<Dtype> stored);

/// The stack of an Edifice model.
namespace edifice {
TransformerConfig stack_config(const GqaOptions& options);
}

class TransformerBlock;

/// Which positions a caller wants. `last` spares the last block's feed-forward and the last norm of
/// all others.
enum class Positions : std::uint8_t { all, last };

/// What one run of the stack works with besides x.
struct StackCall {
  Mode mode{};
  Positions positions = Positions::all;
  KvCache* cache = nullptr;                 ///< x continues what it holds; not with `saved`
  std::span<const SequenceRows> rows{};     ///< of `cache`: whose the rows of x [1, N, M] are
  std::unique_ptr<Saved>* saved = nullptr;  ///< null: inference, no allocation once warm
  std::vector<Tensor>* scores = nullptr;    ///< gets each block's [B, Hq, T, T]; not with `cache`
  std::vector<Tensor>* attended = nullptr;  ///< gets what each block's attention is given
};

/// x [B, T, M] through L pre-norm blocks and the last norm, as models.h says. Parameters are
/// `gqa_block_1/attn_norm/gamma`, ..., `final_norm/beta`.
///
/// Memory   saved per block: B T (4 M + 2 F + 2 D (Hq + Hkv)) elements and a few per row
class TransformerStack final : public Layer {
 public:
  explicit TransformerStack(const TransformerConfig& config);
  ~TransformerStack() override;
  std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                             std::unique_ptr<Saved>* saved) const override;
  void backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out, std::span<View> d_in,
                Grads& grads) const override;
  void append_parameters(const std::string& prefix, ParameterList& out) override;

  const GroupQueryAttention& attention(std::size_t block) const;

  /// [B, T, M], or [B, 1, M] of the last position. Advances call.cache.
  Tensor run(Context& ctx, const Tensor& x, const StackCall& call) const;
  /// From the gradient of run()'s result, which it may overwrite, that of x [B, T, M].
  Tensor run_backward(Context& ctx, Saved& saved, Tensor d_y, Grads& grads) const;

 private:
  void create_parameters(std::span<const Shape> inputs, RandomStream& random) override;
  TransformerConfig config_;
  std::vector<std::unique_ptr<TransformerBlock>> blocks_;
  Dropout between_blocks_;
  std::unique_ptr<LayerNormalization> final_norm_;  // null without final_norm
};

}  // namespace grouphead
