#include "nn/row_norm.h"

#include "core/check.h"
#include "grouphead/core/tensor_functions.h"
#include "nn/layer_checks.h"
#include "nn/loading_scope.h"
#include "ops/arithmetic.h"
#include "ops/broadcasting.h"
#include "ops/normalization.h"
#include "ops/rms_norm.h"

namespace grouphead::nn {
namespace {

constexpr std::string_view kName = "row_norm";

Tensor filled(const Shape& shape, Dtype dtype, float value) {
  return cast(Tensor::from(shape, std::span<const float>(std::vector<float>(
                                      static_cast<std::size_t>(shape.size()), value))),
              dtype);
}

}  // namespace

struct RowNorm::SavedState final : Saved {
  Tensor x;
  Tensor center, scale;  // one element a row; of kind layer mean and 1 / deviation
  Tensor gains;          // what rows were multiplied by
  Tensor normalised;     // x^, where each group has gains
};

RowNorm::RowNorm(const RowNormSettings& settings, const DtypePolicy& policy, bool trainable)
    : settings_(settings) {
  const Index width = settings.width;
  const Shape one_group{width};
  const Shape shape = settings.groups > 1 ? Shape{settings.groups, width} : one_group;
  const auto make = [&](const char* name, const Shape& of, bool is_one) {
    auto parameter =
        std::make_unique<Parameter>(name, of, policy, ParameterOptions{.trainable = trainable});
    RandomStream unused(0);
    nn::initialize(*parameter, is_one ? initializers::ones() : initializers::zeros(),
                   Fans{width, width}, unused);
    return parameter;
  };
  gamma_ = make("gamma", shape, !settings.gains_from_one);
  if (settings.use_bias) beta_ = make("beta", one_group, false);
  const Dtype dtype = policy.arithmetic();
  if (settings.kind == RowNormKind::layer && !settings.use_bias) {
    zeros_ = filled(one_group, dtype, 0);
  }
  if (settings.groups > 1 || settings.gains_from_one) ones_ = filled(one_group, dtype, 1);
}

// What rows are multiplied by.
Tensor RowNorm::gains(Context& ctx) const {
  const ConstView gamma = gamma_->numbers();
  if (!settings_.gains_from_one) return Tensor::wrap(gamma);
  Tensor sum = ctx.tensor(gamma.shape(), gamma.dtype());
  ops::binary_forward(ctx, ops::Binary::add, gamma, ones_, sum);
  return sum;
}

void RowNorm::normalise(Context& ctx, ConstView x, ConstView gains, View y,
                        SavedState& keep) const {
  const Index count = x.dim(0);
  keep.center = ctx.tensor({count}, x.dtype());
  keep.scale = ctx.tensor({count}, x.dtype());
  if (settings_.kind == RowNormKind::rms) {
    ops::rms_norm_forward(ctx, x, gains, ops::MeasuredAbout::zero, settings_.epsilon, y,
                          keep.center, keep.scale);
  } else {
    ops::layer_norm_forward(ctx, x, gains, beta_ ? beta_->numbers() : ConstView(zeros_),
                            settings_.epsilon, y, keep.center, keep.scale);
  }
}

Tensor RowNorm::forward(Context& ctx, const Tensor& x, std::unique_ptr<Saved>* saved) const {
  const Index width = settings_.width;
  if (x.size() % (width * settings_.groups) != 0) {
    core::throw_shape_error(kName, "x", "rows of " + std::to_string(width) + " elements",
                            x.shape().to_string());
  }
  const Shape rows{x.size() / width, width};
  SavedState keep;
  keep.gains = gains(ctx);
  Tensor y = ctx.tensor(x.shape(), x.dtype());
  if (settings_.groups == 1) {
    normalise(ctx, x.view().reshaped(rows), keep.gains, y.view().reshaped(rows), keep);
  } else {
    const Shape groups{rows[0] / settings_.groups, settings_.groups, width};
    keep.normalised = ctx.tensor(groups, x.dtype());
    normalise(ctx, x.view().reshaped(rows), ones_, keep.normalised.view().reshaped(rows), keep);
    ops::binary_forward(ctx, ops::Binary::multiply, keep.normalised, keep.gains,
                        y.view().reshaped(groups));
  }
  if (saved != nullptr) {
    keep.x = x;
    *saved = std::make_unique<SavedState>(std::move(keep));
  }
  return y;
}

void RowNorm::backward(Context& ctx, Saved& saved, ConstView d_y, ops::Write write, View d_x,
                       Grads& grads) const {
  auto& kept = nn::saved_as<SavedState>(kName, saved);
  const Shape rows{kept.x.size() / settings_.width, settings_.width};
  View d_gamma = grads.of(*gamma_);
  const View d_beta = beta_ ? grads.of(*beta_) : View();
  Tensor d_normalised;
  ConstView gains = kept.gains;
  if (kept.normalised.has_value()) {
    d_normalised = ctx.zeros(kept.normalised.shape(), d_y.dtype());
    ops::binary_backward(ctx, ops::Binary::multiply, kept.normalised, kept.gains,
                         d_y.reshaped(kept.normalised.shape()), d_normalised, d_gamma);
    d_y = d_normalised;
    d_gamma = {};
    gains = ones_;
  }
  const ConstView x = kept.x.view().reshaped(rows);
  const View d_rows = d_x.has_value() ? d_x.reshaped(rows) : View();
  if (settings_.kind == RowNormKind::rms) {
    // Where d_x is d_y the gains' gradient has to be taken first.
    ops::rms_norm_backward(ctx, x, gains, kept.center, kept.scale, d_y.reshaped(rows), write, {},
                           d_gamma);
    ops::rms_norm_backward(ctx, x, gains, kept.center, kept.scale, d_y.reshaped(rows), write,
                           d_rows, {});
  } else {
    ops::layer_norm_backward(ctx, x, gains, kept.center, kept.scale, d_y.reshaped(rows), write,
                             d_rows, d_gamma, d_beta);
  }
}

void RowNorm::append_parameters(const std::string& prefix, ParameterList& out) {
  out.push_back({prefix + "gamma", gamma_.get()});
  if (beta_) out.push_back({prefix + "beta", beta_.get()});
}

}  // namespace grouphead::nn
