#include "saved/run_place.h"

#include <cmath>
#include <limits>

#include "core/check.h"
#include "core/number_text.h"
#include "io/file.h"
#include "io/json.h"
#include "saved/model_folder.h"

namespace grouphead::saved {
namespace {

constexpr int kVersion = 1;
constexpr Index kColumns = 5;  // of the history tensor: the fields of HistoryRow in their order

std::string hexadecimal(std::uint64_t value) {
  std::string text(16, '0');
  for (std::size_t i = 16; i-- > 0; value >>= 4) text[i] = "0123456789abcdef"[value & 15];
  return text;
}

/// An integer of 0 or more. Errors: ConfigError.
Index count_in(const ConfigValue& run, std::string_view key) {
  const Index count = run[key].as_integer(key);
  if (count < 0) core::throw_config_error("run", key, "0 or more", std::to_string(count));
  return count;
}

}  // namespace

RunPlace place_of(const TextTraining& training, const std::vector<std::string>& text_files) {
  return {.steps_done = training.steps_done(),
          .next_dropout_draw = training.dropout_stream().next_draw(),
          .isa = std::string(name_of(training.context().isa())),
          .text_bytes = training.text().size(),
          .text_fingerprint = hexadecimal(training.text().fingerprint()),
          .text_files = text_files};
}

std::string to_json(const RunPlace& place) {
  ConfigValue::List files(place.text_files.begin(), place.text_files.end());
  const ConfigValue run =
      ConfigValue::Object{{"version", kVersion},
                          {"steps_done", place.steps_done},
                          {"next_dropout_draw", static_cast<Index>(place.next_dropout_draw)},
                          {"isa", place.isa},
                          {"text_bytes", place.text_bytes},
                          {"text_fingerprint", place.text_fingerprint},
                          {"text_files", std::move(files)}};
  // A file name may be no UTF-8; it is a hint only.
  return io::json_text(run, -1, io::OtherBytes::replaced);
}

RunPlace place_from_json(const std::string& text, const std::string& where) {
  RunPlace into;
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
  return into;
}

std::vector<std::string> differences(const RunPlace& saved, const RunPlace& now) {
  std::vector<std::string> lines;
  const auto compare = [&](const std::string& what, const std::string& before,
                           const std::string& after) {
    if (before != after) {
      lines.push_back(what + ": checkpoint has " + before + ", this run " + after);
    }
  };
  const auto text_of = [](const RunPlace& place) {
    return std::to_string(place.text_bytes) + " bytes " + place.text_fingerprint;
  };
  compare("text", text_of(saved), text_of(now));
  compare("isa", saved.isa, now.isa);
  return lines;
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
    return std::isfinite(value) ? core::number_text(value) : std::string("null");
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

void take_tensors(const io::StoredTensors& contents,
                  const std::vector<train::WholeTensor>& tensors) {
  for (const train::WholeTensor& tensor : tensors) tensor.take(contents.read(tensor.path));
}

}  // namespace grouphead::saved
