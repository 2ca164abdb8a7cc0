// Dense, LayerNormalization, Embedding, Dropout, and what every layer promises.

#include "grouphead/layers/layers.h"

#include <gmock/gmock.h>
#include <tbb/global_control.h>

#include <cmath>
#include <numbers>
#include <thread>

#include "gradient_support.h"
#include "grouphead/models/models.h"

namespace grouphead {
namespace {

using ::testing::HasSubstr;
using namespace testing_support;  // NOLINT(google-build-using-namespace)

template <class L, class Config>
std::unique_ptr<L> made(const Config& config, const Shape& input) {
  auto layer = std::make_unique<L>(config);
  build(*layer, {input});
  randomize(*layer, 5);
  return layer;
}

// n roundings of numbers up to `magnitude`.
double rounding(Dtype dtype, Index n, double magnitude) {
  return testing::unit_roundoff(dtype) * static_cast<double>(n) * magnitude;
}

TEST(Dense, IsAProductABiasAndAnActivation) {
  for (const Isa isa : isas_under_test()) {
    for (const Activation activation : {Activation::linear, Activation::gelu}) {
      Context ctx({.num_threads = 2, .isa = isa});
      const auto dense_layer =
          made<Dense>(DenseConfig{.units = 33, .activation = activation}, {1, 1, 19});
      const Tensor x = random_tensor({2, 7, 19}, 1);
      const ConstView w = dense_layer->parameters()[0].parameter->value();
      const ConstView bias = dense_layer->parameters()[1].parameter->value();
      Tensor want({2, 7, 33}, Dtype::f64);
      for (Index i = 0; i < want.size(); ++i) {
        double z = element(bias, i % 33);
        for (Index m = 0; m < 19; ++m) {
          z += element(x, i / 33 * 19 + m) * element(w, m * 33 + i % 33);
        }
        const bool is_linear = activation == Activation::linear;
        want.data<double>()[i] = is_linear ? z : z * (1 + std::erf(z / std::numbers::sqrt2)) / 2;
      }
      // 20 terms below 1, then the activation: slope at most 1.13, a few roundings of its own.
      const double bound = 1.13 * rounding(Dtype::f32, 20 + 8, 20);
      std::unique_ptr<Saved> saved;
      CHECK_CLOSE(call(ctx, *dense_layer, {x}), want, bound, "inference");
      CHECK_CLOSE(call(ctx, *dense_layer, {x}, {.training = true}, &saved), want, bound,
                  "training");
      Tensor applied({2, 7, 33});
      dense_layer->apply(ctx, x, applied);
      EXPECT_TRUE(same_bits(applied, call(ctx, *dense_layer, {x})));
    }
  }
}

TEST(Dense, StartsGlorotUniformWithZeroBias) {
  Dense layer({.units = 300});
  build(layer, {{1, 200}});
  const auto parameters = layer.parameters();
  ASSERT_EQ(parameters.size(), 2U);
  EXPECT_EQ(parameters[0].path, "kernel");
  EXPECT_EQ(parameters[1].path, "bias");
  const double limit = std::sqrt(6.0 / 500);
  const double largest = testing::max_abs(parameters[0].parameter->value());
  EXPECT_LE(largest, limit);
  EXPECT_GT(largest, 0.999 * limit);  // 60000 draws: all below with probability e^-60
  EXPECT_EQ(testing::max_abs(parameters[1].parameter->value()), 0);
  double sum = 0;
  const ConstView w = parameters[0].parameter->value();
  for (Index i = 0; i < w.size(); ++i) sum += element(w, i);
  EXPECT_LT(std::abs(sum), 5 * limit * std::sqrt(60000.0 / 3));  // five standard deviations
}

TEST(LayerNormalization, NormalisesTheLastAxis) {
  for (const Isa isa : isas_under_test()) {
    Context ctx({.num_threads = 2, .isa = isa});
    const auto norm = made<LayerNormalization>(LayerNormalizationConfig{}, {1, 37});
    const Tensor x = random_tensor({3, 5, 37}, 2);
    const ConstView gamma = norm->parameters()[0].parameter->value();
    const ConstView beta = norm->parameters()[1].parameter->value();
    Tensor want({3, 5, 37}, Dtype::f64);
    for (Index row = 0; row < 15; ++row) {
      double mean = 0;
      double variance = 0;
      for (Index m = 0; m < 37; ++m) mean += element(x, row * 37 + m) / 37;
      for (Index m = 0; m < 37; ++m) {
        variance += std::pow(element(x, row * 37 + m) - mean, 2) / 37;
      }
      for (Index m = 0; m < 37; ++m) {
        want.data<double>()[row * 37 + m] =
            element(gamma, m) * (element(x, row * 37 + m) - mean) / std::sqrt(variance + 1e-3) +
            element(beta, m);
      }
    }
    // Two sums of 37 terms below 1; rstd is about sqrt 3.
    CHECK_CLOSE(call(ctx, *norm, {x}), want, rounding(Dtype::f32, 2 * 37 + 8, 2), "norm");
  }
}

TEST(Embedding, LooksRowsUp) {
  Context ctx;
  const auto embedding = made<Embedding>(EmbeddingConfig{.input_dim = 11, .output_dim = 6}, {1, 1});
  const Tensor tokens = random_tokens({2, 9}, 11, 4);
  const Tensor y = call(ctx, *embedding, {tokens});
  ASSERT_EQ(y.shape(), Shape({2, 9, 6}));
  const ConstView table = embedding->parameters()[0].parameter->value();
  for (Index i = 0; i < y.size(); ++i) {
    const Index token = tokens.data<std::int32_t>()[i / 6];
    EXPECT_EQ(element(y, i), element(table, token * 6 + i % 6));
  }
}

TEST(Embedding, StartsUniform) {
  Embedding layer({.input_dim = 100, .output_dim = 100});
  build(layer, {{1, 1}});
  const double largest = testing::max_abs(layer.parameters()[0].parameter->value());
  EXPECT_LE(largest, 0.05 * (1 + 1e-7));
  EXPECT_GT(largest, 0.0499);
}

TEST(LayerGradient, EachLayerFollowsCentralDifferences) {
  Context ctx({.num_threads = 1});
  const Tensor x = random_tensor({2, 3, 5}, 3, Dtype::f64);
  const auto check_one = [&](Layer& layer, const Tensor& in, bool training = false) {
    SCOPED_TRACE(layer.name());
    check_gradients(ctx, {.layer = layer, .in = {in}, .training = training});
  };
  check_one(*made<Dense>(DenseConfig{.units = 4, .dtype = Dtype::f64}, x.shape()), x);
  check_one(
      *made<Dense>(DenseConfig{.units = 4, .use_bias = false, .dtype = Dtype::f64}, x.shape()), x);
  check_one(
      *made<Dense>(DenseConfig{.units = 4, .activation = Activation::gelu, .dtype = Dtype::f64},
                   x.shape()),
      x);
  check_one(*made<LayerNormalization>(LayerNormalizationConfig{.dtype = Dtype::f64}, x.shape()), x);
  check_one(*made<Embedding>(EmbeddingConfig{.input_dim = 7, .output_dim = 3, .dtype = Dtype::f64},
                             {1, 1}),
            random_tokens({2, 9}, 7, 4));
  check_one(*made<Dropout>(DropoutConfig{.rate = 0.4, .dtype = Dtype::f64}, x.shape()), x, true);
  check_one(*made<Dropout>(DropoutConfig{.rate = 0.4, .dtype = Dtype::f64}, x.shape()), x);
}

TEST(Layer, RefusesWhatCannotWorkByName) {
  EXPECT_EQ(error_of<ConfigError>([] { Dense layer({}); }),
            "[dense] units: expected 1 or more, got 0");
  EXPECT_EQ(error_of<ConfigError>([] { Dense layer({.units = 2, .dtype = Dtype::i32}); }),
            "[dtype_policy] dtype: expected a floating type, got i32");
  EXPECT_THAT(error_of<ConfigError>([] { LayerNormalization layer({.epsilon = -1}); }),
              HasSubstr("[layer_normalization] epsilon: expected 0 or more, got -1"));
  EXPECT_EQ(error_of<ConfigError>([] { Embedding layer({.input_dim = 3}); }),
            "[embedding] output_dim: expected 1 or more, got 0");
  EXPECT_THAT(error_of<ConfigError>([] { Dropout layer({.rate = 1.5}); }),
              HasSubstr("[dropout] rate: expected 0 <= rate <= 1, got 1.5"));
}

TEST(Layer, RefusesCallsThatDoNotFitByName) {
  Context ctx;
  Dense layer({.units = 2});
  const Tensor x = random_tensor({4, 3}, 1);
  EXPECT_EQ(error_of<ConfigError>([&] { call(ctx, layer, {x}); }),
            "[dense] parameters: expected build() before the first call, got none");
  build(layer, {{4, 3}});
  EXPECT_EQ(error_of<ConfigError>([&] {
              build(layer, {{4, 3}});
            }),
            "[dense] build: expected one call, got a second one");
  EXPECT_EQ(error_of<ShapeError>([&] {
              call(ctx, layer, {random_tensor({4, 5}, 1)});
            }),
            "[dense] input: expected [..., 3], got [4, 5]");
  EXPECT_EQ(error_of<ShapeError>([&] {
              call(ctx, layer, {random_tensor({4, 3}, 1, Dtype::f64)});
            }),
            "[dense] input: expected f32, got f64");
  EXPECT_EQ(error_of<ShapeError>([&] {
              call(ctx, layer, {x, x});
            }),
            "[dense] number of inputs: expected 1, got 2");
  LayerNormalization norm({});
  build(norm, {{4, 3}});
  std::unique_ptr<Saved> saved;
  const Tensor y = call(ctx, norm, {x}, {}, &saved);
  Grads grads(ctx, layer.parameters());
  EXPECT_EQ(error_of<ConfigError>([&] { call_backward(ctx, layer, *saved, y, {x}, grads); }),
            "[dense] saved: expected what this layer's forward() kept, got another layer's");
}

TEST(Layer, HandsTheMaskOn) {
  Context ctx;
  const auto layer = made<Dense>(DenseConfig{.units = 2}, {1, 1, 3});
  const Value in{random_tensor({2, 4, 3}, 1), Tensor::zeros({2, 4}, Dtype::boolean)};
  const std::vector<Value> out = layer->forward(ctx, std::span(&in, 1), {}, nullptr);
  ASSERT_TRUE(out[0].mask.has_value());
  EXPECT_TRUE(same_bits(*out[0].mask, *in.mask));
}

// y = inner(inner(x)): a user's layer that calls a shared one twice.
class Twice final : public Layer {
 public:
  explicit Twice(Dense& inner) : Layer("twice", inner.dtype()), inner_(inner) {}
  std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                             std::unique_ptr<Saved>* saved) const override {
    auto keep = std::make_unique<Kept>();
    const std::vector<Value> h = inner_.forward(ctx, in, mode, &keep->first);
    std::vector<Value> y = inner_.forward(ctx, h, mode, &keep->second);
    if (saved != nullptr) *saved = std::move(keep);
    return y;
  }
  void backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out, std::span<View> d_in,
                Grads& grads) const override {
    auto& kept = dynamic_cast<Kept&>(saved);
    Tensor d_h = ctx.zeros(d_out[0].shape(), dtype());
    View d_hidden = d_h;
    inner_.backward(ctx, *kept.second, d_out, std::span(&d_hidden, 1), grads);
    const ConstView d_h_in = d_h;
    inner_.backward(ctx, *kept.first, std::span(&d_h_in, 1), d_in, grads);
  }
  void append_parameters(const std::string& prefix, ParameterList& out) override {
    inner_.append_parameters(prefix, out);
  }

