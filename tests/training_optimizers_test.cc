// Optimizers and schedules: Keras's trajectories, states and configurations.

#include <gmock/gmock.h>

#include <algorithm>

#include "grouphead/layers/constraints.h"
#include "grouphead/train/optimizers.h"
#include "keras_training_support.h"

namespace grouphead {
namespace {

using ::testing::HasSubstr;
using testing_support::distance;
using testing_support::error_of;
using testing_support::keras_cases;
using testing_support::KerasCase;
using testing_support::random_tensor;

/// keras.constraints.MaxNorm(1) over the first axis, written out for the test.
class UnitColumns final : public ConstraintRule {
 public:
  std::string_view class_name() const override { return "UnitColumns"; }
  ConfigValue get_config() const override { return ConfigValue::Object{}; }
  void apply(Context& /*ctx*/, View w) const override {
    for (Index column = 0; column < w.dim(1); ++column) {
      double squares = 0;
      const auto at = [&](Index row) -> double& {
        return w.data<double>()[row * w.dim(1) + column];
      };
      for (Index row = 0; row < w.dim(0); ++row) squares += at(row) * at(row);
      const double norm = std::sqrt(squares);
      for (Index row = 0; row < w.dim(0); ++row) {
        at(row) *= std::min(norm, 1.0) / (1e-7 + norm);
      }
    }
  }
};

/// The parameters of a case, with its first numbers.
struct Parameters {
  Parameters(const KerasCase& c, Dtype dtype) {
    const bool constrained = c["constraint"].as_bool("constraint");
    for (const char* path : {"a/kernel", "a/bias", "b/kernel"}) {
      const Tensor initial = c.tensor(std::string("initial.") + path);
      ParameterOptions options;
      if (constrained && std::string_view(path) == "a/kernel") {
        options.constraint = std::make_shared<UnitColumns>();
      }
      owned.push_back(std::make_unique<Parameter>(path + 2, initial.shape(), dtype, options));
      testing_support::convert(initial, owned.back()->edit());
      list.push_back({path, owned.back().get()});
    }
  }
  std::vector<std::unique_ptr<Parameter>> owned;
  ParameterList list;
};

void follow(Context& ctx, const KerasCase& c, Dtype dtype, double tolerance) {
  SCOPED_TRACE(c.name());
  const Parameters parameters(c, dtype);
  const auto optimizer = Optimizer::from_config(c["optimizer"]);
  if (!c["excluded"].is_null()) optimizer->exclude_from_weight_decay({}, {"bias"});
  optimizer->build(parameters.list);
  Grads grads(ctx, parameters.list);
  for (Index step = 0; step < c["steps"].as_integer("steps"); ++step) {
    const std::string prefix = std::to_string(step);
    for (const auto& [path, parameter] : parameters.list) {
      testing_support::convert(c.tensor(prefix + ".gradient." + path), grads.of(*parameter));
    }
    optimizer->step(ctx, grads);
    for (const auto& [path, parameter] : parameters.list) {
      EXPECT_LT(distance(parameter->value(), c.tensor(prefix + ".expect." + path)), tolerance)
          << "step " << step << " " << path;
    }
  }
  const std::vector<OptimizerVariable> variables = optimizer->variables();
  const ConfigValue::List& names = c["variables"].as_list("variables");
  ASSERT_EQ(variables.size(), names.size());
  for (std::size_t i = 0; i < names.size(); ++i) {
    std::string path = names[i].as_list("variable")[0].as_string("path");
    if (path.starts_with("variable")) path = "variable";  // Keras numbers what has no name
    EXPECT_EQ(variables[i].path, path);
    EXPECT_EQ(variables[i].value.shape(), names[i].as_list("variable")[1].as_shape("shape"));
    const Tensor want = c.tensor("state." + std::to_string(i));
    if (variables[i].value.dtype() == Dtype::i32) {
      EXPECT_EQ(*variables[i].value.data<std::int32_t>(), 0);  // read by nobody
    } else if (i == 0) {
      EXPECT_EQ(static_cast<double>(*variables[0].value.data<std::int64_t>()),
                *want.data<double>());
    } else {
      EXPECT_LT(distance(variables[i].value, want), tolerance) << variables[i].path;
    }
  }
  optimizer->finalize(ctx);
  for (const auto& [path, parameter] : parameters.list) {
    EXPECT_LT(distance(parameter->value(), c.tensor("final." + path)), tolerance) << path;
  }
}

TEST(Optimizers, InDoubleAreKeras) {
  Context ctx({.num_threads = 2});
  const std::vector<KerasCase> cases = keras_cases("optimizer");
  EXPECT_GT(cases.size(), 80U);
  for (const KerasCase& c : cases) follow(ctx, c, Dtype::f64, 1e-9);
}

TEST(Optimizers, InSingleFollow) {
  for (const Isa isa : testing_support::isas_under_test()) {
    Context ctx({.num_threads = 2, .isa = isa});
    for (const KerasCase& c : keras_cases("optimizer")) {
      if (!c["constraint"].as_bool("constraint")) follow(ctx, c, Dtype::f32, 2e-5);
    }
  }
}

TEST(Optimizers, ConfigurationsAreKerasAndComeBack) {
  for (const KerasCase& c : keras_cases("optimizer")) {
    SCOPED_TRACE(c.name());
    EXPECT_EQ(Optimizer::from_config(c["optimizer"])->config(), c["optimizer"]);
  }
}

TEST(Optimizers, NamesMeanKerasDefaults) {
  EXPECT_EQ(Optimizer::from_config("SGD")->learning_rate(), 0.01);
  EXPECT_EQ(Optimizer::from_config("adam")->learning_rate(), 1e-3);
  EXPECT_EQ(Optimizer::from_config("AdamW")->get_config()["weight_decay"], ConfigValue(4e-3));
  EXPECT_THAT(error_of<ConfigError>([] { Optimizer::from_config("adam_w"); }), HasSubstr("AdamW"));
}

TEST(Optimizers, OptionsThatExcludeEachOtherAreRefused) {
  EXPECT_THAT(error_of<ConfigError>([] { Adam({.options = {.clipnorm = 1.0, .clipvalue = 1.0}}); }),
              HasSubstr("one of clipnorm, clipvalue and global_clipnorm"));
  EXPECT_THROW(SGD({.momentum = 1.1}), ConfigError);
  EXPECT_THROW(SGD({.momentum = -0.1}), ConfigError);
  EXPECT_THROW(SGD({.options = {.clipnorm = 0.0}}), ConfigError);
  EXPECT_THROW(SGD({.options = {.clipvalue = -1.0}}), ConfigError);
  EXPECT_THROW(SGD({.weight_decay = -1.0}), ConfigError);
  EXPECT_THROW(SGD({.options = {.loss_scale_factor = 0.0}}), ConfigError);
  EXPECT_THROW(SGD({.options = {.gradient_accumulation_steps = 1}}), ConfigError);
  EXPECT_THROW(SGD({.options = {.use_ema = true, .ema_momentum = 1.5}}), ConfigError);
  EXPECT_THROW(SGD({.options = {.use_ema = true, .ema_overwrite_frequency = 0}}), ConfigError);
  EXPECT_NO_THROW(SGD({.options = {.ema_momentum = 1.5}}));
  EXPECT_THROW(SGD({.learning_rate = CosineDecay{.decay_steps = 0}}), ConfigError);
  EXPECT_THROW(SGD({.learning_rate = ExponentialDecay{.decay_steps = -1}}), ConfigError);
}

TEST(Optimizers, AreUsedInOrder) {
  Context ctx;
  Parameter w("w", {2}, Dtype::f32);
  const ParameterList list = {{"w", &w}};
  SGD optimizer({.learning_rate = 0.5});
  Grads grads(ctx, list);
  EXPECT_THROW(optimizer.step(ctx, grads), ConfigError);
  optimizer.build(list);
  EXPECT_THROW(optimizer.build(list), ConfigError);
  EXPECT_THROW(optimizer.exclude_from_weight_decay({&w}), ConfigError);
  Grads others(ctx, {});
  EXPECT_THAT(error_of<ConfigError>([&] { optimizer.step(ctx, others); }), HasSubstr("w"));
  grads.of(w).data<float>()[1] = 2;
  EXPECT_DOUBLE_EQ(optimizer.step(ctx, grads), 2);
  EXPECT_EQ(w.value().data<float>()[1], -1);
  optimizer.set_learning_rate(0.25);
  optimizer.step(ctx, grads);
  EXPECT_EQ(w.value().data<float>()[1], -1.5F);
  EXPECT_EQ(optimizer.iterations(), 2);
}

TEST(Optimizers, LearningRatesMayBeFunctionsButNotInFiles) {
  SGD optimizer({.learning_rate = LearningRate::Function(
                     [](Index step) { return 1 + static_cast<double>(step); })});
  EXPECT_EQ(optimizer.learning_rate(), 1);
  optimizer.set_iterations(4);
  EXPECT_EQ(optimizer.learning_rate(), 5);
  EXPECT_THROW(optimizer.get_config(), ConfigError);
  EXPECT_THROW(optimizer.set_learning_rate(0.1), ConfigError);
}

// Stored in 16 bits, computed in f32: the f32 step of the stored numbers, rounded once.
TEST(Optimizers, RoundSixteenBitParametersOnce) {
  Context ctx;
  for (const char* policy : {"bfloat16", "float16"}) {
    Parameter half("w", {300}, policy);
    Parameter wide("w", {300}, Dtype::f32);
    const Tensor initial = random_tensor({300}, 11);
    const Tensor gradient = random_tensor({300}, 12);
    const auto round = [&](float x) {
      return half.dtype() == Dtype::bf16 ? to_float(to_bf16(x)) : to_float(to_f16(x));
    };
    const auto at = [&](Index i) {
      return half.dtype() == Dtype::bf16 ? to_float(half.value().data<Bf16>()[i])
                                         : to_float(half.value().data<F16>()[i]);
    };
    for (Index i = 0; i < 300; ++i) {
      const float x = initial.data<float>()[i];
      if (half.dtype() == Dtype::bf16) {
        half.edit().data<Bf16>()[i] = to_bf16(x);
      } else {
        half.edit().data<F16>()[i] = to_f16(x);
      }
    }
    Adam of_half({.learning_rate = 0.1});
    of_half.build({{"w", &half}});
    Adam of_wide({.learning_rate = 0.1});
    of_wide.build({{"w", &wide}});
    EXPECT_EQ(of_half.slots()[0].tensors[0].dtype(), Dtype::f32);
    for (int step = 0; step < 3; ++step) {
      for (Index i = 0; i < 300; ++i) wide.edit().data<float>()[i] = at(i);
      for (auto [optimizer, parameter] : {std::pair{&of_half, &half}, std::pair{&of_wide, &wide}}) {
        Grads grads(ctx, ParameterList{{"w", parameter}});
        copy(gradient, grads.of(*parameter));
        optimizer->step(ctx, grads);
      }
      for (Index i = 0; i < 300; ++i) EXPECT_EQ(at(i), round(wide.value().data<float>()[i]));
    }
  }
}

TEST(Optimizers, ThreadsDoNotChangeTheBits) {
  const auto trained = [](int threads, const ConfigValue& config) {
    Context ctx({.num_threads = threads});
    auto w = std::make_unique<Parameter>("w", Shape{50, 1001}, Dtype::f32);
    const ParameterList list = {{"w", w.get()}};
    testing_support::convert(random_tensor({50, 1001}, 1), w->edit());
    const auto optimizer = Optimizer::from_config(config);
    optimizer->build(list);
    Grads grads(ctx, list);
    for (std::uint64_t step = 0; step < 4; ++step) {
      copy(random_tensor({50, 1001}, 2 + step), grads.of(*w));
      optimizer->step(ctx, grads);
    }
    return w;
  };
  for (const KerasCase& c : keras_cases("optimizer")) {
    if (c["constraint"].as_bool("constraint")) continue;
    EXPECT_TRUE(testing_support::same_bits(trained(1, c["optimizer"])->value(),
                                           trained(3, c["optimizer"])->value()))
        << c.name();
  }
}

TEST(Schedules, AreKeras) {
  const std::vector<KerasCase> cases = keras_cases("schedule");
  EXPECT_EQ(cases.size(), 15U);
  for (const KerasCase& c : cases) {
    SCOPED_TRACE(c.name());
    const LearningRate rate = LearningRate::from_config(c["schedule"]);
    EXPECT_EQ(rate.config(), c["schedule"]);
    const Tensor want = c.tensor("expect");
    for (Index step = 0; step < want.size(); ++step) {
      EXPECT_NEAR(rate(step), want.data<double>()[step], 1e-15) << step;
    }
  }
}

}  // namespace
}  // namespace grouphead
