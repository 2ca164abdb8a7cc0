#pragma once

// Attention to some keys, then to others: what both gave, put together.

#include "grouphead/core/context.h"

namespace grouphead::ops {

/// `out` [B, T, Hq, Dv] and its statistics [2, B, Hq, T], of some keys, become those of these and
/// of the keys that gave `part` and `part_statistics`. A sum of 0 stands for no keys. The last axes
/// of `out` and `part` are contiguous; f32 or f64.
/// Source: Dao et al. 2022, arXiv:2205.14135, algorithm 1.
void merge_attention(Context& ctx, ConstView part, ConstView part_statistics, View out,
                     View statistics);

/// to += from, [B, T, H, D], of which the last axis is contiguous.
void add_heads(Context& ctx, ConstView from, View to);

}  // namespace grouphead::ops