 private:
  void create_parameters(std::span<const Shape> /*inputs*/, RandomStream& /*random*/) override {}
  struct Kept final : Saved {
    std::unique_ptr<Saved> first, second;
  };
  Dense& inner_;
};

TEST(Layer, MayBeSharedByTwoCalls) {
  Context ctx({.num_threads = 1});
  const auto inner = made<Dense>(
      DenseConfig{.units = 4, .activation = Activation::gelu, .dtype = Dtype::f64}, {1, 4});
  Twice twice(*inner);
  check_gradients(ctx, {.layer = twice, .in = {random_tensor({3, 4}, 1, Dtype::f64)}});
}

// A model whose every kind of layer takes part in training.
edifice::GqaOptions trained_model() {
  return {.embed_dim = 20,
          .hidden_size = 32,
          .num_heads = 4,
          .num_key_value_heads = 2,
          .num_layers = 2,
          .dropout = 0.2,
          .rope = true,
          .output_mode = edifice::OutputMode::all};
}

TEST(Grads, TwoBackwardCallsAdd) {
  Context ctx;
  const auto model = edifice::build(trained_model());
  const Tensor x = random_tensor({2, 9, 20}, 1);
  const auto gradients_after = [&](int calls) {
    Grads grads(ctx, model->parameters());
    Tensor d_x = Tensor::zeros(x.shape());
    View d_in = d_x;
    for (int i = 0; i < calls; ++i) {
      RandomStream random(3);
      std::unique_ptr<Saved> saved;
      const Tensor y = call(ctx, *model, {x}, {.training = true, .random = &random}, &saved);
      const Tensor d_y = random_tensor(y.shape(), 2);
      const ConstView d_out = d_y;
      model->backward(ctx, *saved, std::span(&d_out, 1), std::span(&d_in, 1), grads);
    }
    std::vector<Tensor> all = {d_x};
    for (const auto& entry : model->parameters()) {
      all.push_back(dense(grads.of(*entry.parameter)));
    }
    grads.zero();
    EXPECT_EQ(testing::max_abs(grads.of(*model->parameters()[0].parameter)), 0);
    return all;
  };
  const std::vector<Tensor> once = gradients_after(1);
  const std::vector<Tensor> twice = gradients_after(2);
  for (std::size_t i = 0; i < once.size(); ++i) {
    Tensor doubled(once[i].shape());
    for (Index k = 0; k < doubled.size(); ++k) {
      doubled.data<float>()[k] = 2 * once[i].data<float>()[k];
    }
    // A second sum starts from the first, so its roundings differ: as many as rows are added.
    CHECK_CLOSE(twice[i], doubled, rounding(Dtype::f32, 2 * 18, testing::max_abs(doubled)),
                "twice");
  }
}

