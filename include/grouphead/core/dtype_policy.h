#pragma once

#include <string>
#include <string_view>

#include "grouphead/core/tensor.h"

#pragma GCC visibility push(default)
namespace grouphead {

/// Which element types a layer uses, by Keras's names: `float32`, `float64`, `mixed_bfloat16`,
/// `bfloat16`, `mixed_float16`, `float16`.
///
/// 16-bit types are storage: what enters and leaves a layer, and with the policies that are not
/// mixed its variables, have 16 bits; inside, numbers are f32, rounded where Keras casts. Gradients
/// are f32. Source: keras.DTypePolicy.
class DtypePolicy {
 public:
  DtypePolicy() = default;  ///< float32
  /// Errors: ConfigError that lists the known names.
  DtypePolicy(std::string_view name);  // NOLINT(google-explicit-constructor)
  DtypePolicy(const char* name)
      : DtypePolicy(std::string_view(name)) {}  // NOLINT(google-explicit-constructor)
  DtypePolicy(const std::string& name)
      : DtypePolicy(std::string_view(name)) {}  // NOLINT(google-explicit-constructor)
  /// The policy with this one type for everything. Errors: ConfigError unless a floating type.
  DtypePolicy(Dtype dtype);  // NOLINT(google-explicit-constructor)

  Dtype compute() const noexcept { return compute_; }    ///< of inputs and outputs
  Dtype variable() const noexcept { return variable_; }  ///< of parameters
  /// Of the numbers inside a layer and of gradients: f64 with float64, f32 with all others.
  Dtype arithmetic() const noexcept { return compute_ == Dtype::f64 ? Dtype::f64 : Dtype::f32; }
  std::string_view name() const noexcept;

  friend bool operator==(const DtypePolicy&, const DtypePolicy&) = default;

 private:
  Dtype compute_ = Dtype::f32;
  Dtype variable_ = Dtype::f32;
};

}  // namespace grouphead
#pragma GCC visibility pop
