#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "grouphead/core/config_value.h"
#include "grouphead/models/transformer.h"

namespace grouphead::tools {

/// What a Hugging Face folder holds. No weight is read.
struct HubFolder {
  struct Entry {
    std::string name{}, dtype{};
    std::vector<Index> shape{};
    std::string problem{};  ///< why it cannot be read; empty where it can
    Index elements = 0;
  };
  ConfigValue config{};                           ///< config.json
  std::string family{};                           ///< model_type
  std::optional<TransformerModelConfig> model{};  ///< absent: see `problem`
  std::string problem{};                          ///< why the model cannot be run
  std::vector<Entry> tensors{};                   ///< layer 2 before layer 10
  Index elements = 0;                             ///< of all tensors
};

/// Errors: IoError for a config.json or weights that are missing or damaged.
HubFolder read_hub_folder(const std::filesystem::path& folder);

}  // namespace grouphead::tools
