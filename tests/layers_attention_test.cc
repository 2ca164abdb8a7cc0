// GroupQueryAttention and KvCache.

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>

#include "gradient_support.h"
#include "grouphead/core/tensor_functions.h"
#include "grouphead/layers/group_query_attention.h"
#include "ops/attention.h"

namespace grouphead {
namespace {

using ::testing::HasSubstr;
using namespace testing_support;  // NOLINT(google-build-using-namespace)

std::unique_ptr<GroupQueryAttention> made(const GroupQueryAttentionConfig& config,
                                          const std::vector<Shape>& inputs) {
  auto layer = std::make_unique<GroupQueryAttention>(config);
  build(*layer, inputs);
  randomize(*layer, 5);
  return layer;
}

std::vector<Shape> shapes_of(const std::vector<Tensor>& in) {
  std::vector<Shape> shapes;
  for (const Tensor& x : in) shapes.push_back(x.shape());
  return shapes;
}

// x [B, T, M] times kernel [M, N] plus bias [N], in double.
Tensor projected(ConstView x, ConstView kernel, ConstView bias, Index columns) {
  const Index width = kernel.size() / columns;
  const Index rows = x.size() / width;
  Tensor y({rows, columns}, Dtype::f64);
  for (Index i = 0; i < y.size(); ++i) {
    double sum = bias.has_value() ? element(bias, i % columns) : 0;
    for (Index m = 0; m < width; ++m) {
      sum += element(x, i / columns * width + m) * element(kernel, m * columns + i % columns);
    }
    y.data<double>()[i] = sum;
  }
  return y;
}

// Rotates rows [B * T, H * D] by their position.
void rotate(Tensor& x, Index length, Index head_dim, const RopeConfig& config) {
  const std::vector<double> theta = rope_frequencies(head_dim, config);
  const bool is_half = config.layout == RopeLayout::half;
  const Index half = head_dim / 2;
  for (Index head = 0; head < x.size() / head_dim; ++head) {
    const Index position = head / (x.dim(1) / head_dim) % length;
    double* row = x.data<double>() + head * head_dim;
    for (Index i = 0; i < half; ++i) {
      double& a = row[is_half ? i : 2 * i];
      double& b = row[is_half ? i + half : 2 * i + 1];
      const double angle = static_cast<double>(position) * theta[static_cast<std::size_t>(i)];
      const double turned = a * std::cos(angle) - b * std::sin(angle);
      b = a * std::sin(angle) + b * std::cos(angle);
      a = turned;
    }
  }
}

// The layer by its formula, in double, with loops of its own.
Tensor formula(const GroupQueryAttention& layer, const AttentionInputs& in) {
  const GroupQueryAttentionConfig& config = layer.config();
  const auto p = layer.parameters();
  const bool bias = config.use_bias;
  const std::size_t each = bias ? 2 : 1;
  const auto kernel = [&](std::size_t i) { return p[i * each].parameter->value(); };
  const auto bias_of = [&](std::size_t i) {
    return bias ? p[i * each + 1].parameter->value() : ConstView();
  };
  const Index d = config.head_dim, hq = config.num_query_heads, hkv = config.num_key_value_heads;
  const Shape& query = in.query.shape();
  const Index batch = query[0], queries = query[1], keys = in.value.shape()[1];
  const LayerInput& key = in.key.has_value() ? in.key : in.value;
  Tensor q = projected(in.query.view(), kernel(0), bias_of(0), hq * d);
  Tensor k = projected(key.view(), kernel(1), bias_of(1), hkv * d);
  const Tensor v = projected(in.value.view(), kernel(2), bias_of(2), hkv * d);
  if (config.rope) {
    rotate(q, queries, d, *config.rope);
    rotate(k, keys, d, *config.rope);
  }
  Tensor heads = Tensor::zeros({batch * queries, hq * d}, Dtype::f64);
  for (Index row = 0; row < batch * queries * hq; ++row) {
    const Index h = row % hq, t = row / hq % queries, b = row / hq / queries;
    const auto at = [&](Index s) { return (b * keys + s) * hkv * d + h / (hq / hkv) * d; };
    std::vector<double> weights;
    double sum = 0;
    for (Index s = 0; s < keys; ++s) {
      double logit = 0;
      for (Index i = 0; i < d; ++i) logit += element(q, row * d + i) * element(k, at(s) + i);
      const bool seen = !(config.causal || in.use_causal_mask) || s <= t + in.causal_offset;
      weights.push_back(seen ? std::exp(logit / std::sqrt(static_cast<double>(d))) : 0);
      sum += weights.back();
    }
    for (Index s = 0; s < keys && sum > 0; ++s) {
      for (Index i = 0; i < d; ++i) {
        heads.data<double>()[row * d + i] +=
            weights[static_cast<std::size_t>(s)] / sum * element(v, at(s) + i);
      }
    }
  }
  const Index width = kernel(3).size() / (hq * d);
  return projected(heads, kernel(3), bias_of(3), width).reshaped({batch, queries, width});
}

struct AttentionCase {
  const char* name;
  GroupQueryAttentionConfig config;
  std::vector<Tensor> in;  // query, value, key
  bool use_causal_mask = false;
  Index causal_offset = 0;
};

std::vector<AttentionCase> attention_cases() {
  const auto f64 = [](Shape shape, std::uint64_t seed) {
    return random_tensor(shape, seed, Dtype::f64);
  };
  const auto config = [](Index hq, Index hkv) {
    return GroupQueryAttentionConfig{
        .head_dim = 4, .num_query_heads = hq, .num_key_value_heads = hkv, .dtype = Dtype::f64};
  };
  const Tensor x = f64({2, 5, 6}, 1);
  GroupQueryAttentionConfig no_bias = config(4, 2);
  no_bias.use_bias = false;
  GroupQueryAttentionConfig rotated = config(4, 2);
  rotated.rope = RopeConfig{.layout = RopeLayout::interleaved};
  GroupQueryAttentionConfig zero_rows = config(4, 2);
  zero_rows.masked_rows = MaskedRows::zeros;
  GroupQueryAttentionConfig causal = config(4, 2);
  causal.causal = true;
  causal.output_dim = 3;
  return {
      {"self-attention", config(4, 2), {x}},
      {"self-attention by name", config(4, 2), {x, x}},
      {"multi-head", config(2, 2), {x}, true},
      {"multi-query", config(3, 1), {x}, true},
      {"cross", config(4, 2), {x, f64({2, 7, 5}, 2)}},
      {"three inputs", config(4, 2), {x, f64({2, 3, 5}, 2), f64({2, 3, 2}, 3)}},
      {"causal, fewer keys", no_bias, {x, f64({2, 3, 5}, 2)}, true},
      {"causal with offset", config(4, 2), {x, f64({2, 9, 6}, 2)}, true, 4},
      {"causal, empty rows", zero_rows, {x, f64({2, 4, 6}, 2)}, true, -2},
      {"rotated", rotated, {x, f64({2, 7, 6}, 2)}, true, 1},
      {"always causal, other width", causal, {x}},
  };
}

AttentionInputs named(const AttentionCase& one, Dtype dtype) {
  std::vector<Tensor> in;
  for (const Tensor& x : one.in) in.push_back(converted(x, dtype));
  return {.query = in[0],
          .value = in[in.size() > 1 ? 1 : 0],
          .key = in.size() > 2 ? in[2] : Tensor(),
          .use_causal_mask = one.use_causal_mask,
          .causal_offset = one.causal_offset};
}

// Numbers are below 1 and sums have up to 16 terms, so outputs stay below 16 * 5; behind one lie
// three sums, a softmax, and the roundings of what they add.
double bound_for(Dtype dtype, ConstView want) {
  return testing::unit_roundoff(dtype) * 64 * std::max(1.0, testing::max_abs(want));
}

TEST(GroupQueryAttention, IsItsFormula) {
  for (const AttentionCase& one : attention_cases()) {
    SCOPED_TRACE(one.name);
    const auto exact = made(one.config, shapes_of(one.in));
    const Tensor want = formula(*exact, named(one, Dtype::f64));
    Context exact_ctx;
    CHECK_CLOSE((*exact)(exact_ctx, named(one, Dtype::f64)), want, bound_for(Dtype::f64, want),
                one.name);
    GroupQueryAttentionConfig config = one.config;
    config.dtype = Dtype::f32;
    const auto layer = made(config, shapes_of(one.in));
    for (const Isa isa : isas_under_test()) {
      Context ctx({.num_threads = 2, .isa = isa});
      CHECK_CLOSE((*layer)(ctx, named(one, Dtype::f32)), want, bound_for(Dtype::f32, want),
                  std::string(one.name) + " " + std::string(name_of(isa)));
    }
  }
}

TEST(GroupQueryAttention, EveryParameterAndInputFollowsCentralDifferences) {
  Context ctx({.num_threads = 1});
  for (const AttentionCase& one : attention_cases()) {
    SCOPED_TRACE(one.name);
    const auto layer = made(one.config, shapes_of(one.in));
    AttentionArguments arguments;
    arguments.use_causal_mask = one.use_causal_mask;
    arguments.causal_offset = one.causal_offset;
    // Inputs of their own, so that a difference by one does not move another.
    std::vector<Tensor> in;
    for (const Tensor& x : one.in) in.push_back(x.clone());
    check_gradients(ctx, {.layer = *layer, .in = in, .arguments = &arguments});
  }
}

TEST(GroupQueryAttention, OneInputGetsTheSumOfThreeGradients) {
  Context ctx;
  const GroupQueryAttentionConfig config{
      .head_dim = 4, .num_query_heads = 4, .num_key_value_heads = 2, .dtype = Dtype::f64};
  const Tensor x = random_tensor({2, 5, 6}, 1, Dtype::f64);
  const auto layer = made(config, {x.shape()});
  const auto gradient = [&](std::size_t inputs) {
    const std::vector<Tensor> in(inputs, x);
    Grads grads(ctx, layer->parameters());
    std::unique_ptr<Saved> saved;
    const Tensor y = call(ctx, *layer, in, {}, &saved);
    const Tensor d_y = random_tensor(y.shape(), 2, Dtype::f64);
    const ConstView d_out = d_y;
    Tensor d_x = Tensor::zeros(x.shape(), Dtype::f64);
    std::vector<View> d_in(inputs, d_x.view());  // one tensor, told apart by nobody
    layer->backward(ctx, *saved, std::span(&d_out, 1), d_in, grads);
    return d_x;
  };
  EXPECT_TRUE(same_bits(gradient(2), gradient(1)));
  EXPECT_TRUE(same_bits(gradient(3), gradient(1)));
}

// Each key/value head h of `few` becomes the heads h * R .. h * R + R - 1 of `many`.
void repeat_heads(const Layer& few, Layer& many, Index d) {
  const auto from = few.parameters();
  const auto to = many.parameters();
  for (std::size_t i = 0; i < from.size(); ++i) {
    const ConstView source = from[i].parameter->value();
    const View target = to[i].parameter->edit();
    const Index repeats = target.size() / source.size();
    for (Index k = 0; k < target.size(); ++k) {
      const Index head = k / d / repeats;
      target.data<float>()[k] = source.data<float>()[head * d + k % d];
    }
  }
}

TEST(GroupQueryAttention, RepeatedHeadsMakeItMultiHead) {
  constexpr Index kDim = 8;
  const Tensor x = random_tensor({2, 33, 24}, 1);
  for (const Index hkv : {1, 2, 4}) {
    const auto few =
        made({.head_dim = kDim, .num_query_heads = 8, .num_key_value_heads = hkv}, {x.shape()});
    const auto multi_head =
        made({.head_dim = kDim, .num_query_heads = 8, .num_key_value_heads = 8}, {x.shape()});
    repeat_heads(*few, *multi_head, kDim);
    for (const Isa isa : isas_under_test()) {
      Context ctx({.num_threads = 2, .isa = isa});
      const AttentionInputs in{.query = x, .value = x, .use_causal_mask = true};
      const Tensor want = (*multi_head)(ctx, in);
      CHECK_CLOSE((*few)(ctx, in), want, bound_for(Dtype::f32, want), "repeated heads");
    }
  }
}

TEST(GroupQueryAttention, WeightsHaveKerasNamesShapesAndRanges) {
  GroupQueryAttention layer({.head_dim = 16, .num_query_heads = 8, .num_key_value_heads = 2});
  build(layer, {{1, 1, 32}, {1, 1, 32}});
  struct Expected {
    const char* path;
    Shape shape;
    double limit;
  };
  const Expected expected[] = {
      {"query/kernel", {32, 8, 16}, 0.193649},
      {"query/bias", {8, 16}, 0},
      {"key/kernel", {32, 2, 16}, 0.306186},
      {"key/bias", {2, 16}, 0},
      {"value/kernel", {32, 2, 16}, 0.306186},
      {"value/bias", {2, 16}, 0},
      {"attention_output/kernel", {8, 16, 32}, 0.193649},
      {"attention_output/bias", {32}, 0},
  };
  const auto parameters = layer.parameters();
  ASSERT_EQ(parameters.size(), std::size(expected));
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    EXPECT_EQ(parameters[i].path, expected[i].path);
    EXPECT_EQ(parameters[i].parameter->shape(), expected[i].shape);
    const double largest = testing::max_abs(parameters[i].parameter->value());
    EXPECT_LE(largest, expected[i].limit + 1e-6);
    EXPECT_GE(largest, 0.98 * expected[i].limit);  // 1024 draws or more
  }
}

TEST(GroupQueryAttention, RefusesConfigurationsByName) {
  const auto refusal = [](const GroupQueryAttentionConfig& config) {
    return error_of<ConfigError>([&] { GroupQueryAttention layer(config); });
  };
  EXPECT_EQ(refusal({.num_query_heads = 2, .num_key_value_heads = 1}),
            "[group_query_attention] head_dim: expected 1 or more, got 0");
  EXPECT_EQ(refusal({.head_dim = 4, .num_query_heads = 4, .num_key_value_heads = 3}),
            "[group_query_attention] num_key_value_heads: expected a divisor of num_query_heads = "
            "4, got 3");
  EXPECT_EQ(refusal({.head_dim = 4, .num_query_heads = 2, .num_key_value_heads = 4}),
            "[group_query_attention] num_key_value_heads: expected a divisor of num_query_heads = "
            "2, got 4");
  EXPECT_THAT(
      refusal(
          {.head_dim = 3, .num_query_heads = 2, .num_key_value_heads = 1, .rope = RopeConfig{}}),
      HasSubstr("head_dim"));
}

TEST(GroupQueryAttention, RefusesCallsByName) {
  Context ctx;
  const auto layer =
      made({.head_dim = 4, .num_query_heads = 4, .num_key_value_heads = 2}, {{1, 1, 6}, {1, 1, 5}});
  const auto refusal = [&](const std::vector<Tensor>& in, const Mode& mode = {}) {
    return error_of<Error>([&] { call(ctx, *layer, in, mode); });
  };
  const Tensor query = random_tensor({2, 3, 6}, 1);
  const Tensor value = random_tensor({2, 7, 5}, 1);
  EXPECT_EQ(refusal({query, value}), "no error");
  EXPECT_EQ(refusal({random_tensor({2, 3, 7}, 1), value}),
            "[group_query_attention] query: expected [*, *, 6], got [2, 3, 7]");
  EXPECT_EQ(refusal({query, random_tensor({3, 7, 5}, 1)}),
            "[group_query_attention] value: expected [2, *, *], got [3, 7, 5]");
  EXPECT_EQ(refusal({query, value, random_tensor({2, 6, 5}, 1)}),
            "[group_query_attention] key: expected [2, 7, *], got [2, 6, 5]");
  EXPECT_EQ(refusal({query, random_tensor({2, 7, 4}, 1)}),
            "[group_query_attention] value: expected [2, *, 5], got [2, 7, 4]");
  EXPECT_EQ(refusal({random_tensor({3, 6}, 1)}),
            "[group_query_attention] query: expected [*, *, *], got [3, 6]");
  EXPECT_EQ(refusal(std::vector<Tensor>(9, query)),
            "[group_query_attention] number of inputs: expected 1 to 8, got 9");
  const CallArguments foreign;
  EXPECT_EQ(
      refusal({query, value}, {.arguments = &foreign}),
      "[group_query_attention] mode.arguments: expected AttentionArguments, got another type");
}

// Token by token and in pieces, against one plain call.
TEST(GroupQueryAttention, ASlidingWindowReachesOverTheCache) {
  const Shape shape{2, 80, 48};
  // Keras's initial weights: logits of ordinary size, which few bits round to about a hundredth.
  GroupQueryAttention layer({.head_dim = 16,
                             .num_query_heads = 4,
                             .num_key_value_heads = 2,
                             .sliding_window = 4,
                             .rope = RopeConfig{},
                             .causal = true});
  layer.build({shape}, /*seed=*/2);
  const Tensor x = random_tensor(shape, 3);
  Context ctx({.num_threads = 2});
  const Tensor want = layer(ctx, {.query = x});
  for (const auto& [dtype, bound] :
       {std::pair{Dtype::f32, 1e-5}, {Dtype::bf16, 3e-2}, {Dtype::u8, 3e-2}}) {
    for (const auto& pieces :
         {std::vector<Index>(80, 1), std::vector<Index>{5, 1, 60, 14}, std::vector<Index>{80}}) {
      KvCache cache(
          ctx,
          {.batch = 2, .num_key_value_heads = 2, .head_dim = 16, .capacity = 80, .dtype = dtype});
      double worst = 0;
      for (const Index count : pieces) {
        const Index at = cache.length();
        const Tensor y = layer.apply_cached(ctx, slice(x, 1, at, at + count), cache, 0);
        const Tensor part = slice(want, 1, at, at + count);
        for (Index i = 0; i < y.size(); ++i) {
          worst = std::max(
              worst, std::abs(static_cast<double>(y.data<float>()[i]) - part.data<float>()[i]));
        }
        cache.advance(count);
      }
      EXPECT_LE(worst, bound * testing::max_abs(want)) << name_of(dtype) << " " << pieces.size();
    }
  }
}

// A bias of any floating type, as call() takes it.
TEST(GroupQueryAttention, TheTypedCallTakesABiasOfAnyFloatingType) {
  const auto layer =
      made({.head_dim = 8, .num_query_heads = 2, .num_key_value_heads = 1}, {{1, 3, 8}});
  const Tensor x = random_tensor({1, 3, 8}, 1);
  Tensor bias({3, 3});
  for (Index i = 0; i < 9; ++i) bias.data<float>()[i] = static_cast<float>(i % 4) - 1.5F;
  Context ctx({.num_threads = 1});
  const Tensor want = (*layer)(ctx, {.query = x, .attention_bias = bias});
  for (const Dtype dtype : {Dtype::f64, Dtype::bf16, Dtype::f16}) {
    const Tensor other = cast(bias, dtype);
    EXPECT_TRUE(same_bits((*layer)(ctx, {.query = x, .attention_bias = other}), want))
        << name_of(dtype);
    const Value in[] = {{x, {}}, {}, {}, {}, {}, {}, {}, {other, {}}};
    EXPECT_TRUE(same_bits(layer->call(ctx, in, {}, nullptr)[0].tensor, want)) << name_of(dtype);
  }
}

// Inputs over const memory of the caller.
TEST(GroupQueryAttention, ReadsConstMemoryWithoutACopy) {
  const auto layer =
      made({.head_dim = 8, .num_query_heads = 2, .num_key_value_heads = 1}, {{1, 3, 8}});
  const Tensor x = random_tensor({1, 3, 8}, 1);
  const Tensor wrapped = Tensor::wrap(x.view());
  Context ctx({.num_threads = 1});
  std::unique_ptr<Saved> saved;
  const Tensor y = (*layer)(ctx, {.query = wrapped}, &saved);
  EXPECT_TRUE(same_bits(y, (*layer)(ctx, {.query = x})));
  Grads grads(ctx, layer->parameters());
  Tensor d_x = Tensor::zeros(x.shape());
  View d_in[] = {d_x};
  const ConstView d_out[] = {y};
  layer->backward(ctx, *saved, d_out, d_in, grads);
  EXPECT_GT(testing::max_abs(d_x), 0);
}

TEST(KvCache, RoundsItsCapacityAndKnowsItsSizes) {
  Context ctx;
  KvCache cache(
      ctx, {.num_layers = 3, .batch = 2, .num_key_value_heads = 4, .head_dim = 20, .capacity = 33});
  EXPECT_EQ(cache.capacity(), 48);
  const auto keys = [&](Index layer) { return ops::slice_of(cache, layer).keys; };
  EXPECT_EQ(keys(2).shape(), Shape({2, 4, 3, 20, 16}));
  EXPECT_EQ(ops::slice_of(cache, 0).values.shape(), Shape({2, 4, 48, 32}));
  EXPECT_EQ(keys(1).data<float>() - keys(0).data<float>(), 2 * 4 * 48 * 20);
  EXPECT_EQ(cache.bytes(), 3 * 2 * 4 * 48 * (20 + 32) * 4);
  EXPECT_EQ(error_of<ShapeError>([&] { keys(3); }), "[kv_cache] layer: expected 0 .. 2, got 3");
  cache.advance(40);
  EXPECT_EQ(error_of<ShapeError>([&] { cache.advance(9); }),
            "[kv_cache] new positions: expected at most 8, got 9");
  EXPECT_EQ(error_of<ShapeError>([&] { cache.truncate(41); }),
            "[kv_cache] length: expected 0 .. 40, got 41");
  cache.truncate(7);
  EXPECT_EQ(cache.length(), 7);
}

TEST(KvCache, RefusesConfigurationsByName) {
  Context ctx;
  const auto refusal = [&](const KvCacheConfig& config) {
    return error_of<ConfigError>([&] { KvCache cache(ctx, config); });
  };
  EXPECT_EQ(refusal({.capacity = 16}), "[kv_cache] head_dim: expected 1 or more, got 0");
  EXPECT_EQ(refusal({.head_dim = 4}), "[kv_cache] capacity: expected 1 or more, got 0");
  EXPECT_EQ(refusal({.batch = 0, .head_dim = 4, .capacity = 16}),
            "[kv_cache] batch: expected 1 or more, got 0");
  EXPECT_THAT(refusal({.head_dim = 4, .capacity = Index{1} << 62}), HasSubstr("at most 2^48"));
  EXPECT_EQ(refusal({.head_dim = 4, .capacity = 16, .dtype = Dtype::f16}),
            "[kv_cache] dtype: expected f32, f64, bf16 or u8, got f16");
}

}  // namespace
}  // namespace grouphead
