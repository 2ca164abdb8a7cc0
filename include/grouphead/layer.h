#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "grouphead/context.h"
#include "grouphead/random.h"
#include "grouphead/tensor.h"

namespace grouphead {

/// What flows between layers: numbers, and where they come from padded positions a mask (bool
/// [B, T], true = real). Layers that work on each position alone hand the mask on.
struct Value {
  Tensor tensor{};
  std::optional<Tensor> mask{};
};

namespace detail {
class PackedWeights;
}

/// One tensor of a layer that an optimizer may change.
class Parameter {
 public:
  Parameter(std::string name, const Shape& shape, Dtype dtype, bool trainable = true);
  ~Parameter();
  Parameter(const Parameter&) = delete;
  Parameter& operator=(const Parameter&) = delete;

  /// Keras's variable name inside its layer: `kernel`, `bias`, `gamma`, ...
  const std::string& name() const noexcept { return name_; }
  const Shape& shape() const noexcept { return value_.shape(); }
  Dtype dtype() const noexcept { return value_.dtype(); }
  bool trainable() const noexcept { return trainable_; }
  ConstView value() const noexcept { return value_.view(); }
  /// Write access. What was derived from the old numbers is made anew at the next use, so ask
  /// again before each change.
  View edit();

  /// Reordered copies of the value that the matrix products keep.
  detail::PackedWeights& packed() const noexcept { return *packed_; }

 private:
  std::string name_;
  Tensor value_;
  bool trainable_;
  std::unique_ptr<detail::PackedWeights> packed_;
};

/// A parameter and its path inside the model: `block_1/attn/query/kernel`.
struct NamedParameter {
  std::string path;
  Parameter* parameter = nullptr;
};
using ParameterList = std::vector<NamedParameter>;

/// Number of elements in all of them.
Index count_elements(const ParameterList& parameters) noexcept;

/// Gradient sums of a list of parameters, zero at the start. Backward passes add to them.
class Grads {
 public:
  /// Keeps one tensor for each trainable parameter.
  Grads(Context& ctx, const ParameterList& parameters);
  /// Absent for a parameter that is not in the list or not trainable.
  View of(const Parameter& parameter);
  void zero() noexcept;

 private:
  std::unordered_map<const Parameter*, Tensor> sums_;
};

/// Scalars that layers add to a model's loss while they run (weight and activity penalties).
class LossSink {
 public:
  void add(double value) { losses_.push_back(value); }
  const std::vector<double>& losses() const noexcept { return losses_; }

 private:
  std::vector<double> losses_;
};

/// A call's arguments that are not tensors; each layer that has some derives its own.
struct CallArguments {
  virtual ~CallArguments() = default;
};

/// How a call is meant: what Keras passes as `training`, and the sources a call may draw on. A
/// model hands it to its layers without `arguments`.
struct Mode {
  bool training = false;
  RandomStream* random = nullptr;            ///< needed where dropout acts
  LossSink* losses = nullptr;                ///< null: penalties are not collected
  const CallArguments* arguments = nullptr;  ///< null: the layer's defaults
};

/// What one call keeps for its backward pass. It belongs to the call, so a layer may be shared.
struct Saved {
  virtual ~Saved() = default;
};

/// The interface of every layer, the library's or a user's.
///
/// A layer is configured by its constructor, gets parameters by build(), and is const from then
/// on: calls may run concurrently, each with its own Context.
class Layer {
 public:
  Layer(std::string name, Dtype dtype) : name_(std::move(name)), dtype_(dtype) {}
  virtual ~Layer() = default;
  Layer(const Layer&) = delete;
  Layer& operator=(const Layer&) = delete;

  const std::string& name() const noexcept { return name_; }
  /// Type of parameters and numbers: f32, or f64 by the plain references.
  Dtype dtype() const noexcept { return dtype_; }

  /// Makes and initialises the parameters for inputs of these shapes. Errors: ShapeError for
  /// shapes the layer cannot take; ConfigError when it is built already.
  virtual void build(std::span<const Shape> inputs, RandomStream& random) = 0;

  /// Computes the outputs. With `saved`, keeps there what backward() needs.
  /// Errors: ShapeError; ConfigError before build().
  virtual std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                                     std::unique_ptr<Saved>* saved) const = 0;

  /// Adds the inputs' gradients to `d_in` and the parameters' to `grads`. An absent view in
  /// `d_out` means zero, one in `d_in` that nobody asks for it. `saved` is spent by the call.
  virtual void backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out,
                        std::span<View> d_in, Grads& grads) const = 0;

  /// All parameters, those of sub-layers under `<sub-layer>/`, in Keras's order.
  ParameterList parameters() const;
  /// Appends this layer's parameters, each path starting with `prefix`.
  virtual void append_parameters(const std::string& prefix, ParameterList& out) const = 0;

 private:
  std::string name_;
  Dtype dtype_;
};

}  // namespace grouphead
