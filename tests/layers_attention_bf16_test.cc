// GroupQueryAttention and MultiHeadAttention under mixed_bfloat16: training runs on attention in
// bf16, forward and backward, where the level has kernels for it.

#include "attention_layer_support.h"
#include "grouphead/core/tensor_functions.h"
#include "ops/attention_problem.h"

namespace grouphead {
namespace {

using namespace testing_support;  // NOLINT(google-build-using-namespace)

Tensor on_grid(const Shape& shape, std::uint64_t seed) {
  return cast(cast(random_tensor(shape, seed), Dtype::bf16), Dtype::f32);
}

// Query, value and key of other lengths.
std::vector<Value> operands(Index batch, Index queries, Index keys) {
  return {{on_grid({batch, queries, 16}, 1), {}},
          {on_grid({batch, keys, 16}, 2), {}},
          {on_grid({batch, keys, 16}, 3), {}}};
}

template <class LayerType, class Config>
void expect_one_forward(const Config& config, const std::string& what) {
  const std::vector<Value> in = operands(2, 40, 70);
  const auto layer = made<LayerType>(config, in);
  AttentionArguments arguments;
  arguments.use_causal_mask = true;
  for (const Isa isa : isas_under_test()) {
    Context ctx({.num_threads = 2, .isa = isa});
    const Mode mode{.training = true, .arguments = &arguments};
    std::unique_ptr<Saved> saved;
    const Tensor inference = layer->call(ctx, in, mode, nullptr)[0].tensor;
    EXPECT_TRUE(same_bits(layer->call(ctx, in, mode, &saved)[0].tensor, inference))
        << what << " at " << name_of(isa);
  }
}

TEST(AttentionLayersBf16, TrainingComputesWhatInferenceDoes) {
  expect_one_forward<GroupQueryAttention>(GroupQueryAttentionConfig{.head_dim = 24,
                                                                    .num_query_heads = 4,
                                                                    .num_key_value_heads = 2,
                                                                    .softcap = 3,
                                                                    .sinks = true,
                                                                    .dtype = "mixed_bfloat16"},
                                          "grouped heads");
  expect_one_forward<MultiHeadAttention>(
      MultiHeadAttentionConfig{.num_heads = 2, .key_dim = 24, .dtype = "mixed_bfloat16"},
      "equal heads");
}

// Gradients of attention alone; at levels without kernels for bf16 from operands in f32.
std::vector<Tensor> gradients_of_attention(Context& ctx, const std::vector<Value>& in,
                                           const Tensor& d_y) {
  const Dtype dtype = ops::bf16_is_native(ctx) ? Dtype::bf16 : Dtype::f32;
  const auto heads = [&](const Tensor& x) {
    return cast(x, dtype).reshaped({x.dim(0), x.dim(1), 1, x.dim(2)});
  };
  const Tensor q = heads(in[0].tensor), v = heads(in[1].tensor), k = heads(in[2].tensor);
  Tensor out(q.shape(), dtype), statistics({2, q.dim(0), 1, q.dim(1)});
  attention(ctx, q, k, v, {}, out, {.statistics = statistics});
  Tensor d_q(q.shape(), dtype), d_k(k.shape(), dtype), d_v(v.shape(), dtype);
  const Tensor d_out = heads(d_y);
  attention_backward(ctx, q, k, v, {}, out, statistics,
                     {.d_out = d_out, .d_q = d_q, .d_k = d_k, .d_v = d_v});
  return {cast(d_q, Dtype::bf16), cast(d_v, Dtype::bf16), cast(d_k, Dtype::bf16)};
}

// All projections are the identity, so the gradients of the inputs are those of attention.
TEST(AttentionLayersBf16, GradientsAreThoseOfAttentionInBf16) {
  const std::vector<Value> in = operands(1, 60, 230);
  const auto layer = made<GroupQueryAttention>(GroupQueryAttentionConfig{.head_dim = 16,
                                                                         .num_query_heads = 1,
                                                                         .num_key_value_heads = 1,
                                                                         .use_bias = false,
                                                                         .dtype = "mixed_bfloat16"},
                                               in);
  for (const auto& entry : layer->parameters()) {
    const View kernel = entry.parameter->edit();
    ASSERT_EQ(kernel.size(), 256) << entry.path;
    for (Index i = 0; i < 256; ++i) kernel.data<float>()[i] = i % 17 == 0 ? 1.0F : 0.0F;
  }
  const Tensor d_y = on_grid({1, 60, 16}, 4);
  for (const Isa isa : isas_under_test()) {
    Context ctx({.num_threads = 2, .isa = isa});
    std::unique_ptr<Saved> saved;
    static_cast<void>(layer->call(ctx, in, {.training = true}, &saved));
    std::vector<Tensor> d_in;
    for (const Value& x : in) d_in.push_back(Tensor::zeros(x.tensor.shape()));
    std::vector<View> views(d_in.begin(), d_in.end());
    Grads grads(ctx, layer->parameters());
    const ConstView d_out[] = {d_y};
    layer->call_backward(ctx, *saved, d_out, views, grads);
    const std::vector<Tensor> want = gradients_of_attention(ctx, in, d_y);
    for (std::size_t i = 0; i < in.size(); ++i) {
      EXPECT_TRUE(same_bits(cast(d_in[i], Dtype::bf16), want[i].reshaped(in[i].tensor.shape())))
          << "operand " << i << " at " << name_of(isa);
    }
  }
}

// What the backward of the output projection reads is rounded, so that it multiplies in bf16.
TEST(AttentionLayersBf16, ProjectionsReadGradientsInBf16) {
  const std::vector<Value> in = operands(1, 60, 70);
  const auto layer = made<GroupQueryAttention>(GroupQueryAttentionConfig{.head_dim = 24,
                                                                         .num_query_heads = 4,
                                                                         .num_key_value_heads = 2,
                                                                         .use_bias = false,
                                                                         .dtype = "mixed_bfloat16"},
                                               in);
  const Tensor d_y = random_tensor({1, 60, 16}, 4);
  for (const Isa isa : isas_under_test()) {
    Context ctx({.num_threads = 2, .isa = isa});
    if (!ops::bf16_is_native(ctx)) continue;
    const auto gradients = [&](const Tensor& d) {
      std::unique_ptr<Saved> saved;
      static_cast<void>(layer->call(ctx, in, {.training = true}, &saved));
      std::vector<Tensor> found;
      for (const Value& x : in) found.push_back(Tensor::zeros(x.tensor.shape()));
      std::vector<View> views(found.begin(), found.end());
      Grads grads(ctx, layer->parameters());
      const ConstView d_out[] = {d};
      layer->call_backward(ctx, *saved, d_out, views, grads);
      for (const auto& entry : layer->parameters()) {
        found.push_back(dense(grads.of(*entry.parameter)));
      }
      return found;
    };
    const Tensor rounded = cast(cast(d_y, Dtype::bf16), Dtype::f32);
    ASSERT_FALSE(same_bits(rounded, d_y));
    const std::vector<Tensor> got = gradients(d_y), want = gradients(rounded);
    for (std::size_t i = 0; i < got.size(); ++i) {
      EXPECT_TRUE(same_bits(got[i], want[i])) << i << " at " << name_of(isa);
    }
  }
}

}  // namespace
}  // namespace grouphead
