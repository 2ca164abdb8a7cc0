#include "saved/model_folder.h"

#include "core/check.h"
#include "graph/package_models.h"
#include "grouphead/files/pretrained.h"
#include "grouphead/layers/serialization.h"
#include "grouphead/models/model.h"
#include "io/file.h"
#include "io/json.h"
#include "models/transformer_config.h"
#include "nn/loading_scope.h"
#include "saved/huggingface/folder.h"

namespace grouphead::saved {
namespace {

namespace fs = std::filesystem;

/// `f32 [2, 3]`
std::string text_of(const std::string& dtype, const ConfigValue& shape) {
  return dtype + " " + shape.to_string();
}

std::string text_of(const io::StoredTensor& stored) {
  const ConfigValue::List axes(stored.shape.begin(), stored.shape.end());
  return text_of(stored.dtype, axes);
}

/// Elements of the tensors of these types, of those that are read.
Index count_elements(const io::StoredTensors& contents, std::initializer_list<Dtype> dtypes) {
  Index elements = 0;
  for (const auto& [name, stored] : contents.tensors) {
    for (const Dtype dtype : dtypes) {
      const bool counts = stored.problem.empty() && stored.dtype == name_of(dtype);
      if (counts) elements += Shape(stored.shape).size();
    }
  }
  return elements;
}

/// What a folder says about its model.
struct Description {
  ConfigValue envelope;  // null: a LanguageModel by `training`, from older versions
  std::optional<TrainerConfig> training;
};

// Throws IoError that names the first entry in which `got` is not `want`.
void require_same(const ConfigValue& want, const ConfigValue& got, const std::string& where) {
  if (want == got) return;
  if (want.is_object() && got.is_object()) {
    for (const auto& [key, value] : want.as_object(where)) {
      require_same(value, got[key], where + ": " + key);
    }
  }
  throw IoError(where + ": expected " + want.to_string() + " as in the weights' file, got " +
                got.to_string());
}

void require_same(const TrainerConfig& want, const TrainerConfig& got, const std::string& where) {
  const std::vector<Setting> stated = settings_of(got);
  const std::vector<Setting> expected = settings_of(want);
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (stated[i].value == expected[i].value) continue;
    throw IoError(where + ": " + expected[i].name + ": expected " + expected[i].value +
                  " as in the weights' file, got " + stated[i].value);
  }
}

// The metadata say it, and config.json must agree where it is there; of weights without metadata
// config.json says it.
Description read_description(const io::StoredTensors& contents, const fs::path& file,
                             const fs::path& config_file) {
  const std::string where = "[load] " + file.string();
  const std::string config_where = "[load] " + config_file.string();
  std::error_code ignored;
  const std::optional<std::string> stated =
      fs::exists(config_file, ignored) ? std::optional(io::read_file(config_file)) : std::nullopt;
  const auto training = contents.metadata.find("configuration");
  const auto model = contents.metadata.find("model");
  Description found;
  if (training != contents.metadata.end()) {
    found.training = config_from_json(training->second, where + ": configuration");
  }
  if (model == contents.metadata.end() && found.training) {
    if (stated)
      require_same(*found.training, config_from_json(*stated, config_where), config_where);
    return found;
  }
  if (model == contents.metadata.end() && !stated) {
    throw IoError(where + ": expected a model's configuration, or config.json beside it, got none");
  }
  const ConfigValue written =
      stated ? io::parse_json(*stated, config_file.string()) : ConfigValue();
  found.envelope = model == contents.metadata.end()
                       ? written
                       : io::parse_json(model->second, file.string() + ": model");
  if (!found.envelope.is_object() || !found.envelope["class_name"].is_string()) {
    throw IoError(where + ": expected a model's class and configuration, got none");
  }
  if (stated) require_same(found.envelope, written, config_where);
  return found;
}

constexpr std::initializer_list<Dtype> kFloatingTypes = {Dtype::f32, Dtype::f64, Dtype::bf16,
                                                         Dtype::f16};

// Refuses sizes that the file's tensors cannot have before a model of these sizes is made: a block
// has a kernel of hidden x hidden, and tensors of its own.
void require_plausible(const ConfigValue& config, const io::StoredTensors& contents,
                       const std::string& where) {
  const auto size = [&](std::string_view key) {
    const ConfigValue& value = config[key];
    return value.is_integer() ? value.as_integer(key) : 0;
  };
  const Index hidden = size("hidden_size");
  const Index layers = size("num_layers");
  const Index elements = count_elements(contents, kFloatingTypes);
  if (layers <= static_cast<Index>(contents.tensors.size()) &&
      (hidden <= 0 || hidden <= elements / hidden)) {
    return;
  }
  throw IoError(where + ": configuration: expected sizes that " + std::to_string(elements) +
                " elements can fill, got hidden " + std::to_string(hidden) + " and layers " +
                std::to_string(layers));
}

bool is_graph(const ConfigValue& envelope) {
  const ConfigValue& name = envelope["class_name"];
  return name == ConfigValue("Functional") || name == ConfigValue("Sequential") ||
         graph::is_package_model(envelope);
}

std::shared_ptr<Layer> made_from(const Description& description) {
  const ConfigValue& envelope = description.envelope;
  if (envelope.is_null()) {
    return std::make_shared<LanguageModel>(language_model_config(*description.training));
  }
  if (is_graph(envelope)) return model_from_config(envelope);
  std::shared_ptr<Layer> layer = layer_from_config(envelope);
  if (const auto* gqa = dynamic_cast<const edifice::Gqa*>(layer.get())) {
    const Shape x{1, 1, gqa->options().embed_dim};
    RandomStream random(gqa->options().seed);
    layer->build(std::span(&x, 1), random);
  }
  return layer;
}

void require_training_agrees(const Layer& model, const TrainerConfig& training,
                             const fs::path& file) {
  if (const auto* language_model = dynamic_cast<const LanguageModel*>(&model)) {
    const LanguageModelConfig expected = language_model_config(training);
    const LanguageModelConfig& config = language_model->config();
    if (config.vocab_size == expected.vocab_size &&
        is_same(config.transformer, expected.transformer)) {
      return;
    }
  }
  throw IoError("[load] " + file.string() +
                ": configuration: expected the options of a training run of this model, got "
                "others");
}

}  // namespace

