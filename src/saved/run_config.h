#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "train/trainer.h"

namespace grouphead::saved {

/// One TrainerConfig field in words: its name on the command line and in files, and its value.
struct Setting {
  std::string name;
  std::string value;
};
std::vector<Setting> settings_of(const TrainerConfig& config);

/// A JSON object of all fields, and back. Errors: IoError that starts with `where` and names the
/// field.
std::string to_json(const TrainerConfig& config);
TrainerConfig config_from_json(std::string_view json, const std::string& where);

}  // namespace grouphead::saved
