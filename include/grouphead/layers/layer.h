#pragma once

#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "grouphead/core/context.h"
#include "grouphead/core/dtype_policy.h"
#include "grouphead/core/random.h"
#include "grouphead/core/tensor.h"
#include "grouphead/layers/constraints.h"
#include "grouphead/layers/layer_input.h"
#include "grouphead/layers/regularizers.h"

#pragma GCC visibility push(default)
namespace grouphead {

/// What flows between layers: numbers, and where they come from padded positions a mask (bool
/// [B, T], true = real). Layers that work on each position alone hand the mask on.
struct Value {
  Tensor tensor{};
  std::optional<Tensor> mask{};
};

namespace nn {
struct DecodingState;
class QuantizedNumbers;
}  // namespace nn
namespace ops {
class PackedWeights;
}

/// What an optimizer and the loss make of a parameter.
struct ParameterOptions {
  bool trainable = true;
  Regularizer regularizer{};
  Constraint constraint{};
  bool is_state = false;        ///< never trained: StateUpdates change it (moving statistics)
  bool is_overwritten = false;  ///< never trained: Grads::add_next() (scales of float8)
};

/// One tensor of a layer that an optimizer may change.
class Parameter {
 public:
  Parameter(std::string name, const Shape& shape, const DtypePolicy& policy,
            ParameterOptions options = {});
  ~Parameter();
  Parameter(const Parameter&) = delete;
  Parameter& operator=(const Parameter&) = delete;

  /// Keras's variable name inside its layer: `kernel`, `bias`, `gamma`, ...
  const std::string& name() const noexcept { return name_; }
  const Shape& shape() const noexcept { return shape_; }
  Dtype dtype() const noexcept { return policy_.variable(); }  ///< as stored
  /// Whether an optimizer changes it.
  bool trainable() const noexcept {
    return options_.trainable && !options_.is_state && !options_.is_overwritten &&
           quantized() == nullptr;
  }
  /// Whether StateUpdates do.
  bool is_updated() const noexcept { return options_.trainable && options_.is_state; }
  /// Whether an optimizer's step puts what Grads::next() has in its place.
  bool is_overwritten() const noexcept { return options_.trainable && options_.is_overwritten; }
  /// False: nothing changes it.
  void set_trainable(bool trainable) noexcept { options_.trainable = trainable; }
  const Regularizer& regularizer() const noexcept { return options_.regularizer; }
  const Constraint& constraint() const noexcept { return options_.constraint; }

  /// As stored; quantized numbers are widened at the first call and kept. Views end at the next
  /// edit(), share() or set_quantized(). Threads: safe for concurrent readers.
  ConstView value() const;
  /// What a layer computes with: in policy.arithmetic(), rounded to policy.compute(). The value
  /// itself where these are its type, else a copy that is kept until the next edit().
  /// Threads: safe for concurrent readers.
  ConstView numbers() const;
  /// Write access. What was derived from the old numbers is made anew at the next use, so ask
  /// again before each change. Quantized numbers become floating-point ones, shared ones a copy.
  View edit();
  /// Write access where all numbers are replaced: as edit(), but quantized ones are not made
  /// floating-point ones first, and what the view has at the start is no number of anybody's.
  View replace();

  /// From here on the numbers are somebody else's, such as a mapped file's: the elements of this
  /// matrix [K, N], row by row, of any floating type; one of its strides is 1. Products of f32 read
  /// it where it lies, and value() too where it is contiguous and of dtype(); else value() is a
  /// copy that is made when somebody asks for it. `owner` keeps the memory alive. Errors:
  /// ShapeError for another number of elements, other strides or types, or a misaligned address.
  void share(ConstView matrix, std::shared_ptr<const void> owner);
  /// What a product packs: the matrix of share(), in f32, bf16 or f16, or else numbers().
  ConstView source() const;

  /// The numbers in 4 or 8 bits that it has in the place of its own; null: none.
  const nn::QuantizedNumbers* quantized() const noexcept;
  /// Takes them, of its shape.
  void set_quantized(std::unique_ptr<nn::QuantizedNumbers> numbers);
  /// The same when what is returned is called, once, which does not fail.
  std::function<void()> later_quantized(std::unique_ptr<nn::QuantizedNumbers> numbers);
  /// Whether a product with quantized numbers rounds its inputs if they say so; true at the start.
  bool rounds_inputs() const noexcept { return rounds_inputs_; }
  void set_rounds_inputs(bool rounds) noexcept { rounds_inputs_ = rounds; }

