#pragma once

#include <utility>

#include "grouphead/core/context.h"
#include "grouphead/core/tensor.h"

#pragma GCC visibility push(default)
namespace grouphead {

/// An input of a layer's typed call: a Tensor, which the layer shares where it keeps its input, or
/// a view of any strides, whose memory outlives the call. A default one is absent.
///
/// A layer that needs a Tensor makes one of the view: one copy of its elements. The layers that
/// read views in place say so.
///
/// Threads: as Tensor and ConstView.
class LayerInput {
 public:
  LayerInput() = default;
  LayerInput(Tensor tensor)  // NOLINT(google-explicit-constructor)
      : tensor_(std::move(tensor)) {}
  LayerInput(ConstView view) : view_(view) {}  // NOLINT(google-explicit-constructor)
  LayerInput(View view) : view_(view) {}       // NOLINT(google-explicit-constructor)

  bool has_value() const noexcept { return tensor_.has_value() || view_.has_value(); }
  const Shape& shape() const noexcept {
    return tensor_.has_value() ? tensor_.shape() : view_.shape();
  }
  Dtype dtype() const noexcept { return tensor_.has_value() ? tensor_.dtype() : view_.dtype(); }
  /// The elements, good for as long as this object, and as a view's memory.
  ConstView view() const& noexcept { return tensor_.has_value() ? tensor_.view() : view_; }
  ConstView view() const&& = delete;
  /// The tensor; of a view a copy of its elements, in the Context's memory; nothing if absent.
  Tensor tensor(Context& ctx) const;

 private:
  Tensor tensor_;
  ConstView view_;
};

}  // namespace grouphead
#pragma GCC visibility pop
