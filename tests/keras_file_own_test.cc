// Compiled models of classes that their author wrote: tests/golden/keras_own.

#include <gmock/gmock.h>

#include "grouphead/files/classes.h"
#include "grouphead/files/saved_model.h"
#include "grouphead/layers/layers.h"
#include "grouphead/layers/serialization.h"
#include "io/file.h"
#include "io/json.h"
#include "keras_training_support.h"
#include "training_support.h"

namespace grouphead {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing_support::distance;
using testing_support::element;
using testing_support::error_of;

const std::string kOwnFolder = GROUPHEAD_SOURCE_DIR "/tests/golden/keras_own/";

/// The mean of |prediction - target|^power.
class PowerLoss : public LossRule {
 public:
  PowerLoss(std::string name, double power, Reduction reduction)
      : LossRule(std::move(name), reduction), power_(power) {}
  static std::shared_ptr<PowerLoss> from_config(const ConfigValue& config) {
    return std::make_shared<PowerLoss>("power_loss", config["power"].as_number("power"),
                                       reduction_from_config(config["reduction"]));
  }
  std::string_view class_name() const override { return "PowerLoss"; }
  ConfigValue get_config() const override {
    ConfigValue config = LossRule::get_config();
    config.set("power", power_);
    return config;
  }

 private:
  void evaluate(Context& /*ctx*/, const LossRows& rows) const override {
    const Index width = rows.prediction.dim(1);
    for (Index i = 0; i < rows.prediction.size(); ++i) {
      const Index r = i / width;
      if (i % width == 0) rows.values.data<float>()[r] = 0;
      const float e = rows.prediction.data<float>()[i] - rows.target.data<float>()[i];
      const auto power = static_cast<float>(power_);
      rows.values.data<float>()[r] += std::pow(std::abs(e), power) / static_cast<float>(width);
      if (!rows.d_prediction.has_value()) continue;
      const double weight = rows.weights.has_value() ? rows.weights.data<double>()[r] : rows.scale;
      rows.d_prediction.data<float>()[i] = static_cast<float>(weight) * power *
                                           std::copysign(std::pow(std::abs(e), power - 1), e) /
                                           static_cast<float>(width);
    }
  }
  double power_;
};

class Absolute final : public PowerLoss {
 public:
  Absolute() : PowerLoss("absolute", 1, Reduction::sum_over_batch_size) {}
  static std::shared_ptr<Absolute> from_config(const ConfigValue& /*config*/) {
    return std::make_shared<Absolute>();
  }
};

class Largest final : public Metric {
 public:
  Largest() : Metric("largest") {}
  static std::shared_ptr<Largest> from_config(const ConfigValue& /*config*/) {
    return std::make_shared<Largest>();
  }
  std::string_view class_name() const override { return "Largest"; }
  void update(Context& /*ctx*/, const LossOperands& operands) override {
    for (Index i = 0; i < operands.prediction.size(); ++i) {
      const float e = operands.prediction.data<float>()[i] - operands.target.data<float>()[i];
      largest_ = std::max(largest_, static_cast<double>(std::abs(e)));
    }
  }
  double result() const override { return largest_; }
  void reset() override { largest_ = 0; }

 private:
  double largest_ = 0;
};

class Halving final : public LearningRateSchedule {
 public:
  explicit Halving(double start) : start_(start) {}
  static std::shared_ptr<Halving> from_config(const ConfigValue& config) {
    return std::make_shared<Halving>(config["start"].as_number("start"));
  }
  double operator()(Index step) const override {
    return start_ * std::exp2(-static_cast<double>(step));
  }
  ConfigValue get_config() const override { return ConfigValue::Object{{"start", start_}}; }

 private:
  double start_;
};

// The process-wide tables only grow, so what is refused comes first.
class OwnClasses : public testing_support::FolderTest {
 protected:
  static void SetUpTestSuite() {
    const std::string refusal =
        error_of<IoError>([] { load_compiled_model(kOwnFolder + "own.keras"); });
    EXPECT_THAT(refusal, HasSubstr("'first' (Block) in functional: write "
                                   "register_layer<Block>(\"example>Block\"), or a definition of "
                                   "\"example>Block\" in a file of classes"));
    EXPECT_THAT(refusal, AllOf(HasSubstr("'second' (Block)"), HasSubstr("'mix' (Mix)")));
    register_classes(kOwnFolder + "classes.json");
    const std::string rules =
        error_of<IoError>([] { load_compiled_model(kOwnFolder + "own.keras"); });
    EXPECT_THAT(rules, HasSubstr("got example>Halving"));
    EXPECT_THAT(rules, HasSubstr("one that register_loss() was given, got example>PowerLoss"));
    EXPECT_THAT(rules, HasSubstr("one that register_metric() was given, got example>Largest"));
    EXPECT_THAT(rules, HasSubstr("one that register_metric() was given, got example>absolute"));
    register_loss<PowerLoss>("example>PowerLoss");
    register_loss<Absolute>("example>absolute", RegisteredAs::a_function);
    register_metric<Largest>("example>Largest");
    register_schedule<Halving>("example>Halving");
  }

  Tensor tensor(const std::string& name) const { return tensors_.at(name); }
  Tensor predicted(const TrainableModel& model) { return (*model.model)(ctx_, tensor("inputs.x")); }