  /// Reordered copies of numbers() that the matrix products keep.
  ops::PackedWeights& packed() const noexcept { return *packed_; }
  /// Type of its gradient: policy.arithmetic().
  Dtype gradient_dtype() const noexcept { return policy_.arithmetic(); }

 private:
  struct Elsewhere;
  void forget_copies() noexcept;
  void take_from(std::unique_ptr<Elsewhere> numbers) noexcept;

  std::string name_;
  Shape shape_;
  DtypePolicy policy_;
  Tensor value_;  // absent where elsewhere_ has the numbers
  ParameterOptions options_;
  std::unique_ptr<ops::PackedWeights> packed_;
  struct Rounded;
  std::unique_ptr<Rounded> rounded_;      // null where value() is what numbers() gives
  std::unique_ptr<Elsewhere> elsewhere_;  // null where value_ has the numbers
  bool rounds_inputs_ = true;
};

/// A parameter and its path inside the model: `block_1/attn/query/kernel`.
struct NamedParameter {
  std::string path;
  Parameter* parameter = nullptr;
};
/// The same to read only.
struct NamedConstParameter {
  std::string path;
  const Parameter* parameter = nullptr;
};
using ParameterList = std::vector<NamedParameter>;
/// Also made of a ParameterList, where a function reads only.
class ConstParameterList : public std::vector<NamedConstParameter> {
 public:
  ConstParameterList() = default;
  ConstParameterList(const ParameterList& parameters) {  // NOLINT(google-explicit-constructor)
    reserve(parameters.size());
    for (const auto& [path, parameter] : parameters) push_back({path, parameter});
  }
};

/// Number of elements in all of them.
Index count_elements(const ConstParameterList& parameters) noexcept;

/// For inference: matrix products read weights in fewer bits from here on, which is what a product
/// with few rows takes its time for. `form` is f32 (as at the start), bf16, or u8: 8-bit numbers
/// with one scale for each output, its greatest |w| / 127. Numbers are rounded once when a product
/// first packs them; parameters, and what is saved, stay as they are, and take their memory.
/// Kernels of EinsumDense whose axes a product has to reorder stay f32, as do embeddings.
/// Backward passes then throw a ConfigError.
/// Errors: ConfigError for other types, and for a parameter that is not computed with in f32.
/// Threads: not while a model runs.
void pack_weights(const ParameterList& parameters, Dtype form);

/// Gradient sums of a list of parameters, zero at the start. Backward passes add to them.
class Grads {
 public:
  /// Keeps one tensor for each trainable parameter.
  Grads(Context& ctx, const ConstParameterList& parameters);
  /// Absent for a parameter that is not in the list or not trainable.
  View of(const Parameter& parameter);
  void zero() noexcept;

  /// What a layer's backward pass makes of an overwritten parameter, of its shape, f32: the next
  /// value is the sum over the layer's calls, as in Keras. Ignored for other parameters.
  void add_next(const Parameter& parameter, const Tensor& value);
  /// Absent where no call since zero() gave one.
  View next(const Parameter& parameter);

 private:
  std::unordered_map<const Parameter*, Tensor> sums_;
  std::unordered_map<const Parameter*, Tensor> next_;
};

/// Scalars that layers add to a model's loss while they run (weight and activity penalties).
class LossSink {
 public:
  void add(double value) { losses_.push_back(value); }
  const std::vector<double>& losses() const noexcept { return losses_; }

 private:
  std::vector<double> losses_;
};

/// New values of parameters that are not trained, such as moving statistics: layers hand them in
/// while they run in training, and they become the parameters' own when the step is over.
class StateUpdates {
 public:
  /// What the parameter will hold: the last value handed in, else the one it has. In its dtype().
  ConstView value(const Parameter& parameter) const;
  /// Errors: ShapeError unless `value` has the parameter's shape and dtype().
  void set(const Parameter& parameter, Tensor value);
  /// Writes the values into these parameters, and forgets them all.
  void apply(const ParameterList& parameters);