TEST(Grads, NobodyNeedsTheInputsGradient) {
  Context ctx;
  const auto model = edifice::build(trained_model());
  const Tensor x = random_tensor({2, 9, 20}, 1);
  const auto kernel_gradient = [&](bool with_input) {
    Grads grads(ctx, model->parameters());
    RandomStream random(3);
    std::unique_ptr<Saved> saved;
    const Tensor y = call(ctx, *model, {x}, {.training = true, .random = &random}, &saved);
    const ConstView d_out = y;
    Tensor d_x = Tensor::zeros(x.shape());
    View d_in = with_input ? d_x.view() : View();
    model->backward(ctx, *saved, std::span(&d_out, 1), std::span(&d_in, 1), grads);
    return dense(grads.of(*model->find("input_projection.kernel")));
  };
  EXPECT_TRUE(same_bits(kernel_gradient(true), kernel_gradient(false)));
}

TEST(Threads, DoNotChangeABit) {
  const tbb::global_control limit(tbb::global_control::max_allowed_parallelism, 8);
  const auto model = edifice::build(trained_model());
  const Tensor x = random_tensor({3, 180, 20}, 1);  // weight gradients add two blocks of 512 rows
  for (const Isa isa : isas_under_test()) {
    std::vector<Gradients> found;
    std::vector<Tensor> outputs;
    for (const int threads : {1, 2, 5}) {
      Context ctx({.num_threads = threads, .isa = isa});
      ASSERT_EQ(ctx.num_threads(), threads);
      const GradientProblem problem{.layer = *model, .in = {x}, .training = true};
      outputs.push_back(problem.run(ctx, nullptr).clone());
      found.push_back(gradients_of(ctx, problem));
    }
    for (std::size_t k = 1; k < found.size(); ++k) {
      EXPECT_TRUE(same_bits(outputs[k], outputs[0])) << name_of(isa);
      for (std::size_t i = 0; i < found[0].values.size(); ++i) {
        EXPECT_TRUE(same_bits(found[k].values[i], found[0].values[i]))
            << name_of(isa) << " " << found[0].names[i];
      }
    }
  }
}

TEST(Threads, OneModelServesTwoCallersAtOnce) {
  const auto model = edifice::build(trained_model());
  std::vector<Tensor> inputs;
  for (const Index length : {5, 90, 300}) {
    inputs.push_back(random_tensor({2, length, 20}, static_cast<std::uint64_t>(length)));
  }
  const auto outputs_of_a_caller = [&](std::vector<Tensor>* outputs) {
    Context ctx({.num_threads = 1});
    for (const Tensor& x : inputs) outputs->push_back((*model)(ctx, x).clone());
  };
  std::vector<Tensor> first;
  std::vector<Tensor> second;
  std::thread other(outputs_of_a_caller, &second);
  outputs_of_a_caller(&first);
  other.join();
  std::vector<Tensor> alone;
  outputs_of_a_caller(&alone);
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    EXPECT_TRUE(same_bits(first[i], alone[i]));
    EXPECT_TRUE(same_bits(second[i], alone[i]));
  }
}

}  // namespace
}  // namespace grouphead
