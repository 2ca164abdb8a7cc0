#include "saved/checkpoint.h"

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "io/file.h"
#include "saved/model_folder.h"

namespace grouphead::saved {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr const char* kStateFile = "state.safetensors";
constexpr int kVersion = 1;
constexpr Index kColumns = 5;  // of the history tensor: the fields of HistoryRow in their order

std::string hexadecimal(std::uint64_t value) {
  std::string text(16, '0');
  for (std::size_t i = 16; i-- > 0; value >>= 4) text[i] = "0123456789abcdef"[value & 15];
  return text;
}

Tensor tensor_of(const History& history) {
  Tensor rows({static_cast<Index>(history.size()), kColumns}, Dtype::f64);
  double* out = rows.data<double>();
  for (const HistoryRow& row : history) {
    *out++ = static_cast<double>(row.step);
    *out++ = row.loss;
    *out++ = row.validation_loss.value_or(std::numeric_limits<double>::quiet_NaN());
    *out++ = row.learning_rate;
    *out++ = row.gradient_norm;
  }
  return rows;
}

History history_of(const Tensor& rows, Index steps_done, const std::string& where) {
  if (rows.dtype() != Dtype::f64 || rows.shape() != Shape({steps_done, kColumns})) {
    throw IoError(where + ": history: expected f64 " + Shape({steps_done, kColumns}).to_string() +
                  ", got " + std::string(name_of(rows.dtype())) + " " + rows.shape().to_string());
  }
  History history;
  const double* in = rows.data<double>();
  for (Index i = 0; i < steps_done; ++i, in += kColumns) {
    HistoryRow row{.step = i + 1, .loss = in[1], .learning_rate = in[3], .gradient_norm = in[4]};
    if (!std::isnan(in[2])) row.validation_loss = in[2];
    history.push_back(row);
  }
  return history;
}

std::string csv_of(const History& history) {
  std::string text = "step,loss,val_loss,learning_rate,gradient_norm\n";
  const auto number = [](double value) { return Json(value).dump(); };
  for (const HistoryRow& row : history) {
    text += std::to_string(row.step);
    text += ',';
    text += number(row.loss);
    text += ',';
    if (row.validation_loss) text += number(*row.validation_loss);
    text += ',';
    text += number(row.learning_rate);
    text += ',';
    text += number(row.gradient_norm);
    text += '\n';
  }
  return text;
}

std::string run_json(const Trainer& trainer, const std::vector<std::string>& text_files) {
  const Json run = {{"version", kVersion},
                    {"steps_done", trainer.steps_done()},
                    {"next_dropout_draw", trainer.dropout_stream().next_draw()},
                    {"isa", name_of(trainer.context().isa())},
                    {"text_bytes", trainer.text().size()},
                    {"text_fingerprint", hexadecimal(trainer.text().fingerprint())},
                    {"text_files", text_files}};
  // A file name may be no UTF-8; it is a hint only.
  return run.dump(-1, ' ', false, Json::error_handler_t::replace);
}

void read_run(const std::string& text, const std::string& where, Checkpoint& into) {
  try {
    const Json run = Json::parse(text);
    if (run.at("version") != kVersion) {
      throw IoError(where + ": version: expected " + std::to_string(kVersion) + ", got " +
                    run.at("version").dump());
    }
    into.steps_done = run.at("steps_done").get<Index>();
    into.next_dropout_draw = run.at("next_dropout_draw").get<std::uint64_t>();
    into.isa = run.at("isa").get<std::string>();
    into.text_bytes = run.at("text_bytes").get<Index>();
    into.text_fingerprint = run.at("text_fingerprint").get<std::string>();
    into.text_files = run.at("text_files").get<std::vector<std::string>>();
  } catch (const nlohmann::json::exception& error) {
    throw IoError(where + ": run: " + error.what());
  }
  if (into.steps_done < 0) throw IoError(where + ": steps_done: expected 0 or more");
}

/// Under which name a parameter's moment is stored.
std::string moment_path(const OptimizerSlot& slot, const NamedParameter& parameter) {
  return slot.name + "/" + parameter.path;
}

}  // namespace

bool has_checkpoint(const fs::path& folder) {
  std::error_code ignored;
  return fs::exists(folder / kStateFile, ignored);
}

Checkpoint read_checkpoint(const fs::path& folder) {
  Checkpoint checkpoint{.file = folder / kStateFile};
  checkpoint.contents = io::read_safetensors(checkpoint.file);
  const std::string where = "[resume] " + checkpoint.file.string();
  const auto& metadata = checkpoint.contents.metadata;
  if (!metadata.contains("configuration") || !metadata.contains("run")) {
    throw IoError(where + ": expected a checkpoint of `grouphead train`");
  }
  checkpoint.config = config_from_json(metadata.at("configuration"), where + ": configuration");
  read_run(metadata.at("run"), where, checkpoint);
  checkpoint.history = history_of(checkpoint.contents.at("history"), checkpoint.steps_done, where);
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
  compare("text", std::to_string(checkpoint.text_bytes) + " bytes " + checkpoint.text_fingerprint,
          std::to_string(trainer.text().size()) + " bytes " +
              hexadecimal(trainer.text().fingerprint()));
  compare("isa", checkpoint.isa, std::string(name_of(trainer.context().isa())));
  return lines;
}

void restore(const Checkpoint& checkpoint, Trainer& trainer) {
  AdamW& optimizer = trainer.optimizer();
  const ParameterList parameters = trainer.model().parameters();
  require_parameters(checkpoint.contents, checkpoint.file, "", parameters);
  for (const OptimizerSlot& slot : optimizer.slots()) {
    require_parameters(checkpoint.contents, checkpoint.file, slot.name + "/",
                       optimizer.parameters());
  }
  for (const auto& [path, parameter] : parameters) {
    copy(checkpoint.contents.at(path), parameter->edit());
  }
  for (OptimizerSlot& slot : optimizer.slots()) {
    for (std::size_t i = 0; i < slot.tensors.size(); ++i) {
      copy(checkpoint.contents.at(moment_path(slot, optimizer.parameters()[i])), slot.tensors[i]);
    }
  }
  trainer.restore(checkpoint.steps_done, checkpoint.next_dropout_draw);
}

void save(const fs::path& folder, Trainer& trainer, const History& history,
          const std::vector<std::string>& text_files) {
  io::Safetensors contents;
  contents.metadata["configuration"] = to_json(trainer.config());
  contents.metadata["run"] = run_json(trainer, text_files);
  contents.tensors["history"] = tensor_of(history);
  add_parameters(trainer.model().parameters(), contents);
  AdamW& optimizer = trainer.optimizer();
  for (const OptimizerSlot& slot : optimizer.slots()) {
    for (std::size_t i = 0; i < slot.tensors.size(); ++i) {
      contents.tensors.emplace(moment_path(slot, optimizer.parameters()[i]), slot.tensors[i]);
    }
  }
  io::write_safetensors(folder / kStateFile, contents);
  write_model(folder, trainer.model(), trainer.config());
  io::write_file(folder / "history.csv", csv_of(history));
}

}  // namespace grouphead::saved
