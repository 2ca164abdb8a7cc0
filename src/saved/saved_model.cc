#include "grouphead/files/saved_model.h"

#include "core/check.h"
#include "saved/keras_files.h"

namespace grouphead {
namespace {

void require_built(const Model& model) {
  if (!model.has_graph()) {
    detail::throw_config_error("save", model.name(), "a model that is built", "one that is not");
  }
}

}  // namespace

std::shared_ptr<Model> load_model(const std::filesystem::path& file) {
  return saved::load_keras_model(file, false).model;
}

TrainableModel load_compiled_model(const std::filesystem::path& file) {
  return saved::load_keras_model(file, true);
}

void save_model(const Model& model, const std::filesystem::path& file) {
  require_built(model);
  saved::save_keras_model(model, nullptr, file);
}

void save_model(const CompiledModel& compiled, const std::filesystem::path& file) {
  const auto* model = dynamic_cast<const Model*>(&compiled.model());
  if (model == nullptr) {
    detail::throw_config_error("save", "model", "a Functional or Sequential model",
                               compiled.model().class_name());
  }
  require_built(*model);
  saved::save_keras_model(*model, &compiled, file);
}

}  // namespace grouphead
