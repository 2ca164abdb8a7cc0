#include "saved/huggingface/tuning.h"

#include "grouphead/core/error.h"
#include "io/file.h"
#include "io/json.h"
#include "nn/loading_scope.h"
#include "saved/huggingface/folder.h"
#include "saved/model_folder.h"

namespace grouphead::saved {
namespace {

namespace fs = std::filesystem;

constexpr const char* kOptions = "tuning";  // keys of the metadata
constexpr const char* kConfig = "config";
constexpr const char* kRun = "run";

ConfigValue options_of(const TunerConfig& config) {
  const TextTrainingConfig& t = config.training;
  return ConfigValue::Object{
      {"train", name_of(config.part)},   {"lora_rank", config.lora_rank},
      {"lora_alpha", config.lora_alpha}, {"dtype_policy", std::string(config.dtype.name())},
      {"seq", t.sequence_length},        {"batch", t.batch_size},
      {"accumulate", t.accumulate},      {"steps", t.steps},
      {"lr", t.learning_rate},           {"warmup", t.warmup_steps},
      {"weight_decay", t.weight_decay},  {"clipnorm", t.clipnorm},
      {"seed", std::to_string(t.seed)},  {"batch_blocks", t.batch_blocks}};
}

// Errors: ConfigError. Sizes that make no run are the Tuner's to refuse.
TunerConfig config_of(const ConfigValue& options) {
  const auto whole = [&](const char* key) { return options[key].as_integer(key); };
  const auto number = [&](const char* key) { return options[key].as_number(key); };
  TunerConfig config{.part = tuned_part_from_name(options["train"].as_string("train")),
                     .lora_rank = whole("lora_rank"),
                     .lora_alpha = number("lora_alpha")};
  const ConfigValue& dtype = options["dtype_policy"];  // absent in older states
  if (!dtype.is_null()) config.dtype = dtype.as_string("dtype_policy");
  TextTrainingConfig& t = config.training;
  t.sequence_length = whole("seq");
  t.batch_size = whole("batch");
  t.accumulate = whole("accumulate");
  t.steps = whole("steps");
  t.learning_rate = number("lr");
  t.warmup_steps = whole("warmup");
  t.weight_decay = number("weight_decay");
  t.clipnorm = number("clipnorm");
  t.seed = std::stoull(options["seed"].as_string("seed"));
  if (options.contains("batch_blocks")) t.batch_blocks = whole("batch_blocks");  // else older
  constexpr Index kMost = Index{1} << 40;
  for (const Index size :
       {t.sequence_length, t.batch_size, t.accumulate, config.lora_rank, t.batch_blocks}) {
    if (size < 1 || size > kMost) throw ConfigError("sizes: expected 1 to 2^40");
  }
  return config;
}

Index elements_of(const io::StoredTensors& contents) {
  Index elements = 0;
  for (const auto& [name, stored] : contents.tensors) {
    if (stored.problem.empty()) elements += Shape(stored.shape).size();
  }
  return elements;
}

ParameterList with_prefix(const std::string& prefix, ParameterList parameters) {
  for (NamedParameter& one : parameters) one.path = prefix + one.path;
  return parameters;
}

}  // namespace

bool has_tuning_checkpoint(const fs::path& folder) {
  std::error_code ignored;
  if (!fs::is_regular_file(folder / kStateName, ignored)) return false;
  try {
    return io::open_safetensors(folder / kStateName).metadata.contains(kOptions);
  } catch (const IoError&) {
    return false;  // read_checkpoint() says what is wrong with it
  }
}

TuningCheckpoint read_tuning_checkpoint(const fs::path& folder) {
  TuningCheckpoint checkpoint;
  checkpoint.file = folder / kStateName;
  io::require_data(checkpoint.file);
  checkpoint.contents = io::open_safetensors(checkpoint.file);
  const std::string where = "[resume] " + checkpoint.file.string();
  const auto& metadata = checkpoint.contents.metadata;
  for (const char* key : {kOptions, kConfig, kRun}) {
    if (!metadata.contains(key)) throw IoError(where + ": expected a state of `grouphead train`");
  }
  static_cast<RunPlace&>(checkpoint) = place_from_json(metadata.at(kRun), where);
  try {
    checkpoint.config = config_of(io::parse_json(metadata.at(kOptions), kOptions));
  } catch (const std::exception& error) {
    throw IoError(where + ": " + kOptions + ": " + error.what());
  }
  checkpoint.history =
      history_of(checkpoint.contents.read("history"), checkpoint.steps_done, where);
  const ConfigValue config = io::parse_json(metadata.at(kConfig), where);
  const Index layers = describe(config, where).described.config.num_layers;
  if (layers > static_cast<Index>(checkpoint.contents.tensors.size())) {
    throw IoError(where + ": expected tensors for " + std::to_string(layers) + " layers");
  }
  {
    // Twice as many as there are, so that a missing tensor is named below.
    const nn::LoadingScope scope(2 * elements_of(checkpoint.contents));
    checkpoint.pretrained = make_pretrained(config, 0, checkpoint.config.dtype);
  }
  const ParameterList parameters = with_prefix("model/", checkpoint.pretrained.model->parameters());
  require_parameters(checkpoint.contents, checkpoint.file, "", parameters);
  for (const auto& [path, parameter] : parameters) {
    copy(checkpoint.contents.read(path), parameter->edit());
  }
  return checkpoint;
}

std::vector<Setting> settings_of(const TunerConfig& config) {
  std::vector<Setting> settings;
  const ConfigValue options = options_of(config);
  for (const auto& [key, value] : options.as_object(kOptions)) {
    settings.push_back({key, value.is_string() ? value.as_string(key) : value.to_string()});
  }
  return settings;
}

std::vector<std::string> differences(const TuningCheckpoint& checkpoint, const Tuner& tuner) {
  std::vector<std::string> lines;
  const ConfigValue before = options_of(checkpoint.config);
  const ConfigValue now = options_of(tuner.config());
  for (const auto& [key, value] : before.as_object(kOptions)) {
    if (now[key] == value) continue;
    lines.push_back(key + ": checkpoint has " + value.to_string() + ", this run " +
                    now[key].to_string());
  }
  for (std::string& line :
       differences(static_cast<const RunPlace&>(checkpoint), place_of(tuner, {}))) {
    lines.push_back(std::move(line));
  }
  return lines;
}

void restore(const TuningCheckpoint& checkpoint, Tuner& tuner) {
  const ParameterList low_rank = with_prefix("lora/", tuner.low_rank());
  require_parameters(checkpoint.contents, checkpoint.file, "", low_rank);
  const std::vector<train::WholeTensor> moments = tuner.moments();
  require_tensors(checkpoint.contents, checkpoint.file, moments);
  for (const auto& [path, parameter] : low_rank) {
    copy(checkpoint.contents.read(path), parameter->edit());
  }
  take_tensors(checkpoint.contents, moments);
  tuner.restore(checkpoint.steps_done, checkpoint.next_dropout_draw);
}

void save(const fs::path& folder, const PretrainedModel& pretrained, Tuner& tuner,
          const History& history, const std::vector<std::string>& text_files,
          const std::map<std::string, std::string>& companions) {
  io::Safetensors contents;
  contents.metadata[kOptions] = io::json_text(options_of(tuner.config()));
  contents.metadata[kConfig] = io::json_text(pretrained.config);
  contents.metadata[kRun] = to_json(place_of(tuner, text_files));
  contents.tensors["history"] = tensor_of(history);
  for (const auto& [path, weight] : tuner.weights()) {
    contents.late["model/" + path] = {weight.dtype(), weight.shape(),
                                      [one = weight] { return Tensor::wrap(one); }};
  }
  add_parameters(with_prefix("lora/", tuner.low_rank()), contents);
  add_tensors(tuner.moments(), contents);
  io::write_safetensors(folder / kStateName, contents, io::Links::replaced);
  static_cast<void>(tuner.model());  // adds low-rank changes up
  write_pretrained(pretrained, folder);
  write_companions(companions, folder);
  io::write_file(folder / "history.csv", csv_of(history), io::Links::replaced);
}

}  // namespace grouphead::saved