 private:
  std::unordered_map<const Parameter*, Tensor> values_;
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
  StateUpdates* updates = nullptr;           ///< null: moving statistics stay as they are
  const CallArguments* arguments = nullptr;  ///< null: the layer's defaults
  Index first_position = 0;  ///< of the inputs in their text: how much a Decoder has read
  nn::DecodingState* decoding = nullptr;  ///< a Decoder's: attention continues its caches
};

/// What one call keeps for its backward pass. It belongs to the call, so a layer may be shared.
struct Saved {
  virtual ~Saved() = default;
};

/// The interface of every layer, the library's or a user's.
///
/// A layer is configured by its constructor and gets its parameters by build(), or by the first
/// typed call of a layer that is not const. forward() and backward() hold the mathematics, in
/// dtype(); call() is what Keras's `layer(...)` does around them.
///
/// Threads: calls of a built layer may run concurrently, each with its own Context. What changes
/// parameters takes a non-const layer, and nobody else may use the layer meanwhile: so it is with a
/// first call that builds.
///
/// Operands stand in the order of input_names(); one that is not given has no tensor, as a shape it
/// is [], as a view it is absent, and the last ones may be left out.
class Layer {
 public:
  Layer(std::string name, const DtypePolicy& policy, Regularizer activity_regularizer = {})
      : name_(std::move(name)),
        policy_(policy),
        activity_regularizer_(std::move(activity_regularizer)) {}
  virtual ~Layer() = default;
  Layer(const Layer&) = delete;
  Layer& operator=(const Layer&) = delete;

  const std::string& name() const noexcept { return name_; }
  /// Before the first call: a model tells layers of one name apart by `_1`, `_2`, ...
  void rename(std::string name) { name_ = std::move(name); }
  const DtypePolicy& policy() const noexcept { return policy_; }
  /// Type of the numbers that forward() and backward() handle: f32, or f64 by the references.
  Dtype dtype() const noexcept { return policy_.arithmetic(); }
  /// Whether its parameters are trained; build() makes them so, and setting it later sets theirs.
  bool trainable() const noexcept { return trainable_; }
  void set_trainable(bool trainable);
  const Regularizer& activity_regularizer() const noexcept { return activity_regularizer_; }

  /// Keras's exported class name, which its files hold.
  virtual std::string_view class_name() const { return "Layer"; }
  /// The module of the class in Keras's files.
  virtual std::string_view module() const { return "keras.layers"; }
  /// Keras's configuration: what makes the layer again. The base has name, trainable, dtype
  /// and, where there is one, activity_regularizer.
  virtual ConfigValue get_config() const;
  /// Keras's names of the operands, in order; a layer of a list of inputs has one name, `inputs`.
  virtual std::span<const std::string_view> input_names() const;
  /// The call's arguments that are not tensors, from Keras's keywords (null: none are given) and
  /// back. Errors: ConfigError for a keyword the layer does not know.
  virtual std::unique_ptr<CallArguments> arguments_from_config(const ConfigValue& keywords) const;
  virtual ConfigValue arguments_config(const CallArguments* arguments) const;

  /// Shapes and types of the outputs for inputs of these (-1: unknown). Errors: ShapeError.
  virtual std::vector<Shape> output_shapes(std::span<const Shape> inputs,
                                           const CallArguments* arguments) const;
  virtual Dtype output_dtype(std::span<const Dtype> inputs, const CallArguments* arguments) const;

  /// Whether a Decoder may run it on new positions of a text alone, in inference: outputs at
  /// position t of axis 1 follow from the operands there, and Mode::first_position. True of the
  /// library's layers that work so, and of its attention, which continues Mode::decoding. Yours
  /// says so itself.
  virtual bool can_decode(std::span<const Shape> inputs, const CallArguments* arguments) const;

