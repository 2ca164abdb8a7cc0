#include "grouphead/train/callbacks.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <fstream>
#include <locale>

#include "core/check.h"
#include "grouphead/models/model.h"
#include "grouphead/train/fit.h"

namespace grouphead {

void Callback::on_train_begin(CompiledModel& /*model*/) {}
void Callback::on_epoch_begin(CompiledModel& /*model*/, Index /*epoch*/) {}
void Callback::on_train_batch_begin(CompiledModel& /*model*/, Index /*batch*/) {}
void Callback::on_train_batch_end(CompiledModel& /*model*/, Index /*batch*/, const Logs& /*logs*/) {
}
void Callback::on_epoch_end(CompiledModel& /*model*/, Index /*epoch*/, const Logs& /*logs*/) {}
void Callback::on_train_end(CompiledModel& /*model*/) {}
void Callback::on_test_begin(CompiledModel& /*model*/) {}
void Callback::on_test_end(CompiledModel& /*model*/, const Logs& /*logs*/) {}

// ---- LambdaCallback ----------------------------------------------------------------------------

void LambdaCallback::on_train_begin(CompiledModel& model) {
  if (functions_.on_train_begin) functions_.on_train_begin(model);
}
void LambdaCallback::on_epoch_begin(CompiledModel& model, Index epoch) {
  if (functions_.on_epoch_begin) functions_.on_epoch_begin(model, epoch);
}
void LambdaCallback::on_train_batch_end(CompiledModel& model, Index batch, const Logs& logs) {
  if (functions_.on_train_batch_end) functions_.on_train_batch_end(model, batch, logs);
}
void LambdaCallback::on_epoch_end(CompiledModel& model, Index epoch, const Logs& logs) {
  if (functions_.on_epoch_end) functions_.on_epoch_end(model, epoch, logs);
}
void LambdaCallback::on_train_end(CompiledModel& model) {
  if (functions_.on_train_end) functions_.on_train_end(model);
}

// ---- Monitor and EarlyStopping -----------------------------------------------------------------

namespace {

/// Whether the epoch that ended lacks a number only because it was not validated.
bool comes_with_validation(const CompiledModel& model, const Logs& logs, std::string_view name) {
  constexpr std::string_view kPrefix = "val_";
  return name.starts_with(kPrefix) && model.is_between_validations() &&
         find(logs, name.substr(kPrefix.size())).has_value();
}

}  // namespace

Monitor::Monitor(std::string name, std::string_view mode, double min_delta)
    : name_(std::move(name)), mode_(Mode::automatic), min_delta_(std::abs(min_delta)) {
  if (mode == "min") mode_ = Mode::min;
  if (mode == "max") mode_ = Mode::max;
  if (mode != "auto" && mode_ == Mode::automatic) {
    core::throw_config_error("callback", "mode", "auto, min or max", mode);
  }
}

std::optional<double> Monitor::value(const CompiledModel& model, const Logs& logs) {
  if (mode_ == Mode::automatic) {
    const std::string_view name = name_;
    const auto metric = name.starts_with("val_") ? name.substr(4) : name;
    const std::optional<bool> is_up = model.higher_is_better(metric);
    if (!is_up) {
      core::throw_config_error("callback", "monitor",
                               "loss or a metric's name; with another name a mode", name_);
    }
    mode_ = *is_up ? Mode::max : Mode::min;
  }
  if (const std::optional<double> value = find(logs, name_)) return value;
  if (comes_with_validation(model, logs, name_)) return {};
  std::string known;
  for (const auto& [key, value] : logs) known += known.empty() ? key : ", " + key;
  core::throw_config_error("callback", "monitor", known, name_);
}

bool Monitor::improves(double value, const std::optional<double>& reference) const {
  if (!reference) return true;
  return mode_ == Mode::max ? value - min_delta_ > *reference : value + min_delta_ < *reference;
}

EarlyStopping::EarlyStopping(const EarlyStoppingConfig& config)
    : config_(config), monitor_(config.monitor, config.mode, config.min_delta) {}

void EarlyStopping::on_train_begin(CompiledModel& /*model*/) {
  wait_ = 0;
  best_epoch_ = 0;
  best_.reset();
  stopped_epoch_.reset();
  best_weights_.clear();
}

void EarlyStopping::on_epoch_end(CompiledModel& model, Index epoch, const Logs& logs) {
  const std::optional<double> current = monitor_.value(model, logs);
  if (!current || epoch < config_.start_from_epoch) return;
  const auto remember = [&] {
    best_epoch_ = epoch;
    if (config_.restore_best_weights) best_weights_ = get_weights(model.model());
  };
  if (config_.restore_best_weights && best_weights_.empty()) remember();
  ++wait_;
  if (monitor_.improves(*current, best_)) {
    best_ = current;
    remember();
    if (!config_.baseline || monitor_.improves(*current, config_.baseline)) wait_ = 0;
    return;
  }
  if (wait_ >= config_.patience && epoch > 0) {
    stopped_epoch_ = epoch;
    model.stop_training = true;
  }
}

void EarlyStopping::on_train_end(CompiledModel& model) {
  if (!best_weights_.empty()) set_weights(model.model(), best_weights_);
}

// ---- ModelCheckpoint ---------------------------------------------------------------------------

namespace {

/// A number as Python's format does for the specs `` , `02d`, `.3f` and their like.
std::string formatted(double value, std::string_view spec) {
  const bool is_integer = spec.ends_with('d') || (spec.empty() && value == std::floor(value));
  const bool is_padded = spec.starts_with('0');
  std::size_t width = 0;
  int precision = 6;
  const std::size_t dot = std::min(spec.find('.'), spec.size());
  std::from_chars(spec.data(), spec.data() + dot, width);
  if (dot < spec.size())
    std::from_chars(spec.data() + dot + 1, spec.data() + spec.size(), precision);
  char text[64];
  const auto end =
      is_integer ? std::to_chars(text, text + sizeof text, std::llround(value)).ptr
      : spec.empty()
          ? std::to_chars(text, text + sizeof text, value).ptr
          : std::to_chars(text, text + sizeof text, value, std::chars_format::fixed, precision).ptr;
  std::string out(text, end);
  if (out.size() < width) out.insert(0, width - out.size(), is_padded ? '0' : ' ');
  return out;
}

/// `{name}` and `{name:spec}` replaced by the logs' numbers; nothing where one of them comes with
/// the next validation.
std::optional<std::string> filled(const CompiledModel& model, std::string_view pattern,
                                  const Logs& numbers) {
  std::string out;
  while (!pattern.empty()) {
    const std::size_t open = std::min(pattern.find('{'), pattern.size());
    out += pattern.substr(0, open);
    pattern.remove_prefix(open);
    const std::size_t close = pattern.find('}');
    if (pattern.empty()) break;
    const std::string_view field = pattern.substr(1, std::min(close, pattern.size()) - 1);
    const std::string_view name = field.substr(0, field.find(':'));
    const std::optional<double> value = find(numbers, name);
    if (!value && comes_with_validation(model, numbers, name)) return {};
    if (!value || close == std::string_view::npos) {
      core::throw_config_error("model_checkpoint", "filepath", "fields that the logs have", field);
    }
    out += formatted(*value, name.size() < field.size() ? field.substr(name.size() + 1) : "");
    pattern.remove_prefix(close + 1);
  }
  return out;
}

}  // namespace

ModelCheckpoint::ModelCheckpoint(const ModelCheckpointConfig& config, Save save)
    : config_(config),
      save_(std::move(save)),
      monitor_(config.monitor, config.mode, 0),
      best_(config.initial_value_threshold) {
  if (config_.save_freq < 0) {
    core::throw_config_error("model_checkpoint", "save_freq", "0 or more batches",
                             std::to_string(config_.save_freq));
  }
}

void ModelCheckpoint::on_epoch_begin(CompiledModel& /*model*/, Index epoch) { epoch_ = epoch; }

void ModelCheckpoint::on_train_batch_end(CompiledModel& model, Index batch, const Logs& logs) {
  if (config_.save_freq == 0 || ++unsaved_batches_ < config_.save_freq) return;
  unsaved_batches_ = 0;
  save(model, batch, logs);
}

void ModelCheckpoint::on_epoch_end(CompiledModel& model, Index epoch, const Logs& logs) {
  epoch_ = epoch;
  if (config_.save_freq == 0) save(model, -1, logs);
}

void ModelCheckpoint::save(const CompiledModel& model, Index batch, const Logs& logs) {
  if (config_.save_best_only) {
    const std::optional<double> current = monitor_.value(model, logs);
    if (current && !monitor_.improves(*current, best_)) return;
    if (current) best_ = current;
  }
  Logs numbers{{"epoch", static_cast<double>(epoch_ + 1)}};
  if (batch >= 0) numbers.emplace_back("batch", static_cast<double>(batch + 1));
  numbers.insert(numbers.end(), logs.begin(), logs.end());
  const std::optional<std::string> name = filled(model, config_.filepath, numbers);
  if (!name) return;
  const std::filesystem::path file = *name;
  if (file.has_parent_path()) std::filesystem::create_directories(file.parent_path());
  save_(model, file);
}

// ---- CSVLogger ---------------------------------------------------------------------------------

CSVLogger::CSVLogger(std::filesystem::path file, std::string separator, bool append)
    : file_(std::move(file)), separator_(std::move(separator)), append_(append) {}
CSVLogger::~CSVLogger() = default;

void CSVLogger::on_train_begin(CompiledModel& /*model*/) {
  std::error_code ignored;
  writes_header_ = !append_ || std::filesystem::file_size(file_, ignored) == 0 || ignored;
  out_ = std::make_unique<std::ofstream>(file_, append_ ? std::ios::app : std::ios::trunc);
  out_->imbue(std::locale::classic());
  columns_.clear();
  if (!*out_) throw IoError("[csv_logger] " + file_.string() + ": cannot be written");
}

void CSVLogger::on_epoch_end(CompiledModel& /*model*/, Index epoch, const Logs& logs) {
  if (columns_.empty()) {
    for (const auto& [name, value] : logs) columns_.push_back(name);
    std::sort(columns_.begin(), columns_.end());
    const auto validates = [](const std::string& name) { return name.starts_with("val_"); };
    if (std::none_of(columns_.begin(), columns_.end(), validates)) {
      const std::vector<std::string> trained = columns_;
      for (const std::string& name : trained) columns_.push_back("val_" + name);
    }
    if (writes_header_) {
      *out_ << "epoch";
      for (const std::string& name : columns_) *out_ << separator_ << name;
      *out_ << "\r\n";
    }
  }
  *out_ << epoch;
  for (const std::string& name : columns_) {
    const std::optional<double> value = find(logs, name);
    char text[64];
    *out_ << separator_;
    if (value) {
      out_->write(text, std::to_chars(text, text + sizeof text, *value).ptr - text);
    } else {
      *out_ << "NA";
    }
  }
  *out_ << "\r\n" << std::flush;
  if (!*out_) throw IoError("[csv_logger] " + file_.string() + ": cannot be written");
}

void CSVLogger::on_train_end(CompiledModel& /*model*/) { out_.reset(); }

}  // namespace grouphead
