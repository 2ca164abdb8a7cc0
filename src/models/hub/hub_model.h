#pragma once

// KerasHub's models as graphs of layers.

#include "grouphead/models/model.h"
#include "nn/config_reader.h"

namespace grouphead::models::hub {

/// A functional model under KerasHub's class and configuration.
class HubModel final : public Model {
 public:
  /// What it is in files.
  struct Identity {
    std::string_view class_name;
    std::string_view module;
    ConfigValue config;  ///< as it was read, without name and trainable
  };
  HubModel(const ModelConfig& config, Identity identity)
      : Model(config), identity_(std::move(identity)) {}
  std::string_view class_name() const override { return identity_.class_name; }
  std::string_view module() const override { return identity_.module; }
  ConfigValue get_config() const override;

 private:
  Identity identity_;
};

/// A backbone, and what tasks take of it.
struct Backbone {
  std::shared_ptr<HubModel> model;
  std::shared_ptr<Layer> token_embedding;
  Index vocabulary_size = 0;
  Index hidden_dim = 0;
  DtypePolicy dtype{};
};
bool has_backbone(std::string_view class_name) noexcept;
/// Errors: ConfigError for a class that there is not, an unknown key, a value out of range.
Backbone make_backbone(std::string_view class_name, const ConfigValue& config, std::uint64_t seed);

}  // namespace grouphead::models::hub