void require_plausible(const TrainerConfig& config, const io::StoredTensors& contents,
                       const fs::path& file) {
  constexpr Index kWidest = Index{1} << 20;
  const Index elements = count_elements(contents, {config.dtype});
  // Each block has tensors of its own.
  const bool in_range = config.hidden_size <= kWidest &&
                        config.num_layers <= static_cast<Index>(contents.tensors.size());
  // The feed-forward kernels alone: 2 * M * 4 M in each block.
  if (in_range && 8 * config.num_layers * config.hidden_size * config.hidden_size <= elements) {
    return;
  }
  throw IoError("[load] " + file.string() + ": configuration: expected sizes that " +
                std::to_string(contents.tensors.size()) + " tensors of " +
                std::to_string(elements) + " " + std::string(name_of(config.dtype)) +
                " elements can fill, got hidden " + std::to_string(config.hidden_size) +
                " and layers " + std::to_string(config.num_layers));
}

void require_parameters(const io::StoredTensors& contents, const fs::path& file,
                        const std::string& prefix, const ConstParameterList& parameters) {
  std::vector<train::WholeTensor> tensors;
  for (const auto& [path, parameter] : parameters) {
    tensors.push_back(
        {.path = prefix + path, .shape = parameter->shape(), .dtype = parameter->dtype()});
  }
  require_tensors(contents, file, tensors);
}

void require_tensors(const io::StoredTensors& contents, const fs::path& file,
                     const std::vector<train::WholeTensor>& tensors) {
  std::vector<std::string> problems;
  for (const train::WholeTensor& tensor : tensors) {
    const std::string expected =
        text_of(std::string(name_of(tensor.dtype)), ConfigValue(tensor.shape));
    const auto found = contents.tensors.find(tensor.path);
    const std::string got = found == contents.tensors.end() ? "none" : text_of(found->second);
    if (got == expected) continue;
    problems.push_back(tensor.path + ": expected " + expected + ", got " + got);
  }
  throw_problems("[load] " + file.string(), problems);
}

void throw_problems(const std::string& where, const std::vector<std::string>& problems) {
  if (problems.empty()) return;
  if (problems.size() == 1) throw IoError(where + ": " + problems[0]);
  std::string text = where + ": expected tensors for all parameters, got " +
                     std::to_string(problems.size()) + " problems";
  for (const std::string& problem : problems) text += "\n  " + problem;
  throw IoError(text);
}

void add_parameters(const ConstParameterList& parameters, io::Safetensors& contents) {
  for (const auto& [path, parameter] : parameters) {
    contents.late[path] = {parameter->dtype(), parameter->shape(),
                           [one = parameter] { return Tensor::wrap(one->value()); }};
  }
}

