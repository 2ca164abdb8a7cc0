#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "grouphead/models/symbol.h"

#pragma GCC visibility push(default)
namespace grouphead {

class Model;

namespace graph {
class Graph;
const Graph& graph_of(const Model& model);
}  // namespace graph

struct ModelConfig {
  std::vector<Symbol> inputs{};
  std::vector<Symbol> outputs{};
  std::string name = "functional";
  bool trainable = true;
  std::uint64_t seed = 0;  ///< of the initial parameters
  /// Where inputs or outputs have keys, as in Keras's dicts: one for each.
  std::vector<std::string> input_keys{};
  std::vector<std::string> output_keys{};
};

/// Layers connected from inputs to outputs: itself a layer, whose operands are the inputs.
///
/// Making it builds the layers that are not built, and tells apart layers that bear their class's
/// name: `dense`, `dense_1`, ... in the order of their first calls. Masks travel with the tensors.
/// In inference a tensor is released after its last use.
///
/// Parameters stand in the order of layers(), each under `<layer>/`, one that is shared once.
/// Source: keras.Model.
class Model : public Layer {
 public:
  /// Errors: ConfigError for no inputs or outputs, an output that needs another input, or two
  /// layers of one name; what the layers' build() throws.
  explicit Model(const ModelConfig& config);
  ~Model() override;

  std::string_view class_name() const override { return "Functional"; }
  std::string_view module() const override { return "keras.src.models.functional"; }
  ConfigValue get_config() const override;
  /// The inputs' names.
  std::span<const std::string_view> input_names() const override;
  std::vector<Shape> output_shapes(std::span<const Shape> inputs,
                                   const CallArguments* arguments) const override;
  Dtype output_dtype(std::span<const Dtype> inputs, const CallArguments* arguments) const override;
  /// Inputs are rounded by the layers that take them, outputs come as the last layers make them.
  std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                             std::unique_ptr<Saved>* saved) const override;
  void backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out, std::span<View> d_in,
                Grads& grads) const override;
  void append_parameters(const std::string& prefix, ParameterList& out) override;

  /// Inference: Keras's `model(x)`. One input gives the first output; several give all. With a
  /// list of inputs, a model that is not const is built first (build_once()). Errors: ShapeError;
  /// ConfigError before build().
  using Layer::operator();
  std::vector<Tensor> operator()(Context& ctx, std::span<const Tensor> in);
  std::vector<Tensor> operator()(Context& ctx, std::span<const Tensor> in) const;
  /// Inputs by their keys where there are any, else by their names.
  std::vector<Tensor> operator()(Context& ctx, const std::map<std::string, Tensor>& in) const;

  /// Errors: ConfigError before build().
  const std::vector<Symbol>& inputs() const;
  const std::vector<Symbol>& outputs() const;
  /// The keys of inputs and outputs that form a dict in Keras, one each; empty: they form a list.
  const std::vector<std::string>& input_keys() const noexcept { return input_keys_; }
  const std::vector<std::string>& output_keys() const noexcept { return output_keys_; }
  /// What losses, metrics and logs call the outputs: their keys, else the names of their layers.
  /// Empty before build().
  std::vector<std::string> output_names() const;
  /// Functional: by the graph's depth from the inputs, input layers among them, operations not.
  /// Sequential: as added, without the input layer.
  virtual std::vector<std::shared_ptr<Layer>> layers() const;
  /// Errors: ConfigError when there is none of this name.
  std::shared_ptr<Layer> get_layer(std::string_view name) const;
  /// What the layer's last call in this model makes, for models of inner tensors.
  Outputs outputs_of(std::string_view layer) const;
  /// Keras's table of the layers, their outputs and numbers of parameters.
  std::string summary() const;

  /// One run. `training` without a value: what each call was given, else false.
  std::vector<Value> run(Context& ctx, std::span<const Value> in, const Mode& mode,
                         std::optional<bool> training, std::unique_ptr<Saved>* saved) const;
  /// Whether masks stay on the tensors that MultiHeadAttention is called with. Keras's layer takes
  /// them off, so that what reads the same tensor after it sees none; so does this by default, in
  /// training too. Of a model inside another one the outer one's choice counts.
  void set_keeps_masks(bool keeps_masks) noexcept { keeps_masks_ = keeps_masks; }
  bool keeps_masks() const noexcept { return keeps_masks_; }
  bool has_graph() const noexcept { return graph_ != nullptr; }
  /// Which input has this key, or this name in a model without keys. Errors: ConfigError.
  std::size_t input_place(std::string_view key) const;

 protected:
  void create_parameters(std::span<const Shape> inputs, RandomStream& random) override;
  Tensor typed_call(Context& ctx, const LayerInput& x,
                    std::unique_ptr<Saved>* saved) const override;
  /// A model whose graph comes later.
  Model(const std::string& name, const DtypePolicy& policy);
  Tensor received(Context& ctx, const Tensor& tensor) const override;
  Tensor leaving(Context& ctx, Tensor tensor) const override;
  void set_graph(std::vector<Symbol> inputs, std::vector<Symbol> outputs, RandomStream& random);
  /// Errors: ConfigError before build().
  const graph::Graph& graph() const;

 private:
  friend const graph::Graph& graph::graph_of(const Model& model);
  Model(const ModelConfig& config, std::unique_ptr<graph::Graph> graph);

  std::unique_ptr<graph::Graph> graph_;  // null before build()
  std::vector<std::string> input_keys_;
  std::vector<std::string> output_keys_;
  bool keeps_masks_ = false;
};

