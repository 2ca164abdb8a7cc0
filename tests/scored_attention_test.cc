// Attention and AdditiveAttention beside Keras's numbers, which keras_golden_test.cc compares.

#include <gmock/gmock.h>
#include <tbb/global_control.h>

#include <limits>

#include "gradient_support.h"
#include "grouphead/layers/attention.h"
#include "grouphead/layers/serialization.h"

namespace grouphead {
namespace {

using ::testing::HasSubstr;
using namespace testing_support;  // NOLINT(google-build-using-namespace)

Tensor mask_of(const Shape& shape, std::initializer_list<int> real) {
  Tensor mask(shape, Dtype::boolean);
  std::copy(real.begin(), real.end(), mask.data<bool>());
  return mask;
}

ScoredAttentionArguments arguments(bool causal, bool scores) {
  ScoredAttentionArguments chosen;
  chosen.use_causal_mask = causal;
  chosen.return_attention_scores = scores;
  return chosen;
}

/// A layer of tensors alone, as gradient checks want it: masks are fixed, and both outputs are one.
class Flat final : public Layer {
 public:
  Flat(Layer& inner, Tensor query_mask, Tensor value_mask)
      : Layer("flat", inner.policy()),
        inner_(inner),
        query_mask_(std::move(query_mask)),
        value_mask_(std::move(value_mask)) {}
  void append_parameters(const std::string& prefix, ParameterList& out) override {
    inner_.append_parameters(prefix, out);
  }

  std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                             std::unique_ptr<Saved>* saved) const override {
    std::vector<Value> operands(in.begin(), in.end());
    operands.resize(3);
    operands.push_back({query_mask_, {}});
    operands.push_back({value_mask_, {}});
    const std::vector<Value> out = inner_.forward(ctx, operands, mode, saved);
    Index size = 0;
    for (const Value& value : out) size += value.tensor.size();
    Tensor flat({size}, dtype());
    Index at = 0;
    shapes_.clear();
    for (const Value& value : out) {
      const Index count = value.tensor.size();
      copy(value.tensor.view().reshaped({count}), flat.view().slice(0, at, at + count));
      at += count;
      shapes_.push_back(value.tensor.shape());
    }
    return {{flat, {}}};
  }

  void backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out, std::span<View> d_in,
                Grads& grads) const override {
    std::vector<ConstView> parts;
    Index at = 0;
    for (const Shape& shape : shapes_) {
      parts.push_back(d_out[0].slice(0, at, at + shape.size()).reshaped(shape));
      at += shape.size();
    }
    inner_.backward(ctx, saved, parts, d_in, grads);
  }

 private:
  void create_parameters(std::span<const Shape>, RandomStream&) override {}
  Layer& inner_;
  Tensor query_mask_;
  Tensor value_mask_;
  mutable std::vector<Shape> shapes_;
};

std::vector<std::shared_ptr<Layer>> all_kinds(Dtype dtype, double dropout = 0) {
  std::vector<std::shared_ptr<Layer>> layers;
  for (const ScoreMode mode : {ScoreMode::dot, ScoreMode::concat}) {
    for (const bool use_scale : {false, true}) {
      layers.push_back(std::make_shared<Attention>(AttentionConfig{
          .use_scale = use_scale, .score_mode = mode, .dropout = dropout, .dtype = dtype}));
      layers.push_back(std::make_shared<AdditiveAttention>(
          AdditiveAttentionConfig{.use_scale = use_scale, .dropout = dropout, .dtype = dtype}));
    }
  }
  return layers;
}