  /// Makes and initialises the parameters for inputs of these shapes, whose sizes may be unknown
  /// where no parameter depends on them. A model builds its layers itself.
  /// Errors: ShapeError for shapes the layer cannot take; ConfigError when it has parameters.
  void build(std::span<const Shape> inputs, RandomStream& random);
  /// The same with initial values from `seed`: `layer.build({{2, 10, 64}}, 7)`.
  void build(std::initializer_list<Shape> inputs, std::uint64_t seed = 0);
  /// Whether build() is done; a layer without parameters may be built any number of times.
  bool is_built() const noexcept { return is_built_; }
  /// What a first call does before it computes, as in Keras: unless is_built(), build() for inputs
  /// of these shapes, with the initial values of seed 0, or of its configuration's seed where a
  /// model has one. Layers of equal shapes then begin with equal numbers; call build() for others.
  void build_once(std::span<const Shape> inputs);
  void build_once(std::initializer_list<Shape> inputs) {
    build_once(std::span(inputs.begin(), inputs.size()));
  }

  /// The typed call of one input: forward() in inference, its first output; with `saved` it keeps
  /// there what backward() needs. A layer that is not const is built first (build_once()).
  /// Errors: those of build() and forward(); ConfigError for a const layer before build().
  Tensor operator()(Context& ctx, const LayerInput& x, std::unique_ptr<Saved>* saved = nullptr);
  Tensor operator()(Context& ctx, const LayerInput& x,
                    std::unique_ptr<Saved>* saved = nullptr) const;

  /// Computes the outputs. With `saved`, keeps there what backward() needs.
  /// Errors: ShapeError; ConfigError before build().
  virtual std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                                     std::unique_ptr<Saved>* saved) const = 0;

  /// Adds the inputs' gradients to `d_in` and the parameters' to `grads`. An absent view in
  /// `d_out` means zero, one in `d_in` that nobody asks for it. `saved` is spent by the call.
  virtual void backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out,
                        std::span<View> d_in, Grads& grads) const = 0;

  /// forward() with what Keras does around it: floating inputs are rounded to policy().compute(),
  /// outputs leave in it, and with mode.losses the activity penalty of each output (over its first
  /// axis, for the mean of the batch) joins them.
  std::vector<Value> call(Context& ctx, std::span<const Value> in, const Mode& mode,
                          std::unique_ptr<Saved>* saved) const;
  /// backward() of a call(): gradients are in dtype(); those of the penalties that the call added
  /// to mode.losses come with them.
  void call_backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out,
                     std::span<View> d_in, Grads& grads) const;

  /// All parameters, those of sub-layers under `<sub-layer>/`, in Keras's order.
  ParameterList parameters();
  ConstParameterList parameters() const;
  /// Appends this layer's parameters, each path starting with `prefix`. Changes no layer.
  virtual void append_parameters(const std::string& prefix, ParameterList& out) = 0;

 protected:
  /// What build() does: makes this layer's parameters and builds its sub-layers.
  virtual void create_parameters(std::span<const Shape> inputs, RandomStream& random) = 0;
  /// build() in build_once(): a layer with a seed of its own takes that.
  virtual void build_for_call(std::span<const Shape> inputs);
  /// The typed call, for layers that do it without forward()'s containers, or without the copy of a
  /// view.
  virtual Tensor typed_call(Context& ctx, const LayerInput& x, std::unique_ptr<Saved>* saved) const;
  /// For a layer whose constructor makes its parameters.
  void set_built() noexcept { is_built_ = true; }
  /// The numbers of `tensor`, in the layer's arithmetic type: rounded to policy().compute() on the
  /// way. Integers and bools come back as they are. A layer that Keras makes with autocast=False
  /// returns widened().
  virtual Tensor received(Context& ctx, const Tensor& tensor) const;
  /// `tensor` as it leaves the layer: in policy().compute(). Integers and bools stay.
  virtual Tensor leaving(Context& ctx, Tensor tensor) const;
  /// The numbers of `tensor` in the layer's arithmetic type, not rounded to policy().compute().
  Tensor widened(Context& ctx, const Tensor& tensor) const;

 private:
  std::string name_;
  DtypePolicy policy_;
  Regularizer activity_regularizer_;
  bool trainable_ = true;
  bool is_built_ = false;
};

/// Adds the penalties of the trainable parameters to `losses`, in their order, and their gradients
/// to `grads`; either may be null. Once per training step, whatever the number of calls.
void add_weight_penalties(Context& ctx, const ConstParameterList& parameters, LossSink* losses,
                          Grads* grads);

}  // namespace grouphead
#pragma GCC visibility pop
