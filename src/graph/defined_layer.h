#pragma once

// Layers whose class is data: a functional model under another class's name.

#include "grouphead/layers/sub_layers.h"
#include "grouphead/models/model.h"
#include "nn/defined_class.h"

namespace grouphead::graph {

/// What a file of classes says of one: see register_class().
struct LayerDefinition {
  std::string name{};                 ///< `package>Class`
  ConfigValue model{};                ///< Keras's envelope, with "$option" for options
  std::vector<std::string> inputs{};  ///< arguments of a call; none: one, or one list
  std::vector<std::pair<std::string, std::string>> attributes{};  ///< of layers, by their names
};
/// Errors: ConfigError for what is no definition.
LayerDefinition layer_definition(const std::string& name, const ConfigValue& definition);

class DefinedLayer final : public Layer, public HasSubLayers, public nn::HasRegisteredName {
 public:
  DefinedLayer(std::shared_ptr<const LayerDefinition> definition, const ConfigValue& config);

  std::string_view class_name() const override;
  std::string_view module() const override;
  const std::string& registered_name() const override { return definition_->name; }
  ConfigValue get_config() const override;
  std::span<const std::string_view> input_names() const override;
  std::vector<Shape> output_shapes(std::span<const Shape> inputs,
                                   const CallArguments* arguments) const override;
  Dtype output_dtype(std::span<const Dtype> inputs, const CallArguments* arguments) const override;
  std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                             std::unique_ptr<Saved>* saved) const override;
  void backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out, std::span<View> d_in,
                Grads& grads) const override;
  void append_parameters(const std::string& prefix, ParameterList& out) override;
  std::vector<SubLayer> sub_layers() const override;

 private:
  void create_parameters(std::span<const Shape> inputs, RandomStream& random) override;

  std::shared_ptr<const LayerDefinition> definition_;
  std::vector<std::string_view> input_names_;
  ConfigValue config_;
  std::shared_ptr<Model> model_;
};

}  // namespace grouphead::graph