TEST(ScoredAttention, GradientsFollowCentralDifferences) {
  Context ctx({.num_threads = 2});
  const Tensor query = random_tensor({2, 3, 5}, 1, Dtype::f64);
  const Tensor value = random_tensor({2, 19, 4}, 2, Dtype::f64);  // two tiles of keys
  const Tensor key = random_tensor({2, 19, 5}, 3, Dtype::f64);
  Tensor value_mask = Tensor::zeros({2, 19}, Dtype::boolean);
  for (const Index real : {0, 2, 3, 17, 18, 19, 24}) value_mask.data<bool>()[real] = true;
  const Tensor query_mask = mask_of({2, 3}, {1, 1, 0, 1, 0, 1});
  for (const std::shared_ptr<Layer>& layer : all_kinds(Dtype::f64, 0.3)) {
    build(*layer, {query.shape(), value.shape(), key.shape()});
    randomize(*layer, 5);
    Flat plain(*layer, {}, {});
    check_gradients(ctx, {.layer = plain, .in = {query, value, key}});
    Flat masked(*layer, query_mask, value_mask);
    const ScoredAttentionArguments with_all = arguments(true, true);
    check_gradients(ctx, {.layer = masked, .in = {query, value, key}, .arguments = &with_all});
    const ScoredAttentionArguments causal = arguments(true, false);
    check_gradients(
        ctx, {.layer = masked, .in = {query, value, key}, .training = true, .arguments = &causal});
    const ScoredAttentionArguments scores = arguments(false, true);
    check_gradients(
        ctx, {.layer = plain, .in = {query, value, key}, .training = true, .arguments = &scores});
  }
}

// Lowering all logits alike changes no probability but by rounding: in f64 by 2^-24 in a logit.
TEST(ScoredAttention, AQueryThatSeesNothingHasTheGradientsOfOneThatSeesAll) {
  Context ctx({.num_threads = 1});
  const Tensor query = random_tensor({1, 3, 5}, 1, Dtype::f64);
  const Tensor value = random_tensor({1, 19, 5}, 2, Dtype::f64);
  for (const std::shared_ptr<Layer>& layer : all_kinds(Dtype::f64)) {
    build(*layer, {query.shape(), value.shape()});
    Flat blind(*layer, {}, Tensor::zeros({1, 19}, Dtype::boolean));
    Flat open(*layer, {}, {});
    const ScoredAttentionArguments scores = arguments(false, true);
    const auto gradients = [&](Layer& flat) {
      return gradients_of(ctx, {.layer = flat, .in = {query, value}, .arguments = &scores});
    };
    const Gradients got = gradients(blind);
    const Gradients want = gradients(open);
    for (std::size_t i = 0; i < want.values.size(); ++i) {
      // Probabilities are off by 2 * 2^-24 of themselves, their differences from the mean too;
      // cotangents are below 6, and 57 pairs add up.
      CHECK_CLOSE(got.values[i], want.values[i], 57 * 6 * 4 * 0x1p-24, want.names[i]);
    }
  }
}

TEST(ScoredAttention, TheValueServesAsKey) {
  Context ctx({.num_threads = 1});
  const Tensor query = random_tensor({2, 3, 5}, 1, Dtype::f64);
  const Tensor value = random_tensor({2, 4, 5}, 2, Dtype::f64);
  for (const std::shared_ptr<Layer>& layer : all_kinds(Dtype::f64)) {
    build(*layer, {query.shape(), value.shape()});
    check_gradients(ctx, {.layer = *layer, .in = {query, value}});
    EXPECT_TRUE(
        same_bits(call(ctx, *layer, {query, value}), call(ctx, *layer, {query, value, value})));
  }
}

TEST(ScoredAttention, AQueryThatSeesNothingTakesAllAlike) {
  for (const Isa isa : isas_under_test()) {
    Context ctx({.num_threads = 2, .isa = isa});
    const Tensor query = random_tensor({1, 2, 8}, 1);
    const Tensor value = random_tensor({1, 5, 8}, 2);
    for (const std::shared_ptr<Layer>& layer : all_kinds(Dtype::f32)) {
      build(*layer, {query.shape(), value.shape()});
      const ScoredAttentionArguments chosen = arguments(true, true);
      // Causal: the first query sees key 0 alone, which is not real; the second one key 1.
      const Value in[] = {{query, {}}, {value, mask_of({1, 5}, {0, 1, 1, 1, 1})}};
      const std::vector<Value> out = layer->forward(ctx, in, {.arguments = &chosen}, nullptr);
      const Tensor& scores = out.at(1).tensor;
      for (Index j = 0; j < 5; ++j) {
        EXPECT_EQ(element(scores, j), 0.2F) << layer->class_name();
        EXPECT_EQ(element(scores, 5 + j), j == 1 ? 1 : 0);
      }
      for (Index d = 0; d < 8; ++d) {
        double mean = 0;
        for (Index j = 0; j < 5; ++j) mean += element(value, j * 8 + d) / 5;
        EXPECT_NEAR(element(out[0].tensor, d), mean, 8 * 0x1p-24);
        EXPECT_EQ(element(out[0].tensor, 8 + d), element(value, 8 + d));
      }
    }
  }
}

