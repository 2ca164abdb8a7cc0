#include "grouphead/files/weights.h"

#include "grouphead/train/fit.h"
#include "ops/convert.h"
#include "saved/keras_files.h"
#include "saved/model_folder.h"

namespace grouphead {
namespace {

/// Whether the name is one of Keras's.
bool is_keras_file(const std::filesystem::path& file) {
  const std::string name = file.filename().string();
  return name.ends_with(".h5") || name.ends_with(".weights.json") || name.ends_with(".keras");
}

void save(const Layer& model, const Optimizer* optimizer, const std::filesystem::path& file,
          const SaveWeightsConfig& config) {
  if (is_keras_file(file)) return saved::save_keras_weights(model, optimizer, file, config);
  io::Safetensors contents;
  saved::add_parameters(model.parameters(), contents);
  io::write_safetensors(file, contents);
}

/// What of a file goes into a parameter, of its shape. Else `problem` says why.
Tensor value_for(const io::StoredTensors& stored, const std::string& name,
                 const Parameter& parameter, std::string& problem) {
  const Dtype wanted = parameter.dtype();
  const auto expected = [&](const std::string& got) {
    problem = name + ": expected " + std::string(name_of(wanted)) + " " +
              parameter.shape().to_string() + ", got " + got;
    return Tensor();
  };
  const auto found = stored.tensors.find(name);
  if (found == stored.tensors.end()) return expected("none");
  const ConfigValue::List axes(found->second.shape.begin(), found->second.shape.end());
  const ConfigValue shape(axes);
  const bool fits = shape == ConfigValue(parameter.shape()) && found->second.problem.empty();
  if (!fits) return expected(found->second.dtype + " " + shape.to_string());
  const Tensor read = stored.read(name);
  const bool rounds = ops::is_floating(read.dtype()) && ops::is_floating(wanted);
  if (read.dtype() == wanted || rounds) return read;
  return expected(found->second.dtype + " " + shape.to_string());
}

void load_safetensors(Layer& model, const std::filesystem::path& file,
                      const LoadWeightsConfig& config) {
  const io::StoredTensors stored = io::open_safetensors(file);
  const ParameterList parameters = model.parameters();
  std::vector<Tensor> values;
  std::vector<std::string> problems;
  for (const auto& [path, parameter] : parameters) {
    std::string problem;
    values.push_back(
        value_for(stored, config.rename ? config.rename(path) : path, *parameter, problem));
    if (!problem.empty()) problems.push_back(problem);
  }
  saved::throw_problems("[load] " + file.string(), problems);
  for (std::size_t i = 0; i < values.size(); ++i) {
    Parameter& parameter = *parameters[i].parameter;
    if (values[i].dtype() == parameter.dtype()) {
      copy(values[i], parameter.replace());
    } else {
      ops::convert_rounded(values[i], parameter.dtype(), parameter.replace());
    }
  }
}

void load(Layer& model, Optimizer* optimizer, const std::filesystem::path& file,
          const LoadWeightsConfig& config) {
  if (!is_keras_file(file)) return load_safetensors(model, file, config);
  if (config.rename) {
    throw ConfigError("[load] " + file.string() +
                      ": rename: expected a .safetensors file, whose tensors have names, got one "
                      "of Keras, where the order counts");
  }
  saved::load_keras_weights(model, optimizer, file);
}

}  // namespace

void save_weights(const Layer& model, const std::filesystem::path& file,
                  const SaveWeightsConfig& config) {
  save(model, nullptr, file, config);
}

void save_weights(const CompiledModel& compiled, const std::filesystem::path& file,
                  const SaveWeightsConfig& config) {
  save(compiled.model(), compiled.has_optimizer() ? &compiled.optimizer() : nullptr, file, config);
}

void load_weights(Layer& model, const std::filesystem::path& file,
                  const LoadWeightsConfig& config) {
  load(model, nullptr, file, config);
}

void load_weights(CompiledModel& compiled, const std::filesystem::path& file,
                  const LoadWeightsConfig& config) {
  load(compiled.model(), compiled.has_optimizer() ? &compiled.optimizer() : nullptr, file, config);
}

}  // namespace grouphead
