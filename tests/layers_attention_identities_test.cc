// What must hold for GroupQueryAttention and MultiHeadAttention whatever their numbers are.

#include <algorithm>

#include "attention_layer_support.h"

namespace grouphead {
namespace {

using namespace testing_support;  // NOLINT(google-build-using-namespace)

const GroupQueryAttentionConfig kGqa = {
    .head_dim = 8, .num_query_heads = 4, .num_key_value_heads = 2, .use_gate = true};
const MultiHeadAttentionConfig kMha = {.num_heads = 4, .key_dim = 8, .use_gate = true};

AttentionInputs cross(Index batch = 2, Index queries = 5, Index keys = 7) {
  return {.query = random_tensor({batch, queries, 16}, 1),
          .value = random_tensor({batch, keys, 12}, 2)};
}

constexpr double kBound = 1e-5;  // sums of a hundred numbers around 1

TEST(AttentionIdentities, EqualHeadsMakeBothLayersOne) {
  Context ctx;
  AttentionInputs in = cross();
  in.use_causal_mask = true;
  GroupQueryAttentionConfig config = kGqa;
  config.num_key_value_heads = 4;
  const auto gqa = made<GroupQueryAttention>(config, operands_of(in));
  const auto mha = made<MultiHeadAttention>(kMha, operands_of(in));
  copy_parameters(*gqa, *mha);
  EXPECT_TRUE(same_bits((*mha)(ctx, in), (*gqa)(ctx, in)));
  EXPECT_TRUE(same_bits(mha->with_scores(ctx, in).scores, gqa->with_scores(ctx, in).scores));
}

TEST(AttentionIdentities, OrderOfKeysDoesNotMatter) {
  Context ctx;
  const AttentionInputs in = cross();
  const auto layer = made<GroupQueryAttention>(kGqa, operands_of(in));
  AttentionInputs turned = in;
  Tensor value(in.value.shape());
  for (Index s = 0; s < 7; ++s) {
    copy(in.value.view().slice(1, s, s + 1), value.view().slice(1, 6 - s, 7 - s));
  }
  turned.value = value;
  CHECK_CLOSE((*layer)(ctx, turned), (*layer)(ctx, in), kBound, "reversed keys");
}

// Gradients of the parameters, then of query and value, by `passes` backward passes.
std::vector<Tensor> gradients(Context& ctx, const Layer& layer, const AttentionInputs& in,
                              const Tensor& d_y, int passes) {
  Grads grads(ctx, layer.parameters());
  Tensor d_query = Tensor::zeros(in.query.shape());
  Tensor d_value = Tensor::zeros(in.value.shape());
  std::vector<View> d_in = {d_query, d_value};
  const ConstView d_out = d_y;
  for (int pass = 0; pass < passes; ++pass) {
    std::unique_ptr<Saved> saved;
    layer.forward(ctx, operands_of(in), {}, &saved);
    layer.backward(ctx, *saved, std::span(&d_out, 1), d_in, grads);
  }
  std::vector<Tensor> found;
  for (const auto& entry : layer.parameters()) {
    found.push_back(dense(grads.of(*entry.parameter)));
  }
  found.push_back(d_query);
  found.push_back(d_value);
  return found;
}

TEST(AttentionIdentities, TwoBackwardPassesAddAndNoCotangentIsZero) {
  Context ctx;
  const AttentionInputs in = cross();
  const auto layer = made<GroupQueryAttention>(kGqa, operands_of(in));
  const Tensor d_y = random_tensor(in.query.shape(), 3);
  const auto once = gradients(ctx, *layer, in, d_y, 1);
  const auto twice = gradients(ctx, *layer, in, d_y, 2);
  const auto of_zero = gradients(ctx, *layer, in, Tensor::zeros(d_y.shape()), 1);
  const auto of_nothing = gradients(ctx, *layer, in, {}, 1);
  for (std::size_t i = 0; i < once.size(); ++i) {
    for (Index k = 0; k < once[i].size(); ++k) {
      EXPECT_NEAR(element(twice[i], k), 2 * element(once[i], k), 1e-6);
    }
    EXPECT_GT(testing::max_abs(once[i]), 0);
    EXPECT_EQ(testing::max_abs(of_zero[i]), 0);
    EXPECT_EQ(testing::max_abs(of_nothing[i]), 0);
  }
}

TEST(AttentionIdentities, OfNoPositionsThereIsNothingToRotate) {
  Context ctx;
  GroupQueryAttentionConfig config = kGqa;
  config.rope = RopeConfig{};
  for (const Index batch : {0, 2}) {
    const auto layer = made<GroupQueryAttention>(config, operands_of(cross()));
    const AttentionInputs nothing = cross(batch, 0, 0);
    EXPECT_EQ((*layer)(ctx, nothing).shape(), (Shape{batch, 0, 16}));
    const Tensor d_y = Tensor::zeros({batch, 0, 16});
    for (const Tensor& each : gradients(ctx, *layer, nothing, d_y, 1)) {
      EXPECT_EQ(testing::max_abs(each), 0);
    }
    EXPECT_EQ((*layer)(ctx, cross()).shape(), (Shape{2, 5, 16}));  // and then of some
  }
}

TEST(AttentionIdentities, ThreadsDoNotChangeTheBits) {
  const AttentionInputs in = cross(2, 150, 170);
  MultiHeadAttentionConfig config = kMha;
  config.value_dim = 5;
  config.sliding_window = 70;
  config.dropout = 0.2;
  const auto layer = made<MultiHeadAttention>(config, operands_of(in));
  std::vector<std::vector<Tensor>> results;
  for (const int threads : {1, 2, 3}) {
    Context ctx({.num_threads = threads});
    results.push_back(
        AttentionProblem{.layer = *layer, .in = operands_of(in), .training = true}.gradients(ctx));
  }
  for (const auto& result : results) {
    for (std::size_t i = 0; i < result.size(); ++i) {
      EXPECT_TRUE(same_bits(result[i], results[0][i])) << i;
    }
  }
}

// Peak bytes of a forward and backward call of T queries and keys, without scores.
Index peak_of(Index length) {
  Context ctx({.num_threads = 1});
  const Tensor x = random_tensor({1, length, 16}, 1);
  GroupQueryAttentionConfig config = kGqa;
  config.dropout = 0.1;
  config.sliding_window = 64;
  const AttentionInputs in{.query = x, .value = x, .value_mask = random_mask({1, length}, 2)};
  const auto layer = made<GroupQueryAttention>(config, operands_of(in));
  Grads grads(ctx, layer->parameters());
  RandomStream random(1);
  std::unique_ptr<Saved> saved;
  const Tensor y = (*layer)(ctx, in, &saved, {.training = true, .random = &random});
  Tensor d_x = Tensor::zeros(x.shape());
  std::vector<View> d_in = {d_x};
  const ConstView d_out = y;
  layer->backward(ctx, *saved, std::span(&d_out, 1), d_in, grads);
  return ctx.memory().peak_bytes;
}

TEST(AttentionIdentities, MemoryGrowsWithTheLengthNotItsSquare) {
  const Index at_1024 = peak_of(1024);
  const Index at_2048 = peak_of(2048);
  // A T x S buffer of one byte for each of the 4 heads would add 4 * 3 MiB.
  EXPECT_LT(at_2048, 2 * at_1024 + (Index{1} << 20));
}

TEST(AttentionDropout, DrawsKerasBitsWithoutAStream) {
  // keras 3.15.1 on JAX: layer = GroupQueryAttention(2, 4, 2, dropout=0.5, seed=11, use_bias=False)
  // with query/kernel 0 and the other kernels 1; three calls layer(x, x, training=True) of ones.
  const float want[3][2] = {{2, 8}, {10, 4}, {14, 10}};
  Context ctx;
  GroupQueryAttentionConfig config = kGqa;
  config.head_dim = 2;
  config.use_gate = false;
  config.use_bias = false;
  config.dropout = 0.5;
  config.seed = 11;
  const Tensor x = Tensor::from({1, 2, 1}, {1, 1});
  const auto layer = made<GroupQueryAttention>(config, {{x, {}}});
  for (const auto& entry : layer->parameters()) {
    View w = entry.parameter->edit();
    std::fill_n(w.data<float>(), w.size(), entry.path == "query/kernel" ? 0.0F : 1.0F);
  }
  for (const auto& row : want) {
    const Tensor y = (*layer)(ctx, {.query = x, .value = x}, nullptr, {.training = true});
    EXPECT_NEAR(element(y, 0), row[0], 1e-5);
    EXPECT_NEAR(element(y, 1), row[1], 1e-5);
  }
  EXPECT_EQ(layer->seed_generator()->next_draw(), 3U);
}

TEST(AttentionDropout, OfOneLeavesTheOutputsBiasAndTheScores) {
  Context ctx;
  const AttentionInputs in = cross();
  MultiHeadAttentionConfig config = kMha;
  const auto without = made<MultiHeadAttention>(config, operands_of(in));
  config.dropout = 1;
  const auto layer = made<MultiHeadAttention>(config, operands_of(in));
  const AttentionOutput out = layer->with_scores(ctx, in, nullptr, {.training = true});
  const ConstView bias = layer->parameters().back().parameter->value();
  for (Index i = 0; i < out.output.size(); ++i) {
    EXPECT_EQ(element(out.output, i), element(bias, i % 16));
  }
  EXPECT_TRUE(same_bits(out.scores, without->with_scores(ctx, in).scores));
  EXPECT_TRUE(same_bits((*layer)(ctx, in), (*without)(ctx, in)));  // in inference it does nothing
}

TEST(AttentionPenalties, CountTheOutputTwiceInGroupQueryAttentionAlone) {
  Context ctx;
  const AttentionInputs in = cross();
  GroupQueryAttentionConfig gqa = kGqa;
  gqa.activity_regularizer = Regularizer("l2");
  MultiHeadAttentionConfig mha = kMha;
  mha.activity_regularizer = Regularizer("l2");
  const auto losses_of = [&](const Layer& layer, bool scores) {
    LossSink losses;
    AttentionArguments arguments;
    arguments.return_attention_scores = scores;
    layer.call(ctx, operands_of(in), {.losses = &losses, .arguments = &arguments}, nullptr);
    return losses.losses();
  };
  const auto grouped = made<GroupQueryAttention>(gqa, operands_of(in));
  const std::vector<double> six = losses_of(*grouped, false);
  ASSERT_EQ(six.size(), 6U);  // q, k, gate, v, output, and the output again
  EXPECT_EQ(six[4], six[5]);
  EXPECT_EQ(losses_of(*grouped, true).size(), 7U);
  EXPECT_EQ(losses_of(*made<MultiHeadAttention>(mha, operands_of(in)), true).size(), 5U);
}

TEST(AttentionPolicies, LeaveInSixteenBitsCloseToFloat32) {
  Context ctx;
  const AttentionInputs in = cross();
  const auto exact = made<GroupQueryAttention>(kGqa, operands_of(in));
  const AttentionOutput want = exact->with_scores(ctx, in);
  struct Policy {
    const char* name;
    Dtype compute, variable;
    double bound;  // Keras's own distance on cases of this size is a third of it
  };
  for (const Policy& policy : {Policy{"mixed_bfloat16", Dtype::bf16, Dtype::f32, 3e-2},
                               {"bfloat16", Dtype::bf16, Dtype::bf16, 3e-2},
                               {"mixed_float16", Dtype::f16, Dtype::f32, 4e-3},
                               {"float16", Dtype::f16, Dtype::f16, 4e-3}}) {
    SCOPED_TRACE(policy.name);
    GroupQueryAttentionConfig config = kGqa;
    config.dtype = policy.name;
    GroupQueryAttention layer(config);
    build(layer, shapes_of(operands_of(in)));
    for (std::size_t i = 0; i < layer.parameters().size(); ++i) {
      const Parameter& from = *exact->parameters()[i].parameter;
      View to = layer.parameters()[i].parameter->edit();
      ASSERT_EQ(to.dtype(), policy.variable);
      for (Index k = 0; k < to.size(); ++k) {
        const float value = from.value().data<float>()[k];
        if (to.dtype() == Dtype::f32) to.data<float>()[k] = value;
        if (to.dtype() == Dtype::bf16) to.data<Bf16>()[k] = to_bf16(value);
        if (to.dtype() == Dtype::f16) to.data<F16>()[k] = to_f16(value);
      }
    }
    std::unique_ptr<Saved> saved;
    const AttentionOutput got = layer.with_scores(ctx, in, &saved);
    ASSERT_EQ(got.output.dtype(), policy.compute);
    ASSERT_EQ(got.scores.dtype(), policy.compute);
    const auto number = [&](const Tensor& x, Index i) {
      return policy.compute == Dtype::bf16 ? to_float(x.data<Bf16>()[i])
                                           : to_float(x.data<F16>()[i]);
    };
    const double scale = testing::max_abs(want.output);
    for (Index i = 0; i < got.output.size(); ++i) {
      EXPECT_NEAR(number(got.output, i), element(want.output, i), policy.bound * scale);
    }
    // Gradients are f32, of call_backward(): the typed front went through call().
    Grads grads(ctx, layer.parameters());
    Tensor d_query = Tensor::zeros(in.query.shape());
    std::vector<View> d_in = {d_query, View()};
    const Tensor d_y = random_tensor(in.query.shape(), 3);
    const ConstView d_out[] = {d_y, ConstView()};
    layer.call_backward(ctx, *saved, d_out, d_in, grads);
    EXPECT_GT(testing::max_abs(d_query), 0);
  }
}

}  // namespace
}  // namespace grouphead