TEST(ScoredAttention, MasksZeroQueriesAndTravelOn) {
  Context ctx;
  const Tensor query = random_tensor({2, 3, 4}, 1);
  const Tensor value = random_tensor({2, 5, 4}, 2);
  Attention layer({});
  const Tensor real = mask_of({2, 3}, {1, 0, 1, 0, 1, 1});
  const Value own[] = {{query, real}, {value, {}}};
  const std::vector<Value> out = layer.forward(ctx, own, {}, nullptr);
  ASSERT_TRUE(out.at(0).mask.has_value());
  EXPECT_TRUE(same_bits(*out[0].mask, real));
  for (Index row = 0; row < 6; ++row) {
    for (Index d = 0; d < 4; ++d) {
      EXPECT_EQ(element(out[0].tensor, row * 4 + d) == 0, !real.data<bool>()[row]);
    }
  }
  // Masks that are given stand for both, as Keras's one argument does.
  const Value given[] = {{query, real},
                         {value, {}},
                         {},
                         {},
                         {Tensor(mask_of({2, 5}, {1, 1, 1, 1, 1, 1, 1, 1, 1, 1})), {}}};
  const std::vector<Value> unmasked = layer.forward(ctx, given, {}, nullptr);
  EXPECT_FALSE(unmasked.at(0).mask.has_value());
  EXPECT_NE(element(unmasked[0].tensor, 4), 0);
}

TEST(ScoredAttention, LeadingAxesAreBatches) {
  Context ctx;
  const Tensor query = random_tensor({2, 3, 4, 5}, 1);
  const Tensor value = random_tensor({2, 3, 6, 5}, 2);
  const Tensor real = mask_of({2, 6}, {1, 1, 0, 1, 0, 0, 0, 1, 1, 1, 1, 1});
  for (const std::shared_ptr<Layer>& layer : all_kinds(Dtype::f32)) {
    build(*layer, {query.shape(), value.shape()});
    const Value in[] = {{query, {}}, {value, {}}, {}, {}, {real, {}}};
    const Tensor got = layer->forward(ctx, in, {}, nullptr).at(0).tensor;
    ASSERT_EQ(got.shape(), query.shape());
    for (Index b = 0; b < 2; ++b) {
      for (Index h = 0; h < 3; ++h) {
        const auto part = [&](const Tensor& x) {
          return dense(x.view().slice(0, b, b + 1).slice(1, h, h + 1))
              .reshaped({1, x.dim(2), x.dim(3)});
        };
        const Value one[] = {{part(query), {}},
                             {part(value), {}},
                             {},
                             {},
                             {dense(real.view().slice(0, b, b + 1)), {}}};
        EXPECT_TRUE(same_bits(layer->forward(ctx, one, {}, nullptr).at(0).tensor, part(got)));
      }
    }
  }
}

TEST(ScoredAttention, DropoutIsTheSeedsAndInScores) {
  Context ctx;
  const Tensor query = random_tensor({2, 40, 4}, 1);
  const Tensor value = random_tensor({2, 50, 4}, 2);
  Attention layer({.dropout = 0.25, .seed = 7});
  build(layer, {query.shape(), value.shape()});
  const ScoredAttentionArguments chosen = arguments(false, true);
  const Value in[] = {{query, {}}, {value, {}}};
  const std::vector<Value> out =
      layer.forward(ctx, in, {.training = true, .arguments = &chosen}, nullptr);
  const std::vector<Value> whole = layer.forward(ctx, in, {.arguments = &chosen}, nullptr);
  for (Index i = 0; i < out.at(1).tensor.size(); ++i) {
    // JAX: 23 bits of Threefry(seed, draw 0) below 0.75 keep the element.
    const std::uint32_t word = threefry2x32({7, 0}, static_cast<std::uint64_t>(i));
    const double kept = (word >> 9) * 0x1p-23 < 0.75 ? 1 / 0.75 : 0;
    const double want = element(whole.at(1).tensor, i) * kept;
    EXPECT_NEAR(element(out[1].tensor, i), want, 4 * 0x1p-24 * want);
  }
  const std::vector<Value> second =
      layer.forward(ctx, in, {.training = true, .arguments = &chosen}, nullptr);
  EXPECT_FALSE(same_bits(out[1].tensor, second.at(1).tensor));
  Attention all({.dropout = 1, .seed = 7});
  EXPECT_EQ(testing::max_abs(call(ctx, all, {query, value}, {.training = true})), 0);
}

