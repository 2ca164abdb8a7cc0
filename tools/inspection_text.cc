#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "tools/inspection.h"
#include "tools/printable.h"

namespace grouphead::tools {
namespace {

std::string text_of(const ConfigValue& value) {
  if (value.is_null()) return "";
  return printable(value.is_string() ? value.as_string("text") : value.to_string());
}

std::string joined(const ConfigValue& list) {
  std::string text;
  if (!list.is_list()) return text;
  for (const ConfigValue& entry : list.as_list("list")) {
    text += fmt::format("{}{}", text.empty() ? "" : ", ", text_of(entry));
  }
  return text;
}

/// `[null, 4]` as `[*, 4]`.
std::string shape_text(const ConfigValue& shapes) {
  std::string text = joined(shapes);
  for (std::size_t at = 0; (at = text.find("null", at)) != std::string::npos;) {
    text.replace(at, 4, 1, '*');
  }
  return text;
}

using Row = std::vector<std::string>;

void add_rows(const ConfigValue& model, int depth, std::vector<Row>& rows) {
  for (const ConfigValue& layer : model["layers"].as_list("layers")) {
    rows.push_back({fmt::format("{:{}}{}", "", 2 * depth, text_of(layer["name"])),
                    text_of(layer["class"]), shape_text(layer["shapes"]),
                    text_of(layer["parameters"]), text_of(layer["kv_cache"]),
                    joined(layer["from"])});
    if (layer["layers"].is_list()) add_rows(layer, depth + 1, rows);
  }
}

std::string table(const std::vector<Row>& rows) {
  std::vector<std::size_t> widths(rows[0].size(), 0);
  for (const Row& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text;
  for (const Row& row : rows) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      const bool is_number = i == 3 || i == 4;
      line += is_number ? fmt::format("{:>{}}  ", row[i], widths[i])
                        : fmt::format("{:<{}}  ", row[i], widths[i]);
    }
    text += fmt::format("{}\n", line.substr(0, line.find_last_not_of(' ') + 1));
  }
  return text;
}

std::string model_text(const ConfigValue& model) {
  std::string text = fmt::format("\n{} {}\n", text_of(model["class"]), text_of(model["name"]));
  std::vector<Row> rows = {{"layer", "class", "outputs", "parameters", "kv cache", "from"}};
  add_rows(model, 0, rows);
  if (rows.size() > 1) text += table(rows);
  text += fmt::format("parameters  {}\n",
                      model["parameters"].is_null() ? "unknown" : text_of(model["parameters"]));
  const Index cached = model["kv_cache"].as_integer("kv_cache");
  text +=
      fmt::format("kv cache    {} numbers for each token, {} bytes in f32\n", cached, cached * 4);
  if (!model["problem"].is_null())
    text += fmt::format("cannot be run: {}\n", text_of(model["problem"]));
  return text;
}

std::vector<std::string> parts_of(const std::string& path) {
  std::vector<std::string> parts;
  std::size_t begin = 0;
  for (std::size_t end; (end = path.find('/', begin)) != std::string::npos; begin = end + 1) {
    parts.push_back(path.substr(begin, end - begin));
  }
  parts.push_back(path.substr(begin));
  return parts;
}

/// Groups above their tensors, each named where it begins.
std::string tree_text(const ConfigValue::List& tensors) {
  std::string text;
  std::vector<std::string> open;
  for (const ConfigValue& tensor : tensors) {
    const std::vector<std::string> parts = parts_of(text_of(tensor["path"]));
    std::size_t same = 0;
    while (same < open.size() && same + 1 < parts.size() && open[same] == parts[same]) ++same;
    open.assign(parts.begin(), parts.end() - 1);
    for (std::size_t depth = same; depth + 1 < parts.size(); ++depth) {
      text += fmt::format("{:{}}{}/\n", "", 2 * depth, parts[depth]);
    }
    text += fmt::format("{}{}  {} {}{}\n", std::string(2 * (parts.size() - 1), ' '), parts.back(),
                        text_of(tensor["dtype"]), tensor["shape"].to_string(),
                        tensor["problem"].is_null() ? "" : "  not read");
  }
  return text;
}

}  // namespace

std::string inspection_text(const ConfigValue& inspection) {
  std::string text =
      fmt::format("{}: {}", text_of(inspection["file"]), text_of(inspection["format"]));
  if (!inspection["keras_version"].is_null()) {
    text += fmt::format(", Keras {}", text_of(inspection["keras_version"]));
  }
  text += "\n";
  if (inspection["settings"].is_object()) {
    for (const auto& [name, value] : inspection["settings"].as_object("settings")) {
      text += fmt::format("  {:<14} {}\n", name, text_of(value));
    }
  }
  if (!inspection["model"].is_null()) text += model_text(inspection["model"]);
  const ConfigValue::List& tensors = inspection["tensors"].as_list("tensors");
  text += fmt::format("\n{} tensors, {} numbers\n", tensors.size(), text_of(inspection["numbers"]));
  return text + tree_text(tensors);
}

}  // namespace grouphead::tools