void add_tensors(const std::vector<train::WholeTensor>& tensors, io::Safetensors& contents) {
  for (const train::WholeTensor& tensor : tensors) {
    contents.late[tensor.path] = {tensor.dtype, tensor.shape, tensor.read};
  }
}

std::string description_of(const Layer& model) {
  const auto* graph = dynamic_cast<const Model*>(&model);
  const ConfigValue envelope = graph != nullptr ? model_to_config(*graph) : layer_to_config(model);
  if (graph == nullptr && !has_layer(envelope)) {
    core::throw_config_error("save", model.name(),
                             "a class that make_layer() or register_layer() knows",
                             model.class_name());
  }
  return io::json_text(envelope, 2) + "\n";
}

namespace {

void write_contents(const fs::path& folder, const std::string& description,
                    const std::optional<TrainerConfig>& training, io::Safetensors& contents) {
  contents.metadata["model"] = description;
  if (training) contents.metadata["configuration"] = to_json(*training);
  io::write_file(folder / "config.json", contents.metadata["model"], io::Links::replaced);
  io::write_safetensors(folder / "model.safetensors", contents, io::Links::replaced);
}

}  // namespace

void write_model(const fs::path& folder, const Layer& model,
                 const std::optional<TrainerConfig>& training) {
  const ConstParameterList parameters = model.parameters();
  if (parameters.empty()) {
    core::throw_config_error("save", model.name(), "a model that is built, with parameters",
                             "one without");
  }
  io::Safetensors contents;
  add_parameters(parameters, contents);
  write_contents(folder, description_of(model), training, contents);
}

void write_model(const fs::path& folder, const std::string& description,
                 const std::vector<train::WholeTensor>& weights,
                 const std::optional<TrainerConfig>& training) {
  io::Safetensors contents;
  add_tensors(weights, contents);
  write_contents(folder, description, training, contents);
}

bool is_pretrained_folder(const fs::path& folder) {
  const fs::path file = folder / "config.json";
  std::error_code ignored;
  if (!fs::is_regular_file(file, ignored)) return false;
  const ConfigValue config = read_json(file);
  return config.is_object() && config["model_type"].is_string() && !config.contains("class_name");
}

LoadedModel read_model_folder(const fs::path& folder) {
  if (is_pretrained_folder(folder)) return {.model = load_pretrained(folder).model, .training = {}};
  std::error_code ignored;
  fs::path file = folder / "model.safetensors";
  const fs::path state = folder / "state.safetensors";
  if (!fs::exists(file, ignored) && fs::exists(state, ignored)) file = state;
  io::require_data(file);
  const io::StoredTensors contents = io::open_safetensors(file);
  const Description description = read_description(contents, file, folder / "config.json");
  const std::string where = "[load] " + file.string();
  if (description.envelope.is_null()) {
    require_plausible(*description.training, contents, file);
  } else {
    require_plausible(description.envelope["config"], contents, where);
  }
  LoadedModel loaded{.model = nullptr, .training = description.training};
  try {
    // Twice as many as there are, so that a missing tensor is named below.
    const nn::LoadingScope scope(2 * count_elements(contents, kFloatingTypes));
    loaded.model = made_from(description);
  } catch (const IoError&) {
    throw;
  } catch (const Error& error) {
    throw IoError(where + ": configuration: " + error.what());
  }
  if (loaded.training && !description.envelope.is_null()) {
    require_training_agrees(*loaded.model, *loaded.training, file);
  }
  const ParameterList parameters = loaded.model->parameters();
  require_parameters(contents, file, "", parameters);
  for (const auto& [path, parameter] : parameters) copy(contents.read(path), parameter->edit());
  return loaded;
}

LoadedLanguageModel load_language_model(const fs::path& folder) {
  LoadedModel loaded = read_model_folder(folder);
  auto model = std::dynamic_pointer_cast<LanguageModel>(loaded.model);
  if (model == nullptr) detail::throw_other_class(folder, *loaded.model);
  return {.model = std::move(model), .training = std::move(loaded.training)};
}

}  // namespace grouphead::saved

namespace grouphead {

void save_model_folder(const Layer& model, const std::filesystem::path& folder) {
  saved::description_of(model);  // before a folder is made
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) throw IoError("[save] " + folder.string() + ": " + error.message());
  saved::write_model(folder, model, std::nullopt);
}

std::shared_ptr<Layer> load_model_folder(const std::filesystem::path& folder) {
  return saved::read_model_folder(folder).model;
}

void detail::throw_other_class(const std::filesystem::path& folder, const Layer& found) {
  throw IoError("[load] " + folder.string() + ": expected a model of another class, got " +
                std::string(found.class_name()));
}

}  // namespace grouphead