TEST(ScoredAttention, NothingOfTheSizeOfTheScoresIsKept) {
  Context ctx({.num_threads = 1});
  const Tensor query = random_tensor({1, 1500, 4}, 1);
  for (const std::shared_ptr<Layer>& layer : all_kinds(Dtype::f32)) {
    build(*layer, {query.shape(), query.shape()});
    Grads grads(ctx, layer->parameters());
    ctx.reset_memory_peak();
    std::unique_ptr<Saved> saved;
    const Tensor y = call(ctx, *layer, {query, query}, {}, &saved);
    call_backward(ctx, *layer, *saved, y, {query, query}, grads);
    EXPECT_LT(ctx.memory().peak_bytes, 1500 * 1500 * 4 / 8) << layer->class_name();
  }
}

TEST(ScoredAttention, EmptyAxesGiveZerosAndNaNInAMaskedKeyStaysOut) {
  Context ctx;
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const std::shared_ptr<Layer>& layer : all_kinds(Dtype::f32)) {
    build(*layer, {{2, 3, 4}, {2, 5, 4}});
    for (const Shape& sizes : {Shape{0, 3, 5}, Shape{2, 0, 5}, Shape{2, 3, 0}}) {
      const Tensor query = random_tensor({sizes[0], sizes[1], 4}, 1);
      const Tensor value = random_tensor({sizes[0], sizes[2], 4}, 2);
      Grads grads(ctx, layer->parameters());
      std::unique_ptr<Saved> saved;
      const Tensor y = call(ctx, *layer, {query, value}, {}, &saved);
      EXPECT_EQ(y.shape(), query.shape());
      EXPECT_EQ(testing::max_abs(y), 0);
      for (const Tensor& d : call_backward(ctx, *layer, *saved, y, {query, value}, grads)) {
        EXPECT_EQ(testing::max_abs(d), 0);
      }
    }
    const Tensor query = random_tensor({1, 3, 4}, 1);
    const Tensor clean = random_tensor({1, 5, 4}, 2);
    Tensor dirty = clean.clone();
    std::fill_n(dirty.data<float>() + 8, 4, nan);
    const Tensor real = mask_of({1, 5}, {1, 1, 0, 1, 1});
    const Value in[] = {{query, {}}, {clean, real}, {clean, {}}};
    const Value with_nan[] = {{query, {}}, {clean, real}, {dirty, {}}};
    EXPECT_TRUE(same_bits(layer->forward(ctx, in, {}, nullptr).at(0).tensor,
                          layer->forward(ctx, with_nan, {}, nullptr).at(0).tensor));
  }
}

TEST(ScoredAttention, ThreadsDoNotChangeABit) {
  const tbb::global_control limit(tbb::global_control::max_allowed_parallelism, 8);
  const Tensor query = random_tensor({2, 70, 9}, 1);
  const Tensor value = random_tensor({2, 90, 9}, 2);
  for (const std::shared_ptr<Layer>& layer : all_kinds(Dtype::f32, 0.2)) {
    build(*layer, {query.shape(), value.shape()});
    randomize(*layer, 3);
    std::vector<Gradients> found;
    for (const int threads : {1, 2, 5}) {
      Context ctx({.num_threads = threads});
      const ScoredAttentionArguments causal = arguments(true, false);
      const GradientProblem problem{
          .layer = *layer, .in = {query, value}, .training = true, .arguments = &causal};
      found.push_back(gradients_of(ctx, problem));
      found.back().values.push_back(problem.run(ctx, nullptr));
    }
    for (std::size_t k = 1; k < found.size(); ++k) {
      for (std::size_t i = 0; i < found[0].values.size(); ++i) {
        EXPECT_TRUE(same_bits(found[k].values[i], found[0].values[i])) << layer->class_name();
      }
    }
  }
}

