#include "saved/checkpoint.h"

#include "io/file.h"
#include "saved/model_folder.h"

namespace grouphead::saved {

namespace fs = std::filesystem;

bool has_checkpoint(const fs::path& folder) {
  std::error_code ignored;
  return fs::exists(folder / kStateName, ignored);
}

Checkpoint read_checkpoint(const fs::path& folder) {
  Checkpoint checkpoint;
  checkpoint.file = folder / kStateName;
  io::require_data(checkpoint.file);
  checkpoint.contents = io::open_safetensors(checkpoint.file);
  const std::string where = "[resume] " + checkpoint.file.string();
  const auto& metadata = checkpoint.contents.metadata;
  if (!metadata.contains("configuration") || !metadata.contains("run")) {
    throw IoError(where + ": expected a checkpoint of `grouphead train`");
  }
  checkpoint.config = config_from_json(metadata.at("configuration"), where + ": configuration");
  require_plausible(checkpoint.config, checkpoint.contents, checkpoint.file);
  static_cast<RunPlace&>(checkpoint) = place_from_json(metadata.at("run"), where);
  checkpoint.history =
      history_of(checkpoint.contents.read("history"), checkpoint.steps_done, where);
  return checkpoint;
}

std::vector<std::string> differences(const Checkpoint& checkpoint, const Trainer& trainer) {
  std::vector<std::string> lines;
  const auto compare = [&](const std::string& what, const std::string& saved,
                           const std::string& now) {
    if (saved != now) lines.push_back(what + ": checkpoint has " + saved + ", this run " + now);
  };
  const std::vector<Setting> before = settings_of(checkpoint.config);
  const std::vector<Setting> now = settings_of(trainer.config());
  for (std::size_t i = 0; i < now.size(); ++i) {
    compare(now[i].name, before[i].value, now[i].value);
  }
  for (std::string& line :
       differences(static_cast<const RunPlace&>(checkpoint), place_of(trainer, {}))) {
    lines.push_back(std::move(line));
  }
  return lines;
}

void restore(const Checkpoint& checkpoint, Trainer& trainer) {
  const std::vector<train::WholeTensor> weights = trainer.model_weights();
  const std::vector<train::WholeTensor> moments = trainer.moments();
  require_tensors(checkpoint.contents, checkpoint.file, weights);
  require_tensors(checkpoint.contents, checkpoint.file, moments);
  take_tensors(checkpoint.contents, weights);
  take_tensors(checkpoint.contents, moments);
  trainer.restore(checkpoint.steps_done, checkpoint.next_dropout_draw);
}

void save(const fs::path& folder, Trainer& trainer, const History& history,
          const std::vector<std::string>& text_files) {
  io::Safetensors contents;
  contents.metadata["configuration"] = to_json(trainer.config());
  const std::string description = description_of(trainer.model());
  const std::vector<train::WholeTensor> weights = trainer.model_weights();
  contents.metadata["model"] = description;
  contents.metadata["run"] = to_json(place_of(trainer, text_files));
  contents.tensors["history"] = tensor_of(history);
  add_tensors(weights, contents);
  add_tensors(trainer.moments(), contents);
  io::write_safetensors(folder / kStateName, contents, io::Links::replaced);
  write_model(folder, description, weights, trainer.config());
  io::write_file(folder / "history.csv", csv_of(history), io::Links::replaced);
}

}  // namespace grouphead::saved
