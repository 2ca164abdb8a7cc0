#pragma once

// Packed sequences, and batch entries with lengths of their own: each is a call of its own on parts
// of the operands, so nothing is computed for keys of others, and the results are bitwise theirs.

#include <optional>
#include <string_view>

#include "ops/attention_problem.h"

namespace grouphead::ops {

void check_sequences(std::string_view operation, const AttentionOptions& options,
                     const ConstView& q, Index num_keys, Keys keys);

/// One sequence of a call: its batch entries, queries and keys, and what the options are for it.
/// The call's options live longer.
struct Sequence {
  Index first_entry = 0, end_entry = 0;
  Index first_query = 0, end_query = 0;
  Index first_key = 0, end_key = 0;
  kernels::CallPlace whole;
  const AttentionOptions* of_call = nullptr;
  std::optional<AttentionOptions> own{};  // absent: the sequence is the whole call

  const AttentionOptions& options() const noexcept { return own ? *own : *of_call; }
  /// The part of [B, T, H, D].
  template <class V>
  V queries(const V& x) const {
    return own ? x.slice(0, first_entry, end_entry).slice(1, first_query, end_query) : x;
  }
  template <class V>
  V keys(const V& x) const {
    return own ? x.slice(0, first_entry, end_entry).slice(1, first_key, end_key) : x;
  }
  /// The part of a mask or bias [B or 1, Hq or 1, T or 1, S or 1].
  template <class V>
  V grid(const V& x) const {
    V part = x;
    if (!own) return part;
    if (x.dim(0) > 1) part = part.slice(0, first_entry, end_entry);
    if (x.dim(2) > 1) part = part.slice(2, first_query, end_query);
    if (x.dim(3) > 1) part = part.slice(3, first_key, end_key);
    return part;
  }
};

/// Whether a call falls into sequences. Then these need not have all of its queries and keys.
inline bool has_sequences(const AttentionOptions& options) noexcept {
  return options.lengths.has_value() || options.segments.has_value();
}

/// 1 without has_sequences(): all of it.
Index num_sequences(const AttentionOptions& options, const ConstView& q);
Sequence sequence_of(const AttentionOptions& options, const ConstView& q, Index num_keys, Index n);

/// Zeros the part of x along the axis of its queries that belongs to no sequence.
void zero_queries_of_none(const AttentionOptions& options, const View& x, int axis);
/// The same of keys or values x [B, S, H, D].
void zero_keys_of_none(const AttentionOptions& options, const View& x);

}  // namespace grouphead::ops
