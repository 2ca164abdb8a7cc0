#pragma once

// quantize() in two steps: all that can fail, and then the changes.

#include <functional>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

#include "grouphead/layers/layer.h"
#include "nn/quantized_numbers.h"

namespace grouphead::nn {

/// What quantize() changes, made in full before any of it is changed.
class QuantizationPlan {
 public:
  /// Whether numbers that are set from here on stand without their scales.
  void leave_out_scales(bool leaves) noexcept { leaves_out_scales_ = leaves; }

  /// The parameter will have these numbers, of its shape.
  void set(Parameter& parameter, std::unique_ptr<QuantizedNumbers> numbers) {
    if (leaves_out_scales_) numbers->leave_out_scales();
    changes_.push_back(parameter.later_quantized(std::move(numbers)));
  }
  /// `place` will have this value, whose move does not fail.
  template <class T>
  void assign(T& place, T value) {
    static_assert(std::is_nothrow_move_assignable_v<T>);
    auto made = std::make_shared<T>(std::move(value));
    changes_.push_back([&place, made] { place = std::move(*made); });
  }
  /// Once, while all that was named lives. Errors: none.
  void apply() noexcept {
    for (const auto& change : changes_) change();
  }

 private:
  bool leaves_out_scales_ = false;
  std::vector<std::function<void()>> changes_;
};

}  // namespace grouphead::nn
