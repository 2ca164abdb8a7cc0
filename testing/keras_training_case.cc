// Trainings of golden folders in Keras's format: a functional model, its optimizer, some steps.

#include <fmt/format.h>

#include <vector>

#include "grouphead/files/saved_model.h"
#include "grouphead/train/fit.h"
#include "saved/keras_files.h"
#include "testing/keras_case.h"

namespace grouphead::testing {
namespace {

/// The model of the case's file, which must have the first weights.
std::shared_ptr<Model> model_of_file(KerasCase& each) {
  const std::shared_ptr<Model> model =
      load_model(each.folder() / each["keras_file"].as_string("keras_file"));
  std::vector<std::string> first;
  for (const ConfigValue& path : each["weights"].as_list("weights")) {
    first.push_back("init." + path.as_string("weights"));
  }
  each.compare_parameters(model->parameters(), first);
  return model;
}

/// A model with the first weights of the case.
std::shared_ptr<Model> model_of(KerasCase& each) {
  if (!each["keras_file"].is_null() && saved::has_keras_files()) return model_of_file(each);
  const std::shared_ptr<Model> model = model_from_config(each["model_config"]);
  std::vector<std::string> want;
  for (const ConfigValue& path : each["weights"].as_list("weights")) {
    want.push_back(path.as_string("weights"));
  }
  const auto parameters = model->parameters();
  std::vector<std::string> got;
  for (const auto& parameter : parameters) got.push_back(parameter.path);
  if (got != want) {
    throw IoError(fmt::format("[golden] weights: expected {}, got {}", fmt::join(want, " "),
                              fmt::join(got, " ")));
  }
  for (const auto& [path, parameter] : parameters)
    copy(each.tensor("init." + path), parameter->edit());
  return model;
}

/// The model, compiled with the case's optimizer and loss.
class Training {
 public:
  explicit Training(KerasCase& each)
      : each_(each),
        model_(model_of(each)),
        compiled_(*model_, {.optimizer = each["optimizer"], .loss = {Loss(each["training_loss"])}}),
        batch_{.x = {each.tensor(each["call"]["x"].as_string("call.x"))},
               .y = {each.tensor(each["call"]["y"].as_string("call.y"))}} {}

  /// One step with the whole of the data; returns the loss before it.
  double step() { return compiled_.train_on_batch(each_.ctx(), batch_); }
  void finalize() { compiled_.optimizer().finalize(each_.ctx()); }

  void compare_weights(const std::string& prefix) {
    for (const auto& [path, parameter] : model_->parameters()) {
      each_.compare(prefix + path, parameter->value());
    }
  }

 private:
  KerasCase& each_;
  std::shared_ptr<Model> model_;
  CompiledModel compiled_;
  Data batch_;
};

}  // namespace

void run_training_case(KerasCase& each) {
  require_known_fields(each["call"], "call", {"x", "y", "training", "batch"});
  if (each["call"]["batch"] != ConfigValue("the whole of x, every step")) {
    throw IoError("[golden] call.batch: expected the whole of x, got something else");
  }
  if (!each["call"]["training"].as_bool("call.training")) {
    throw IoError("[golden] call.training: expected true, got false");
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

}  // namespace grouphead::testing
