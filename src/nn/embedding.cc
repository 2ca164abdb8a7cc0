#include "grouphead/embedding.h"

#include <array>

#include "grouphead/initializers.h"
#include "nn/layer_checks.h"
#include "ops/elementwise.h"

namespace grouphead {
namespace {

constexpr std::string_view kLayer = "embedding";

struct EmbeddingSaved final : Saved {
  Tensor tokens;
};

Shape with_appended_axis(const Shape& shape, Index size) {
  std::array<Index, kMaxRank + 1> dims{};
  std::copy(shape.begin(), shape.end(), dims.begin());
  dims[static_cast<std::size_t>(shape.rank())] = size;
  return Shape(std::span<const Index>(dims.data(), static_cast<std::size_t>(shape.rank() + 1)));
}

}  // namespace

Embedding::Embedding(const EmbeddingConfig& config)
    : Layer(config.name, config.dtype), config_(config) {
  nn::require_positive(kLayer, "input_dim", config.input_dim);
  nn::require_positive(kLayer, "output_dim", config.output_dim);
}

void Embedding::build(std::span<const Shape> inputs, RandomStream& random) {
  nn::require_unbuilt(kLayer, embeddings_ != nullptr);
  nn::require_count(kLayer, "number of inputs", inputs.size(), 1, 1);
  embeddings_ = std::make_unique<Parameter>("embeddings",
                                            Shape{config_.input_dim, config_.output_dim}, policy());
  initializers::random_uniform()->fill(embeddings_->edit(), fans_of(embeddings_->shape()), random);
}

Tensor Embedding::operator()(Context& ctx, ConstView tokens) const {
  nn::require_built(kLayer, embeddings_ != nullptr);
  detail::require_dtype(kLayer, "tokens", tokens, Dtype::i32);
  detail::require_contiguous(kLayer, "tokens", tokens);
  Tensor y = ctx.tensor(with_appended_axis(tokens.shape(), config_.output_dim), dtype());
  const Index rows = tokens.size();
  ops::embedding_forward(ctx, tokens.reshaped({rows}), embeddings_->numbers(),
                         y.view().reshaped({rows, config_.output_dim}));
  return y;
}

std::vector<Value> Embedding::forward(Context& ctx, std::span<const Value> in, const Mode& /*mode*/,
                                      std::unique_ptr<Saved>* saved) const {
  nn::require_count(kLayer, "number of inputs", in.size(), 1, 1);
  Tensor y = (*this)(ctx, in[0].tensor);
  if (saved != nullptr) {
    auto keep = std::make_unique<EmbeddingSaved>();
    keep->tokens = in[0].tensor;
    *saved = std::move(keep);
  }
  return {Value{std::move(y), in[0].mask}};
}

void Embedding::backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out,
                         std::span<View> /*d_in*/, Grads& grads) const {
  auto& kept = nn::saved_as<EmbeddingSaved>(kLayer, saved);
  nn::require_count(kLayer, "number of output gradients", d_out.size(), 1, 1);
  const View d_embeddings = grads.of(*embeddings_);
  if (!d_out[0].has_value() || !d_embeddings.has_value()) return;
  const Index rows = kept.tokens.size();
  ops::embedding_backward(ctx, kept.tokens.view().reshaped({rows}),
                          d_out[0].reshaped({rows, config_.output_dim}), d_embeddings);
}

void Embedding::append_parameters(const std::string& prefix, ParameterList& out) const {
  if (embeddings_) out.push_back({prefix + "embeddings", embeddings_.get()});
}

}  // namespace grouphead