struct SequentialConfig {
  std::string name = "sequential";
  bool trainable = true;
  std::uint64_t seed = 0;  ///< of the initial parameters
  DtypePolicy dtype{};     ///< of gradients between it and a model around it: f64 for f64 layers
};

/// A chain of layers of one input and one output. With an input first, layers are built as they
/// are added, else by build(), by the model around it, or by the first call or the first batch that
/// a CompiledModel trains on, for batches of any size, from the configuration's seed. Attention
/// layers attend to their input: query = value = key (beyond Keras, which refuses them here).
/// Source: keras.Sequential.
class Sequential final : public Model {
 public:
  using Config = SequentialConfig;
  explicit Sequential(const SequentialConfig& config = {});

  /// An input, as first layer. Errors: ConfigError for a second one.
  Sequential& add(const Symbol& input);
  /// Errors: ConfigError for two layers of one name; ShapeError when it does not fit.
  Sequential& add(std::shared_ptr<Layer> layer);
  template <class L>
  Sequential& add(const SharedLayer<L>& layer) {
    return add(static_cast<std::shared_ptr<Layer>>(layer));
  }

  std::string_view class_name() const override { return "Sequential"; }
  std::string_view module() const override { return "keras"; }
  ConfigValue get_config() const override;
  std::vector<Shape> output_shapes(std::span<const Shape> inputs,
                                   const CallArguments* arguments) const override;
  Dtype output_dtype(std::span<const Dtype> inputs, const CallArguments* arguments) const override;
  using Layer::build;
  /// For inputs of this shape, the batch first, -1: unknown; initial values from the
  /// configuration's seed.
  void build(const std::vector<Index>& input_shape);
  void append_parameters(const std::string& prefix, ParameterList& out) override;
  std::vector<std::shared_ptr<Layer>> layers() const override { return layers_; }

 private:
  void create_parameters(std::span<const Shape> inputs, RandomStream& random) override;
  void build_for_call(std::span<const Shape> inputs) override;
  void connect_layers(RandomStream& random);
  std::vector<Layer*> distinct_layers() const;

  std::vector<std::shared_ptr<Layer>> layers_;
  Symbol input_;
  RandomStream random_;
};

/// The parameters' numbers, copied, in the order of parameters(). Source: Layer.get_weights.
std::vector<Tensor> get_weights(const Layer& layer);
/// Errors: ShapeError for another number of tensors or another shape; nothing is written then.
void set_weights(Layer& layer, std::span<const Tensor> weights);
/// Number of elements in all parameters. Source: Layer.count_params.
Index count_params(const Layer& layer);

/// Keras's envelope of a model: {"module", "class_name", "config", "registered_name", ...}.
ConfigValue model_to_config(const Model& model);
/// A model from Keras's envelope, Functional or Sequential, with new parameters from `seed`. What
/// follows from the rest (build_config) is not read. Errors: ConfigError; for layers that this
/// library does not have one error that lists them all.
/// Source: keras.models.model_from_json.
std::shared_ptr<Model> model_from_config(const ConfigValue& envelope, std::uint64_t seed = 0);

}  // namespace grouphead
#pragma GCC visibility pop
