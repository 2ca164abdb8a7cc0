#pragma once

// Operations written as short programs of primitive steps. One function says what an operation is:
// run with a Context it computes, without one it tells shapes and types, and what it noted on the
// way gives the gradients.

#include <deque>
#include <functional>
#include <initializer_list>
#include <string>
#include <vector>

#include "nn/operations/promotion.h"

namespace grouphead::nn {

class Trace;

/// A value of a trace. Absent: an operand that is not given.
class Var {
 public:
  Var() = default;
  bool has_value() const noexcept { return trace_ != nullptr; }
  Trace& trace() const noexcept { return *trace_; }
  const Shape& shape() const;  ///< unknown sizes are -1 where nothing is computed
  int rank() const { return shape().rank(); }
  Index dim(int axis) const { return shape()[axis]; }
  const OperandType& type() const;
  Dtype dtype() const { return type().dtype; }
  /// Contiguous, in arithmetic_type(dtype()). Absent where nothing is computed.
  const Tensor& value() const;

 private:
  friend class Trace;
  Var(Trace* trace, std::size_t place) : trace_(trace), place_(place) {}
  Trace* trace_ = nullptr;
  std::size_t place_ = 0;
};

class Trace {
 public:
  /// Adds to the gradients of a step's operands; a view is absent where nobody asks for it.
  using Back = std::function<void(Context&, const Tensor& d_y, std::span<const View> d_x)>;
  using Compute = std::function<void(Context&, Tensor& y)>;

  /// Without a Context nothing is computed; with `keeps` gradients can be asked for later.
  Trace(std::string name, Context* ctx, bool keeps)
      : name_(std::move(name)), ctx_(ctx), keeps_(keeps) {}
  Trace(const Trace&) = delete;
  Trace& operator=(const Trace&) = delete;

  const std::string& name() const noexcept { return name_; }  ///< of the operation
  bool computes() const noexcept { return ctx_ != nullptr; }
  Context& ctx() const noexcept { return *ctx_; }

  /// A value from outside: of `tensor`, or where nothing is computed of a shape and type alone.
  Var given(const Tensor& tensor, const OperandType& type);
  Var given(const Shape& shape, const OperandType& type);
  /// The result of a step. Without `back` no gradient passes.
  Var step(std::initializer_list<Var> from, const Shape& shape, const OperandType& type,
           const Compute& compute, Back back = nullptr);
  Var step(std::span<const Var> from, const Shape& shape, const OperandType& type,
           const Compute& compute, Back back = nullptr);

  /// x's elements under another shape of equal size.
  Var alias(Var x, const Shape& shape, Back back);

  /// After the last step: values are given back, but for those that gradients need.
  void finish() noexcept;
  /// Adds the gradients of the given values, in their order, to `d_in`. `d_out` belong to
  /// `results`, in any floating type.
  void backward(Context& ctx, std::span<const Var> results, std::span<const ConstView> d_out,
                std::span<const Var> operands, std::span<View> d_in);

 private:
  friend class Var;
  struct Entry {
    Shape shape;
    OperandType type;
    Tensor value;
    std::vector<std::size_t> from;
    Back back;
    bool is_wanted = false;
    Tensor gradient;  // its sum
  };

  Var add(Entry entry);
  void find_wanted(std::span<const Var> operands, std::span<const View> d_in);
  View gradient_of(Context& ctx, std::size_t place);

  std::string name_;
  Context* ctx_;
  bool keeps_;
  std::deque<Entry> entries_;  // what refers to one stays good as steps are added
};

}  // namespace grouphead::nn
