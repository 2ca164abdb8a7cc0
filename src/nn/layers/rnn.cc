// RNN over cells that are layers in Keras.

#include <map>
#include <set>

#include "nn/base_config.h"
#include "nn/layer_checks.h"
#include "nn/recurrent/cell_config.h"
#include "nn/recurrent/recurrence.h"
#include "nn/registry.h"

namespace grouphead {
namespace {

constexpr std::size_t kMostCells = 32;
constexpr std::string_view kStack = "StackedRNNCells";

RecurrentConfig sequence_of(const RNNConfig& config) {
  RecurrentConfig made = config.sequence;
  if (made.name.empty()) made.name = "rnn";
  nn::require_count(made.name, "number of cells", config.cells.size(), 1, kMostCells);
  for (const RecurrentCellConfig& cell : config.cells) {
    if (cell.options.dtype == made.dtype) continue;
    core::throw_config_error(made.name, "cell",
                             "the layer's dtype " + std::string(made.dtype.name()),
                             cell.options.dtype.name());
  }
  return made;
}

/// `name`, or `name_1` for the second that has it.
std::string numbered(std::string_view name, std::map<std::string_view, int>& counts) {
  const int count = counts[name]++;
  return count == 0 ? std::string(name) : std::string(name) + "_" + std::to_string(count);
}

ConfigValue envelope_of(std::string_view class_name, const ConfigValue& dtype,
                        const std::string& name, bool trainable, const ConfigValue& config) {
  ConfigValue all;
  all.set("name", name);
  all.set("trainable", trainable);
  all.set("dtype", dtype);
  for (const auto& [key, value] : config.as_object("config")) all.set(key, value);
  return config_envelope("keras.layers", class_name, std::move(all));
}

}  // namespace

RNN::RNN(const RNNConfig& config)
    : Recurrent(sequence_of(config)),
      is_stacked_(config.is_stacked || config.cells.size() > 1),
      stack_name_(config.stack_name) {
  std::map<std::string_view, int> counts;
  std::set<std::string> taken;
  for (const RecurrentCellConfig& cell : config.cells) {
    const std::string& given = cell.options.name;
    std::string name = given.empty() ? numbered(nn::default_name_of(cell.kind), counts) : given;
    if (!taken.insert(name).second) {
      core::throw_config_error(this->name(), "cells", "one of each name", name);
    }
    add_cell(cell, is_stacked_ ? stack_name_ + "/" + name : name);
  }
}

std::string RNN::attribute_of(std::string_view path) const {
  if (!is_stacked_) return "cell";
  std::map<std::string_view, int> counts;
  for (const auto& cell : cells()) {
    const std::string place = numbered(nn::default_name_of(cell->kind()), counts);
    if (cell->path() == path) return "cell/cells/" + place;
  }
  return std::string(path);
}

ConfigValue RNN::get_config() const {
  ConfigValue config = Layer::get_config();
  nn::write_sequence_options(this->config(), config);
  ConfigValue::List list;
  for (const auto& cell : cells()) {
    ConfigValue options = ConfigValue::Object{};
    cell->write_options(options);
    const std::string& path = cell->path();
    list.push_back(envelope_of(cell->class_name(), config["dtype"],
                               path.substr(path.rfind('/') + 1), cell->trainable(), options));
  }
  if (!is_stacked_) {
    config.set("cell", list[0]);
  } else {
    config.set("cell", envelope_of(kStack, config["dtype"], stack_name_, true,
                                   ConfigValue::Object{{"cells", std::move(list)}}));
  }
  return config;
}

namespace nn {
namespace {

void read_stack(const ConfigValue& given, RNNConfig& config) {
  ConfigReader reader(kStack, given);
  config.is_stacked = true;
  config.stack_name = reader.name(config.stack_name);
  const bool trainable = reader.trainable();
  reader.dtype();
  for (const ConfigValue& cell : reader.value("cells").as_list("cells")) {
    require_count("rnn", "number of cells", config.cells.size() + 1, 1, kMostCells);
    config.cells.push_back(read_cell(cell));
    config.cells.back().trainable = config.cells.back().trainable && trainable;
  }
  reader.finish();
}

}  // namespace

std::shared_ptr<Layer> make_rnn(const ConfigValue& given) {
  ConfigReader reader("RNN", given);
  RNNConfig config;
  read_base(reader, config.sequence);
  read_sequence_options(reader, config.sequence);
  const ConfigValue& cell = reader.value("cell");
  if (cell["class_name"] == ConfigValue(kStack)) {
    read_stack(cell["config"], config);
  } else {
    config.cells.push_back(read_cell(cell));
  }
  reader.finish();
  return with_trainable(std::make_shared<RNN>(config), given);
}

}  // namespace nn
}  // namespace grouphead