  void expect_trains(const TrainableModel& model) {
    EXPECT_LT(distance(predicted(model), tensor("expect.output")), 1e-5);
    const Data data{.x = {tensor("inputs.x")}, .y = {tensor("target")}};
    const History history =
        model.compiled->fit(ctx_, data, {.batch_size = 3, .epochs = 3, .shuffle = false});
    for (const std::string name : {"loss", "largest", "absolute"}) {
      const Tensor want = tensor("logs." + name);
      ASSERT_EQ(want.size(), 3);
      for (std::size_t i = 0; i < 3; ++i) {
        EXPECT_NEAR(history[name][i], element(want, static_cast<Index>(i)), 2e-5) << name << i;
      }
    }
    EXPECT_LT(distance(predicted(model), tensor("trained.output")), 2e-5);
  }

  Context ctx_;
  io::Safetensors tensors_ = io::read_safetensors(kOwnFolder + "own.safetensors");
};

TEST_F(OwnClasses, AreReadAndTrainAsKeras) {
  expect_trains(load_compiled_model(kOwnFolder + "own.keras"));
}

TEST_F(OwnClasses, AreWrittenUnderTheirNames) {
  const TrainableModel loaded = load_compiled_model(kOwnFolder + "own.keras");
  save_model(*loaded.compiled, path("again.keras"));
  expect_trains(load_compiled_model(path("again.keras")));
  const ConfigValue config = loaded.compiled->compile_config();
  const auto registered = [](const ConfigValue& envelope) { return envelope["registered_name"]; };
  EXPECT_EQ(registered(config["loss"]), ConfigValue("example>PowerLoss"));
  EXPECT_EQ(registered(config["optimizer"]["config"]["learning_rate"]),
            ConfigValue("example>Halving"));
  const ConfigValue::List metrics = config["metrics"].as_list("metrics");
  EXPECT_EQ(registered(metrics[0]), ConfigValue("example>Largest"));
  EXPECT_EQ(metrics[1]["class_name"], ConfigValue("function"));
  EXPECT_EQ(metrics[1]["config"], ConfigValue("example>absolute"));
  const ConfigValue layer = layer_to_config(*loaded.model->get_layer("second"));
  EXPECT_EQ(registered(layer), ConfigValue("example>Block"));
  EXPECT_EQ(layer["config"]["units"], ConfigValue(2));
  EXPECT_THAT(beyond_keras(*loaded.model), ::testing::IsEmpty());
}

TEST_F(OwnClasses, RefuseNamesThatAreTaken) {
  EXPECT_THROW(register_loss<PowerLoss>("PowerLoss"), ConfigError);
  EXPECT_THROW(register_loss<Absolute>("example>PowerLoss"), ConfigError);
  EXPECT_THROW(register_metric<Largest>("grouphead>Largest"), ConfigError);
  register_metric<Largest>("example>Largest");  // again: nothing
  EXPECT_THAT(error_of<ConfigError>([] {
                struct Other final : LearningRateSchedule {
                  double operator()(Index) const override { return 1; }
                  ConfigValue get_config() const override { return {}; }
                };
                LearningRate(std::make_shared<Other>()).config();
              }),
              HasSubstr("register_schedule()"));
}

TEST_F(OwnClasses, DefinitionsThatAreNoneAreRefused) {
  const auto refusal = [](const std::string& json) {
    return error_of<ConfigError>([&] {
      register_class("example>Wrong", io::parse_json(json, "test"));
      make_layer("example>Wrong", ConfigValue::Object{{"size", 3}});
    });
  };
  EXPECT_THAT(refusal("{}"), HasSubstr("model: expected what to_json()"));
  EXPECT_THAT(refusal(R"({"model": {"class_name": "Dense"}})"), HasSubstr("got \"Dense\""));
  EXPECT_THAT(refusal(R"({"model": {"class_name": "Sequential", "config": {}}, "more": 1})"),
              HasSubstr("more"));
  const std::string dense =
      R"({"class_name": "Dense", "config": {"name": "d", "units": "$units"}})";
  const std::string start =
      R"({"class_name": "InputLayer", "config": {"batch_shape": [null, 3], "name": "x"}})";
  const auto chain = [](const std::string& layers, const std::string& more = "") {
    return R"({"model": {"class_name": "Sequential", "config": {"name": "s", "layers": [)" +
           layers + "]}}" + more + "}";
  };
  EXPECT_THAT(refusal(chain(start + "," + dense)),
              HasSubstr("$units: expected an option of the layer: size, got none"));
  EXPECT_THAT(refusal(chain("")), HasSubstr("one with an input layer"));
  const std::string whole = start + R"(, {"class_name": "Dense", "config": {"units": 2}})";
  EXPECT_THAT(refusal(chain(whole, R"(, "attributes": {"none_such": "e"})")),
              HasSubstr("none_such"));
  EXPECT_THAT(refusal(chain(whole, R"(, "inputs": ["a", "b"])")), HasSubstr("1 names or none"));
  io::write_file(path("list.json"), "[]");
  EXPECT_THROW(register_classes(path("list.json")), IoError);
  EXPECT_THROW(register_classes(path("none.json")), IoError);
}

}  // namespace
}  // namespace grouphead