TEST(ScoredAttention, RefusesWhatCannotWorkByName) {
  const auto shapes = [](std::vector<Shape> inputs) {
    return error_of<ShapeError>([&] { Attention({}).output_shapes(inputs, nullptr); });
  };
  EXPECT_EQ(shapes({{2, 3, 5}}), "[attention] number of inputs: expected 2 to 5, got 1");
  EXPECT_EQ(
      shapes({{2, 3, 5}, {3, 7, 5}}),
      "[attention] value: expected the axes of query [2, 3, 5] before the last two, got [3, 7, 5]");
  EXPECT_EQ(shapes({{2, 3, 5}, {2, 7, 6}}),
            "[attention] value: expected the leading axes of value [2, 7, 6] and the last one of "
            "query [2, 3, 5], got [2, 7, 6]");
  EXPECT_THAT(shapes({{2, 3, 5}, {2, 7, 6}, {2, 8, 5}}), HasSubstr("[attention] key: expected"));
  EXPECT_EQ(error_of<ConfigError>([] {
              make_layer("Attention", ConfigValue::Object{{"score_mode", "cosine"}});
            }),
            "[attention] score_mode: expected dot or concat, got cosine");
  EXPECT_THAT(error_of<ConfigError>([] { AdditiveAttention({.dropout = 2}); }),
              HasSubstr("[additive_attention] dropout: expected 0 <= dropout <= 1"));
  EXPECT_THAT(error_of<ConfigError>([] {
                Attention({}).arguments_from_config(ConfigValue::Object{{"training", 3}});
              }),
              HasSubstr("got training"));
  Context ctx;
  const Tensor x = random_tensor({2, 3, 5}, 1);
  EXPECT_THAT(error_of<ConfigError>([&] {
                call(ctx, Attention({.use_scale = true}), {x, x});
              }),
              HasSubstr("build()"));
  EXPECT_EQ(error_of<ShapeError>([&] {
              const Value in[] = {{x, {}}, {x, mask_of({1, 3}, {1, 1, 1})}};
              Attention({}).forward(ctx, in, {}, nullptr);
            }),
            "[attention] value_mask: expected [2, 3], got [1, 3]");
}

TEST(ScoredAttention, ComesBackFromItsConfiguration) {
  Attention layer({.use_scale = true, .score_mode = ScoreMode::concat, .dropout = 0.5, .seed = 3});
  const ConfigValue config = layer.get_config();
  std::vector<std::string> keys;
  for (const auto& [key, value] : config.as_object("config")) keys.push_back(key);
  // Keras 3.15.1: keras.layers.Attention().get_config()
  EXPECT_THAT(keys, ::testing::ElementsAre("name", "trainable", "dtype", "use_scale", "score_mode",
                                           "dropout", "seed"));
  EXPECT_EQ(make_layer("Attention", config)->get_config(), config);
  AdditiveAttention additive({.use_scale = false, .name = "add"});
  EXPECT_EQ(make_layer("AdditiveAttention", additive.get_config())->get_config(),
            additive.get_config());
  const ConfigValue keywords =
      ConfigValue::Object{{"return_attention_scores", true}, {"use_causal_mask", true}};
  EXPECT_EQ(layer.arguments_config(layer.arguments_from_config(keywords).get()), keywords);
  const ScoredAttentionArguments with_scores = arguments(false, true);
  const Shape inputs[] = {Shape::partial({-1, 3, 5}), Shape::partial({-1, -1, 7}),
                          Shape::partial({-1, -1, 5})};
  const std::vector<Shape> out = layer.output_shapes(inputs, &with_scores);
  EXPECT_EQ(out.at(0), Shape::partial({-1, 3, 7}));
  EXPECT_EQ(out.at(1), Shape::partial({-1, 3, -1}));
}

}  // namespace
}  // namespace grouphead
