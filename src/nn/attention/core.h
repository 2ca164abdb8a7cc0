#pragma once

// What GroupQueryAttention and MultiHeadAttention share: projections around attention, on inputs of
// rank 3.

#include "grouphead/core/random.h"
#include "grouphead/layers/attention_inputs.h"
#include "grouphead/parallel/communicator.h"
#include "nn/attention/projection.h"
#include "nn/attention/rope_tables.h"
#include "nn/row_norm.h"
#include "ops/attention.h"

namespace grouphead::nn {

/// How queries and keys are normalised: each head alone, by gains that all heads share or that are
/// its own, or all heads of a position together.
enum class HeadNormScope : std::uint8_t { shared_gains, own_gains, all_heads };
struct HeadNormSettings {
  HeadNormScope scope = HeadNormScope::shared_gains;
  RowNormSettings norm{};
};

/// Which projections add a bias; the gate goes with the query.
struct ProjectionBiases {
  bool query = true;
  bool key = true;
  bool value = true;
  bool output = true;
};

struct AttentionSettings {
  std::string_view layer;  ///< in messages
  Index num_query_heads = 1;
  Index num_key_value_heads = 1;
  Index key_dim = 1;    ///< D
  Index value_dim = 1;  ///< Dv
  double dropout = 0;
  std::optional<std::uint64_t> seed{};
  bool use_gate = false;
  Regularizer activity_regularizer{};  ///< of each projection
  ProjectionOptions projections{};
  std::optional<RopeConfig> rope{};
  std::optional<double> softcap{};
  std::vector<double> alibi_slopes{};
  bool sinks = false;
  std::optional<double> scale{};             ///< of q k; absent: 1 / sqrt(D)
  std::optional<ProjectionBiases> biases{};  ///< absent: all as `projections` says
  /// Of projected queries and keys, before they are rotated; its sizes are set by the core.
  std::optional<HeadNormSettings> head_norm{};
  DtypePolicy policy{};
};

/// Sizes that the parameters depend on.
struct AttentionWidths {
  Index query, key, value;
  Shape output;
};

/// One call, checked: its values are in policy.arithmetic(), its masks bool.
struct AttentionCall {
  LayerInput query;       ///< [B, T, Mq]; a view's rows are evenly spaced, here and below
  LayerInput key;         ///< [B, S, Mk]
  LayerInput value;       ///< [B, S, Mv]
  Tensor query_mask;      ///< [B, T] or absent
  Tensor key_mask;        ///< [B, S] or absent
  Tensor attention_mask;  ///< [B or 1, Hq or 1, T or 1, S or 1] or absent
  Tensor attention_bias;  ///< as attention_mask
  bool causal = false;
  Index causal_offset = 0;
  std::optional<Index> window{};  ///< W: keys |t + causal_offset - j| < W
  MaskedRows masked_rows = MaskedRows::zeros;
  bool return_scores = false;
  /// Activity penalties are divided by it. The batch of the user's tensors.
  Index batch = 0;

  /// Views of the tensors above.
  AttentionOptions options() const;
};

/// Where backward() adds gradients; absent: not wanted.
struct AttentionGradientViews {
  View d_query, d_key, d_value;
  View d_bias;  ///< of attention_bias, contiguous
};

/// y = gate * attention(query W_q, key W_k, value W_v) W_o, queries and keys normalised and rotated
/// as the settings say.
class AttentionCore {
 public:
  explicit AttentionCore(const AttentionSettings& settings);
  ~AttentionCore();

  bool is_built() const noexcept { return query_ != nullptr; }
  void build(const AttentionWidths& widths, bool trainable, RandomStream& random);
  /// In Keras's order: query, key, gate, value, attention_output; then sinks, query_norm, key_norm.
  void append_parameters(const std::string& prefix, ParameterList& out);

  /// Of each projection of inputs with so many axes; null: they have none.
  void plan_quantization(const Quantization& how, int input_rank, QuantizationPlan& plan);
  const Quantization* quantization() const noexcept {
    return quantization_ ? &*quantization_ : nullptr;
  }

  /// Shapes of `call` against the parameters. Errors: ShapeError; ConfigError before build().
  void require_fit(const AttentionCall& call) const;

  /// output [B, T, E] with E the elements of one output row, and scores [B, Hq, T, S] or absent.
  AttentionOutput forward(Context& ctx, AttentionCall call, const Mode& mode,
                          std::unique_ptr<Saved>* saved) const;
  /// Absent cotangents are zero.
  void backward(Context& ctx, Saved& saved, ConstView d_output, ConstView d_scores,
                const AttentionGradientViews& d_in, Grads& grads) const;

