#pragma once

// Layers that are small graphs of other layers.

#include <map>
#include <mutex>

#include "graph/graph.h"
#include "grouphead/layers/sub_layers.h"

namespace grouphead::graph {

/// The arguments of a call that are not tensors, under Keras's keywords.
struct CompositeArguments final : CallArguments {
  explicit CompositeArguments(ConfigValue given) : keywords(std::move(given)) {}
  ConfigValue keywords;
};

/// A layer of layers. build() makes them; a call runs them as a graph, which is connected once for
/// each set of operands and arguments that is given, and computed and walked backwards like a
/// model's. The first output has the mask that came with the first operand.
class Composite : public Layer, public HasSubLayers {
 public:
  Composite(std::string name, const DtypePolicy& policy, Regularizer activity_regularizer = {});
  ~Composite() override;

  std::unique_ptr<CallArguments> arguments_from_config(const ConfigValue& keywords) const override;
  ConfigValue arguments_config(const CallArguments* arguments) const override;
  /// Its inner layers are asked.
  bool can_decode(std::span<const Shape> /*inputs*/,
                  const CallArguments* /*arguments*/) const override {
    return true;
  }
  std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                             std::unique_ptr<Saved>* saved) const override;
  void backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out, std::span<View> d_in,
                Grads& grads) const override;
  void append_parameters(const std::string& prefix, ParameterList& out) override;
  /// Those that have an attribute of their own.
  std::vector<SubLayer> sub_layers() const override;

  /// A layer that belongs to the model around it as well, and its key in the configuration. Null
  /// and empty where there is none.
  virtual std::shared_ptr<Layer> shared_layer() const { return nullptr; }
  virtual std::string_view shared_key() const { return {}; }
  /// The model's layer, in place of one that was made of the configuration. Before build().
  virtual void set_shared_layer(std::shared_ptr<Layer> /*layer*/) {}

  /// Whether a call takes the mask off its first operand, as a MultiHeadAttention inside does.
  virtual bool takes_first_mask() const { return false; }

 protected:
  /// What a call is given: no symbol where an operand is absent.
  struct Call {
    std::vector<Symbol> operands;
    ConfigValue keywords;

    /// The operand, or none.
    Operand operator[](std::size_t i) const;
    bool flag(std::string_view keyword, bool fallback) const;
  };

  /// The keywords of a call besides operands.
  virtual std::span<const std::string_view> keyword_names() const { return {}; }
  /// The inner layers, not yet built, for operands of these shapes, in Keras's order. One without
  /// attribute holds variables that in Keras are the layer's own.
  virtual std::vector<SubLayer> make_parts(std::span<const Shape> inputs) = 0;
  /// Connects parts() for one call.
  virtual std::vector<Symbol> connect_parts(const Call& call) const = 0;
  /// Whether the first output leaves with the first operand's mask.
  virtual bool passes_mask() const { return true; }

  const std::vector<SubLayer>& parts() const noexcept { return parts_; }
  /// The part of this name. Errors: none: it is there.
  const std::shared_ptr<Layer>& part(std::string_view name) const;

 private:
  struct Body;
  void create_parameters(std::span<const Shape> inputs, RandomStream& random) override;
  std::unique_ptr<Body> make_body(std::span<const Shape> shapes, std::span<const Dtype> dtypes,
                                  const ConfigValue& keywords) const;
  const Body& body_for(std::span<const Value> in, const CallArguments* arguments) const;

  std::vector<SubLayer> parts_;
  mutable std::mutex mutex_;
  mutable std::map<std::string, std::unique_ptr<Body>> bodies_;
};

}  // namespace grouphead::graph
