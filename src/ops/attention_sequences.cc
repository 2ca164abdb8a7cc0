#include "ops/attention_sequences.h"

#include <string>

#include "core/check.h"

namespace grouphead::ops {
namespace {

using core::throw_config_error;
using core::throw_shape_error;

Index number_at(const ConstView& x, Index i) {
  return x.dtype() == Dtype::i32 ? Index{x.data<std::int32_t>()[i * x.stride(0)]}
                                 : x.data<Index>()[i * x.stride(0)];
}

void check_integers(std::string_view operation, std::string_view operand, const ConstView& x,
                    Index size) {
  core::require_shape(operation, operand, x, {size});
  if (x.dtype() != Dtype::i32 && x.dtype() != Dtype::i64) {
    throw_shape_error(operation, operand, "i32 or i64", name_of(x.dtype()));
  }
}

// Ascending from 0 to `limit` at most.
void check_segments(std::string_view operation, std::string_view operand, const ConstView& x,
                    Index limit) {
  for (Index i = 0; i < x.dim(0); ++i) {
    const Index here = number_at(x, i);
    const Index least = i == 0 ? 0 : number_at(x, i - 1);
    if (here >= least && here <= (i == 0 ? 0 : limit)) continue;
    throw_shape_error(operation, operand,
                      i == 0 ? "0 first"
                             : std::to_string(least) + " to " + std::to_string(limit) + " at " +
                                   std::to_string(i),
                      std::to_string(here));
  }
}

void check_packed(std::string_view operation, const AttentionOptions& options, const ConstView& q,
                  Index num_keys) {
  const ConstView& segments = options.segments;
  check_integers(operation, "segments", segments, -1);
  if (segments.dim(0) < 1) throw_shape_error(operation, "segments", "1 element or more", "[0]");
  if (q.dim(0) != 1) {
    throw_shape_error(operation, "q", "batch 1, as there are segments", q.shape().to_string());
  }
  check_segments(operation, "segments", segments, q.dim(1));
  if (!options.key_segments.has_value()) {
    const Index end = number_at(segments, segments.dim(0) - 1);
    if (end > num_keys) {
      throw_shape_error(operation, "segments",
                        "up to the number of keys " + std::to_string(num_keys),
                        std::to_string(end));
    }
    return;
  }
  check_integers(operation, "key_segments", options.key_segments, segments.dim(0));
  check_segments(operation, "key_segments", options.key_segments, num_keys);
}

// Where the keys of packed sequences begin and end.
const ConstView& segments_of_keys(const AttentionOptions& options) {
  return options.key_segments.has_value() ? options.key_segments : options.segments;
}

void check_lengths(std::string_view operation, const AttentionOptions& options, const ConstView& q,
                   Index num_keys) {
  check_integers(operation, "lengths", options.lengths, q.dim(0));
  if (options.causal_offset != 0) {
    throw_config_error(operation, "causal_offset", "0, as lengths tell the positions",
                       std::to_string(options.causal_offset));
  }
  for (Index b = 0; b < q.dim(0); ++b) {
    const Index length = number_at(options.lengths, b);
    if (length >= 0 && length <= num_keys) continue;
    throw_shape_error(operation, "lengths", "0 to " + std::to_string(num_keys),
                      std::to_string(length));
  }
}

}  // namespace

void check_sequences(std::string_view operation, const AttentionOptions& options,
                     const ConstView& q, Index num_keys, Keys keys) {
  if (options.key_segments.has_value() && !options.segments.has_value()) {
    throw_config_error(operation, "key_segments", "segments beside them", "none");
  }
  if (!has_sequences(options)) return;
  const std::string_view given = options.lengths.has_value() ? "lengths" : "segments";
  if (keys == Keys::cached) throw_config_error(operation, given, "none with a cache", "some");
  if (options.lengths.has_value() && options.segments.has_value()) {
    throw_config_error(operation, "segments", "none beside lengths", "some");
  }
  options.lengths.has_value() ? check_lengths(operation, options, q, num_keys)
                              : check_packed(operation, options, q, num_keys);
}

Index num_sequences(const AttentionOptions& options, const ConstView& q) {
  if (!has_sequences(options)) return 1;
  return options.lengths.has_value() ? q.dim(0) : options.segments.dim(0) - 1;
}

Sequence sequence_of(const AttentionOptions& options, const ConstView& q, Index num_keys, Index n) {
  Sequence s;
  s.of_call = &options;
  if (!has_sequences(options)) {
    s.end_entry = q.dim(0), s.end_query = q.dim(1), s.end_key = num_keys;
    return s;
  }
  AttentionOptions& own = s.own.emplace(options);
  own.lengths = own.segments = own.key_segments = {};
  if (options.lengths.has_value()) {
    const Index length = number_at(options.lengths, n);
    s.first_entry = n, s.end_entry = n + 1;
    s.end_query = q.dim(1);
    s.end_key = length;
    own.causal_offset = length - q.dim(1);
  } else {
    const ConstView& of_keys = segments_of_keys(options);
    s.end_entry = 1;
    s.first_query = number_at(options.segments, n),
    s.end_query = number_at(options.segments, n + 1);
    s.first_key = number_at(of_keys, n), s.end_key = number_at(of_keys, n + 1);
  }
  s.whole = {.T = q.dim(1),
             .S = num_keys,
             .first_place = s.first_entry * q.dim(2) * q.dim(1) + s.first_query,
             .first_key = s.first_key};
  for (ConstView* x : {&own.mask, &own.bias}) {
    if (x->has_value()) *x = s.grid(*x);
  }
  if (own.key_mask.has_value()) own.key_mask = s.keys(own.key_mask);
  if (own.query_mask.has_value()) own.query_mask = s.queries(own.query_mask);
  return s;
}

void zero_queries_of_none(const AttentionOptions& options, const View& x, int axis) {
  const ConstView& segments = options.segments;
  if (!segments.has_value()) return;
  fill_zero(x.slice(axis, number_at(segments, segments.dim(0) - 1), x.dim(axis)));
}

void zero_keys_of_none(const AttentionOptions& options, const View& x) {
  if (options.segments.has_value()) {
    const ConstView& segments = segments_of_keys(options);
    fill_zero(x.slice(1, number_at(segments, segments.dim(0) - 1), x.dim(1)));
  }
  for (Index b = 0; options.lengths.has_value() && b < x.dim(0); ++b) {
    fill_zero(x.slice(0, b, b + 1).slice(1, number_at(options.lengths, b), x.dim(1)));
  }
}

}  // namespace grouphead::ops