  /// The cache of a Decoder's next attention call.
  KvCache& next_cache(Context& ctx, DecodingState& decoding) const;
  /// Attention of counts[b] rows of x [B, T, Mq] (absent: of all) to what a cache has of each
  /// sequence b, their own keys and values included, which are stored.
  Tensor forward_cached(Context& ctx, const Tensor& x, KvCache& cache, Index layer,
                        std::optional<Index> window, std::span<const Index> counts) const;
  /// The same of rows x [1, N, Mq] of some sequences, one after the other.
  Tensor forward_packed(Context& ctx, const Tensor& x, KvCache& cache, Index layer,
                        std::optional<Index> window, std::span<const SequenceRows> rows) const;
  /// Refuses what asks for the positions of queries, which a source does not tell.
  void require_no_positions(bool has_window) const;
  /// Stores the keys and values of a source [B, S, M].
  void store_source(Context& ctx, const Tensor& source, KvCache& cache, Index layer,
                    std::span<const Index> counts) const;
  /// Attention of x to all that a cache has.
  Tensor forward_source(Context& ctx, const Tensor& x, const KvCache& cache, Index layer) const;

  /// Null before build() and without dropout.
  const SeedGenerator* seed_generator() const noexcept { return seeds_.get(); }
  void share_rope_tables(const AttentionCore& other) { rope_tables_ = other.rope_tables_; }

 private:
  struct Heads;
  struct SavedState;

  std::unique_ptr<RowNorm> make_head_norm(Index num_heads, bool trainable) const;
  Tensor projected(Context& ctx, const Projection& projection, ConstView x, const Shape& y) const;
  Heads project(Context& ctx, ConstView query, ConstView key, ConstView value) const;
  void normalise(Context& ctx, Heads& heads, SavedState* keep) const;
  void normalise(Context& ctx, const RowNorm* norm, std::unique_ptr<Saved>* saved, Tensor& x) const;
  ops::RopeTable rotations(Index length, const Communicator* sequence) const;
  void rotate(Context& ctx, Heads& heads, const Communicator* sequence) const;
  void attend(Context& ctx, SavedState& keep) const;
  void attend_backward(Context& ctx, const SavedState& kept,
                       const AttentionGradients& gradients) const;
  void rotate_cached(Context& ctx, Heads& heads, const KvCache& cache,
                     std::span<const Index> counts) const;
  void require_cache(const Tensor& x, std::string_view operand, const Projection* projection,
                     const KvCache& cache, Index batch) const;
  void rotate_rows(Context& ctx, const KvCache& cache, Index first, Index count, View x) const;
  AttentionOptions cached_options(std::optional<Index> window) const;
  void project_gate(Context& ctx, ConstView query, Heads& heads) const;
  Tensor gated(Context& ctx, const Tensor& out, const Tensor& gate) const;
  std::optional<RandomDraw> draw(const Mode& mode) const;
  void add_penalties(Context& ctx, const SavedState& kept, const Tensor& y, LossSink& losses) const;
  void add_penalty_gradient(Context& ctx, const SavedState& kept, ConstView x, View d_x) const;
  Tensor backward_output(Context& ctx, const SavedState& kept, ConstView d_output,
                         Grads& grads) const;
  Tensor backward_gate(Context& ctx, const SavedState& kept, const Tensor& d_gated, View d_query,
                       Grads& grads) const;
  void backward_heads(Context& ctx, SavedState& kept, const Tensor& d_out, ConstView d_scores,
                      const AttentionGradientViews& d_in, Grads& grads) const;
  void set_logit_options(AttentionOptions& options) const;
  void round(Context& ctx, View x) const;
  Dtype dtype() const noexcept { return settings_.policy.arithmetic(); }

  AttentionSettings settings_;
  std::unique_ptr<Projection> query_, key_, gate_, value_, output_;  // null before build()
  std::optional<Quantization> quantization_;
  std::shared_ptr<RopeTables> rope_tables_;         // null without rope
  std::unique_ptr<SeedGenerator> seeds_;            // null without dropout
  Tensor slopes_;                                   // absent without ALiBi
  std::unique_ptr<Parameter> sinks_;                // null without sinks
  std::unique_ptr<RowNorm> query_norm_, key_norm_;  // null without head_norm
};

}  // namespace grouphead::nn
