// A loss, a metric and a learning rate of your own: trained, written into a .keras file under the
// names that Keras registers them by, and read again.

#include <grouphead/grouphead.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace gh = grouphead;

namespace {

/// The mean over the last axis of |prediction - target|^power.
class PowerLoss final : public gh::LossRule {
 public:
  explicit PowerLoss(double power, gh::Reduction reduction = gh::Reduction::sum_over_batch_size)
      : LossRule("power_loss", reduction), power_(power) {}
  static std::shared_ptr<PowerLoss> from_config(const gh::ConfigValue& config) {
    return std::make_shared<PowerLoss>(config["power"].as_number("power"),
                                       gh::reduction_from_config(config["reduction"]));
  }
  std::string_view class_name() const override { return "PowerLoss"; }
  gh::ConfigValue get_config() const override {
    gh::ConfigValue config = LossRule::get_config();
    config.set("power", power_);
    return config;
  }

 private:
  // One value for each row, and the gradient times the row's weight.
  void evaluate(gh::Context& /*ctx*/, const gh::LossRows& rows) const override {
    const gh::Index width = rows.prediction.dim(1);
    for (gh::Index r = 0; r < rows.prediction.dim(0); ++r) {
      const float* p = rows.prediction.data<float>() + r * width;
      const float* t = rows.target.data<float>() + r * width;
      const double weight = rows.weights.has_value() ? rows.weights.data<double>()[r] : rows.scale;
      double sum = 0;
      for (gh::Index i = 0; i < width; ++i) {
        const double error = static_cast<double>(p[i]) - static_cast<double>(t[i]);
        sum += std::pow(std::abs(error), power_);
        if (!rows.d_prediction.has_value()) continue;
        const double slope = power_ * std::pow(std::abs(error), power_ - 1);
        rows.d_prediction.data<float>()[r * width + i] =
            static_cast<float>(weight * std::copysign(slope, error) / static_cast<double>(width));
      }
      rows.values.data<float>()[r] = static_cast<float>(sum / static_cast<double>(width));
    }
  }
  double power_;
};

/// The largest error so far.
class Largest final : public gh::Metric {
 public:
  Largest() : Metric("largest") {}
  static std::shared_ptr<Largest> from_config(const gh::ConfigValue& /*config*/) {
    return std::make_shared<Largest>();
  }
  std::string_view class_name() const override { return "Largest"; }
  void update(gh::Context& /*ctx*/, const gh::LossOperands& operands) override {
    for (gh::Index i = 0; i < operands.prediction.size(); ++i) {
      const float error = operands.prediction.data<float>()[i] - operands.target.data<float>()[i];
      largest_ = std::max(largest_, static_cast<double>(std::abs(error)));
    }
  }
  double result() const override { return largest_; }
  void reset() override { largest_ = 0; }

 private:
  double largest_ = 0;
};

/// Half of it after each step.
class Halving final : public gh::LearningRateSchedule {
 public:
  explicit Halving(double start) : start_(start) {}
  static std::shared_ptr<Halving> from_config(const gh::ConfigValue& config) {
    return std::make_shared<Halving>(config["start"].as_number("start"));
  }
  double operator()(gh::Index step) const override {
    return start_ * std::exp2(-static_cast<double>(step));
  }
  gh::ConfigValue get_config() const override { return gh::ConfigValue::Object{{"start", start_}}; }

 private:
  double start_;
};

}  // namespace

int main() {
  gh::register_loss<PowerLoss>("example>PowerLoss");
  gh::register_metric<Largest>("example>Largest");
  gh::register_schedule<Halving>("example>Halving");

  gh::Context ctx;
  const gh::Symbol x = gh::input({.shape = {8}});
  gh::Model model({.inputs = {x}, .outputs = {gh::layer<gh::Dense>({.units = 2})(x)}});
  const gh::Data data{.x = {gh::random_normal({64, 8}, /*seed=*/1)},
                      .y = {gh::random_normal({64, 2}, /*seed=*/2)}};
  const auto optimizer =
      std::make_shared<gh::Adam>(gh::AdamConfig{.learning_rate = std::make_shared<Halving>(0.05)});
  const std::shared_ptr<gh::Metric> largest = std::make_shared<Largest>();
  gh::CompiledModel training = gh::compile(
      model,
      {.optimizer = optimizer, .loss = {std::make_shared<PowerLoss>(1.5)}, .metrics = {{largest}}});
  const gh::History history = training.fit(ctx, data, {.epochs = 2});
  std::printf("loss %.3f, then %.3f\n", history["loss"].front(), history["loss"].back());

  gh::save_model(training, "own_training.keras");
  const gh::TrainableModel loaded = gh::load_compiled_model("own_training.keras");
  const gh::Logs before = training.evaluate(ctx, data);
  const gh::Logs after = loaded.compiled->evaluate(ctx, data);
  std::printf("loaded again: %s\n", before == after ? "the same numbers" : "other numbers");
  return before == after ? 0 : 1;
}
