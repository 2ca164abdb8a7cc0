// Trainings of golden folders in Keras's format: a functional model, its optimizer, some steps.

#include <fmt/format.h>

#include <vector>

#include "check/keras_case.h"
#include "grouphead/losses.h"
#include "grouphead/model.h"
#include "grouphead/optimizers.h"

namespace grouphead::check {
namespace {

/// A model with the first weights of the case.
std::shared_ptr<Model> model_of(const KerasCase& each) {
  const std::shared_ptr<Model> model = model_from_config(each["model_config"]);
  std::vector<std::string> want;
  for (const ConfigValue& path : each["weights"].as_list("weights")) {
    want.push_back(path.as_string("weights"));
  }
  const ParameterList parameters = model->parameters();
  std::vector<std::string> got;
  for (const NamedParameter& parameter : parameters) got.push_back(parameter.path);
  if (got != want) {
    throw IoError(fmt::format("[golden] weights: expected {}, got {}", fmt::join(want, " "),
                              fmt::join(got, " ")));
  }
  for (const auto& [path, parameter] : parameters)
    copy(each.tensor("init." + path), parameter->edit());
  return model;
}

/// The model, and what makes its steps.
class Training {
 public:
  explicit Training(KerasCase& each)
      : each_(each),
        model_(model_of(each)),
        parameters_(model_->parameters()),
        loss_(each["training_loss"]),
        optimizer_(Optimizer::from_config(each["optimizer"])) {
    optimizer_->build(parameters_);
  }

  /// One step with the whole of the data; returns the loss before it.
  double step() {
    Context& ctx = each_.ctx();
    const Value x{each_.tensor(each_["call"]["x"].as_string("call.x")), {}};
    const Tensor& y = each_.tensor(each_["call"]["y"].as_string("call.y"));
    LossSink penalties;
    Mode mode;
    mode.training = each_["call"]["training"].as_bool("call.training");
    mode.losses = &penalties;
    std::unique_ptr<Saved> saved;
    const std::vector<Value> out = model_->call(ctx, std::span(&x, 1), mode, &saved);
    LossOperands operands{.target = y, .prediction = out.at(0).tensor};
    if (out[0].mask) operands.mask = out[0].mask->view();
    const LossResult loss = loss_->value_and_gradient(ctx, operands, optimizer_->loss_scale());

    Grads grads(ctx, parameters_);
    const ConstView d_out = loss.d_prediction;
    View d_in;
    model_->call_backward(ctx, *saved, std::span(&d_out, 1), std::span(&d_in, 1), grads);
    add_weight_penalties(ctx, parameters_, &penalties, &grads);
    optimizer_->step(ctx, grads);

    double sum = loss.value;
    for (const double penalty : penalties.losses()) sum += penalty;
    return sum;
  }

  void finalize() { optimizer_->finalize(each_.ctx()); }

  void compare_weights(const std::string& prefix) {
    for (const auto& [path, parameter] : parameters_) {
      each_.compare(prefix + path, parameter->value());
    }
  }

 private:
  KerasCase& each_;
  std::shared_ptr<Model> model_;
  ParameterList parameters_;
  Loss loss_;
  std::shared_ptr<Optimizer> optimizer_;
};

}  // namespace

void run_training_case(KerasCase& each) {
  require_known_fields(each["call"], "call", {"x", "y", "training", "batch"});
  if (each["call"]["batch"] != ConfigValue("the whole of x, every step")) {
    throw IoError("[golden] call.batch: expected the whole of x, got something else");
  }
  Training training(each);
  std::vector<double> losses;
  for (Index step = 0; step < each["steps"].as_integer("steps"); ++step) {
    losses.push_back(training.step());
    if (step == 0) training.compare_weights("expect.step1.");
  }
  each.compare("expect.losses", ConstView(losses.data(), {static_cast<Index>(losses.size())}));
  training.compare_weights("expect.final.");
  training.finalize();
  training.compare_weights("expect.ema_after_fit.");
}

}  // namespace grouphead::check
