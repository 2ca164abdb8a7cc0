#include "saved/checkpoint.h"

#include <cmath>
#include <limits>

#include "core/check.h"
#include "core/number_text.h"
#include "io/file.h"
#include "io/json.h"
#include "saved/model_folder.h"

namespace grouphead::saved {
namespace {

namespace fs = std::filesystem;

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
  // Not a number is nothing, as tools read it.
  const auto number = [](double value) {
    return std::isfinite(value) ? detail::number_text(value) : std::string("null");
  };
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
  ConfigValue::List files(text_files.begin(), text_files.end());
  const ConfigValue run = ConfigValue::Object{
      {"version", kVersion},
      {"steps_done", trainer.steps_done()},
      {"next_dropout_draw", static_cast<Index>(trainer.dropout_stream().next_draw())},
      {"isa", name_of(trainer.context().isa())},
      {"text_bytes", trainer.text().size()},
      {"text_fingerprint", hexadecimal(trainer.text().fingerprint())},
      {"text_files", std::move(files)}};
  // A file name may be no UTF-8; it is a hint only.
  return io::json_text(run, -1, io::OtherBytes::replaced);
}

/// An integer of 0 or more. Errors: ConfigError.
Index count_in(const ConfigValue& run, std::string_view key) {
  const Index count = run[key].as_integer(key);
  if (count < 0) detail::throw_config_error("run", key, "0 or more", std::to_string(count));
  return count;
}

void read_run(const std::string& text, const std::string& where, Checkpoint& into) {
  try {
    const ConfigValue run = io::parse_json(text, "run");
    if (run["version"] != ConfigValue(kVersion)) {
      throw IoError(where + ": version: expected " + std::to_string(kVersion) + ", got " +
                    run["version"].to_string());
    }
    into.steps_done = count_in(run, "steps_done");
    into.next_dropout_draw = static_cast<std::uint64_t>(count_in(run, "next_dropout_draw"));
    into.isa = run["isa"].as_string("isa");
    into.text_bytes = count_in(run, "text_bytes");
    into.text_fingerprint = run["text_fingerprint"].as_string("text_fingerprint");
    for (const ConfigValue& file : run["text_files"].as_list("text_files")) {
      into.text_files.push_back(file.as_string("text_files"));
    }
  } catch (const ConfigError& error) {
    throw IoError(where + ": run: " + error.what());
  } catch (const IoError& error) {
    if (std::string_view(error.what()).starts_with(where)) throw;
    throw IoError(where + ": run: " + error.what());
  }
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
  io::require_data(checkpoint.file);
  checkpoint.contents = io::open_safetensors(checkpoint.file);
  const std::string where = "[resume] " + checkpoint.file.string();
  const auto& metadata = checkpoint.contents.metadata;
  if (!metadata.contains("configuration") || !metadata.contains("run")) {
    throw IoError(where + ": expected a checkpoint of `grouphead train`");
  }
  checkpoint.config = config_from_json(metadata.at("configuration"), where + ": configuration");
  require_plausible(checkpoint.config, checkpoint.contents, checkpoint.file);
  read_run(metadata.at("run"), where, checkpoint);
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
    copy(checkpoint.contents.read(path), parameter->edit());
  }
  for (OptimizerSlot& slot : optimizer.slots()) {
    for (std::size_t i = 0; i < slot.tensors.size(); ++i) {
      copy(checkpoint.contents.read(moment_path(slot, optimizer.parameters()[i])), slot.tensors[i]);
    }
  }
  trainer.restore(checkpoint.steps_done, checkpoint.next_dropout_draw);
}

void save(const fs::path& folder, Trainer& trainer, const History& history,
          const std::vector<std::string>& text_files) {
  io::Safetensors contents;
  contents.metadata["configuration"] = to_json(trainer.config());
  contents.metadata["model"] = description_of(trainer.model());
  contents.metadata["run"] = run_json(trainer, text_files);
  contents.tensors["history"] = tensor_of(history);
  add_parameters(trainer.model().parameters(), contents);
  AdamW& optimizer = trainer.optimizer();
  for (const OptimizerSlot& slot : optimizer.slots()) {
    for (std::size_t i = 0; i < slot.tensors.size(); ++i) {
      contents.tensors.emplace(moment_path(slot, optimizer.parameters()[i]), slot.tensors[i]);
    }
  }
  io::write_safetensors(folder / kStateFile, contents, io::Links::replaced);
  write_model(folder, trainer.model(), trainer.config());
  io::write_file(folder / "history.csv", csv_of(history), io::Links::replaced);
}

}  // namespace grouphead::saved
