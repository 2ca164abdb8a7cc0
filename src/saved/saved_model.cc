#include "grouphead/files/saved_model.h"

#include "core/check.h"
#include "core/comma_list.h"
#include "saved/form_for_keras.h"
#include "saved/keras_files.h"

namespace grouphead {
namespace {

void require_built(const Model& model) {
  if (!model.has_graph()) {
    core::throw_config_error("save", model.name(), "a model that is built", "one that is not");
  }
}

void require_keras_form(const Model& model, const SaveModelConfig& config) {
  require_built(model);
  const std::vector<std::string> problems = saved::keras_form(model).problems;
  if (config.allow_own_options || problems.empty()) return;
  core::throw_config_error("save", model.name(), "what Keras 3.15 loads, or allow_own_options",
                           core::comma_list(problems));
}

}  // namespace

std::shared_ptr<Model> load_model(const std::filesystem::path& file) {
  return saved::load_keras_model(file, false).model;
}

TrainableModel load_compiled_model(const std::filesystem::path& file,
                                   const LoadCompiledConfig& config) {
  if (config.requires_training) return saved::load_keras_model(file, true);
  try {
    return saved::load_keras_model(file, true);
  } catch (const IoError& error) {
    TrainableModel made = saved::load_keras_model(file, false);
    made.problem = error.what();
    return made;
  }
}

std::vector<std::string> beyond_keras(const Model& model) {
  require_built(model);
  return saved::keras_form(model).problems;
}

void save_model(const Model& model, const std::filesystem::path& file,
                const SaveModelConfig& config) {
  require_keras_form(model, config);
  saved::save_keras_model(model, nullptr, file);
}

void save_model(const CompiledModel& compiled, const std::filesystem::path& file,
                const SaveModelConfig& config) {
  const auto* model = dynamic_cast<const Model*>(&compiled.model());
  if (model == nullptr) {
    core::throw_config_error("save", "model", "a Functional or Sequential model",
                             compiled.model().class_name());
  }
  require_keras_form(*model, config);
  saved::save_keras_model(*model, &compiled, file);
}

}  // namespace grouphead
