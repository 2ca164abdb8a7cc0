#include "core/check.h"
#include "grouphead/training.h"
#include "ops/elementwise.h"

namespace grouphead {

Loss sparse_categorical_crossentropy(Context& ctx, ConstView logits, ConstView labels) {
  if (logits.rank() < 1 || logits.shape().back() < 1) {
    detail::throw_shape_error("sparse_categorical_crossentropy", "logits", "[..., V] with V >= 1",
                              logits.shape().to_string());
  }
  const Index vocabulary = logits.shape().back();
  const Index rows = logits.size() / vocabulary;
  detail::require_dense("sparse_categorical_crossentropy", "labels",
                        labels.reshaped({labels.size()}), {rows}, Dtype::i32);
  const ConstView flat = logits.reshaped({rows, vocabulary});
  const ConstView flat_labels = labels.reshaped({rows});
  Loss loss{.value = 0, .d_prediction = ctx.tensor(logits.shape(), logits.dtype())};
  Tensor lse_tensor = ctx.tensor({rows}, logits.dtype());
  const View lse = lse_tensor.view();
  loss.value = ops::softmax_cross_entropy_forward(ctx, flat, flat_labels, lse);
  ops::softmax_cross_entropy_backward(ctx, flat, flat_labels, lse, 1.0 / static_cast<double>(rows),
                                      loss.d_prediction.view().reshaped({rows, vocabulary}));
  return loss;
}

Loss mean_squared_error(Context& ctx, ConstView prediction, ConstView target) {
  if (prediction.shape() != target.shape() || prediction.size() == 0) {
    detail::throw_shape_error("mean_squared_error", "target", prediction.shape().to_string(),
                              target.shape().to_string());
  }
  detail::require_dtype("mean_squared_error", "target", target, prediction.dtype());
  const double count = static_cast<double>(prediction.size());
  Tensor d_prediction = ctx.tensor(prediction.shape(), prediction.dtype());
  const View difference = d_prediction.view();
  ops::scale(ctx, target, -1, difference);
  ops::add(ctx, prediction, difference, difference);
  const double value = ops::sum_of_squares(ctx, difference) / count;
  ops::scale(ctx, difference, 2 / count, difference);
  return {value, std::move(d_prediction)};
}

}  // namespace grouphead
