#pragma once

// Steps of some sequences of a cache, whose rows lie one after the other.

#include <span>
#include <string_view>

#include "core/check.h"
#include "grouphead/core/kv_cache.h"

namespace grouphead::models {

/// Errors: ShapeError unless tokens [N] are those of `rows`, and logits [R, V] fit them.
inline void require_packed(std::string_view model, ConstView tokens,
                           std::span<const SequenceRows> rows, Index vocabulary, Dtype dtype,
                           ConstView logits) {
  Index count = 0;
  for (const SequenceRows& of : rows) count += of.count;
  core::require_dense(model, "tokens", tokens, {count}, Dtype::i32);
  if (count == 0) core::throw_shape_error(model, "rows", "1 or more", "none");
  core::require_dense(model, "logits", logits, {static_cast<Index>(rows.size()), vocabulary},
                      dtype);
}

/// x [1, N, M]: the last row of each sequence, [1, R, M].
inline Tensor last_rows(Context& ctx, const Tensor& x, std::span<const SequenceRows> rows) {
  const auto count = static_cast<Index>(rows.size());
  if (x.dim(1) == count) return x;
  Tensor last = ctx.tensor({1, count, x.dim(2)}, x.dtype());
  Index end = 0;
  for (Index i = 0; i < count; ++i) {
    end += rows[static_cast<std::size_t>(i)].count;
    copy(x.view().slice(1, end - 1, end), last.view().slice(1, i, i + 1));
  }
  return last;
}

}  // namespace grouphead::models
