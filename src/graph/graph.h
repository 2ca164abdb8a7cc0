#pragma once

// The calls between a model's inputs and outputs, in the order in which they run.

#include "graph/walk.h"
#include "grouphead/models/model.h"

namespace grouphead::graph {

/// Tensors of one run have places: the inputs, the constants, then what each step makes.
using Place = int;
inline constexpr Place kNoPlace = -1;

/// One call.
struct Step {
  std::shared_ptr<const Node> node;
  const Model* model = nullptr;  // the layer, where it is a model
  std::vector<Place> operands;   // kNoPlace: absent
  std::vector<Place> masks;      // of operands, as far as any are given
  Place first_output = 0;        // node->shapes.size() consecutive places
  std::vector<Place> last_uses;  // tensors that no later step and no output needs
  std::vector<const Parameter*> parameters;

  const Layer& layer() const noexcept { return *node->layer; }
  std::size_t num_outputs() const noexcept { return node->shapes.size(); }
};

struct GraphConstant {
  Place place;
  Tensor tensor;
};

class Graph {
 public:
  /// Layers are not built yet. Errors: ConfigError for outputs that the inputs do not reach and for
  /// two layers of one name.
  Graph(std::string_view model, std::vector<Symbol> inputs, std::vector<Symbol> outputs);

  const std::vector<Symbol>& inputs() const noexcept { return inputs_; }
  const std::vector<Symbol>& outputs() const noexcept { return outputs_; }
  std::span<const std::string_view> input_names() const noexcept { return input_names_; }
  /// By depth from the inputs, then as a walk from the outputs meets them. Source: keras.Model.
  const std::vector<std::shared_ptr<Layer>>& layers() const noexcept { return layers_; }
  const std::vector<Step>& steps() const noexcept { return steps_; }
  /// The layer's calls in this graph, in their order.
  std::vector<const Step*> calls_of(const Layer& layer) const;
  const std::vector<GraphConstant>& constants() const noexcept { return constants_; }
  Place num_places() const noexcept { return num_places_; }
  const std::vector<Place>& output_places() const noexcept { return output_places_; }
  /// The symbol that has this place; none for a constant.
  Symbol symbol_at(Place place) const;
  /// Whether it is no plain chain of layers, each called once.
  bool has_branches() const noexcept { return has_branches_; }

  /// Which of its layer's calls in this graph makes the symbol; 0 for an input.
  Index call_index(const Symbol& symbol) const;

  /// The outputs' shapes for other inputs' shapes. Errors: ShapeError.
  std::vector<Shape> output_shapes(std::span<const Shape> inputs) const;
  /// What models make of shapes, by the model's graph and the inputs' texts: each is asked once,
  /// however often it is called.
  using KnownShapes = std::map<std::pair<const Graph*, std::string>, std::vector<Shape>>;

  /// Builds the layers that are not built, for the shapes of their first calls.
  void build(RandomStream& random);

 private:
  void replace_inner_inputs(std::string_view model);
  void settle_names(std::string_view model);
  void make_step(const std::shared_ptr<const Node>& node);
  std::vector<Place> places_of(const std::vector<Operand>& operands);
  void find_last_uses();
  std::vector<Shape> output_shapes(std::span<const Shape> inputs, KnownShapes& known) const;
  std::vector<Shape> computed_shapes(std::span<const Shape> inputs, KnownShapes& known) const;

  std::vector<Symbol> inputs_;
  std::vector<Symbol> outputs_;
  std::vector<std::string> input_name_texts_;
  std::vector<std::string_view> input_names_;
  std::vector<std::shared_ptr<Layer>> layers_;
  std::vector<Step> steps_;
  std::vector<GraphConstant> constants_;
  std::map<SymbolKey, Symbol> stand_ins_;  // inner symbols that are inputs of this graph
  std::map<SymbolKey, Place> places_;
  std::vector<Place> output_places_;
  Place num_places_ = 0;
  bool has_branches_ = false;
};

/// Errors: ConfigError for a model that is not built.
const Graph& graph_of(const Model& model);

/// The layers' parameters under `<prefix><layer>/`, but for those that are in the list already.
void append_parameters_of(const std::vector<std::shared_ptr<Layer>>& layers,
                          const std::string& prefix, ParameterList& out);

}  // namespace grouphead::graph
