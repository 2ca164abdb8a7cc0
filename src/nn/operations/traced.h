#pragma once

// Operations that are functions of steps: a line of a table each.

#include "nn/operations/operation.h"
#include "nn/operations/steps.h"

namespace grouphead::nn {

/// What such a function is given.
struct TracedCall {
  Trace& trace;
  const ConfigValue& config;
  std::vector<Var> operands;  ///< in their places
  const OperationArguments& arguments;
  std::span<const std::string_view> names;

  const std::string& name() const noexcept { return trace.name(); }
  bool has(std::size_t place) const {
    return place < operands.size() && operands[place].has_value();
  }
  /// Errors: ShapeError for an operand that is not given.
  Var operator[](std::size_t place) const;
  /// The literal at a place as the call has it; null for none.
  const ConfigValue& literal(std::size_t place) const;
  const ConfigValue& operator[](std::string_view key) const { return config[key]; }

  // Settings; `fallback` where they are absent or null.
  Index integer(std::string_view key, Index fallback) const;
  double number(std::string_view key, double fallback) const;
  bool truth(std::string_view key) const;  ///< false where it is absent
  /// "axis", counted from the front.
  int axis(int rank, Index fallback) const;
  /// "axis" as a list; all for null.
  steps::Axes axes(int rank, std::string_view key = "axis") const;
  /// An integer, or a list of them.
  std::vector<Index> integers(std::string_view key) const;
  [[noreturn]] void refuse(std::string_view key, std::string_view expected) const;
  /// "dtype", where one is given.
  Dtype dtype(Dtype fallback) const;
};

std::shared_ptr<Layer> make_traced(const OperationClass& self, const ConfigValue& config);

using TracedFunction = decltype(OperationClass::function);
constexpr OperationClass traced_class(std::string_view module, std::string_view name,
                                      std::string_view operands, TracedFunction function) {
  return {module, name, make_traced, 0, operands, function};
}

inline constexpr std::string_view kNumpyModule = "keras.src.ops.numpy";
inline constexpr std::string_view kNnModule = "keras.src.ops.nn";
inline constexpr std::string_view kCoreModule = "keras.src.ops.core";
inline constexpr std::string_view kMathModule = "keras.src.ops.math";
inline constexpr std::string_view kLinalgModule = "keras.src.ops.linalg";

}  // namespace grouphead::nn
