#include "testing/masks.h"

#include <algorithm>

namespace grouphead::testing {
namespace {

constexpr Index kBlock = 64;

// Of one block or one batch entry.
std::uint64_t hash(Index seed, Index a, Index b, Index c) {
  std::uint64_t x = static_cast<std::uint64_t>(seed);
  for (const Index word : {a, b, c}) {
    x = (x ^ static_cast<std::uint64_t>(word)) * 0x9e3779b97f4a7c15U;
    x ^= x >> 32;
  }
  return x;
}

bool shows(const Problem& p, Index b, Index t, Index s) {
  const std::uint64_t kind = hash(p.seed, b, t / kBlock, s / kBlock) % 8;
  return kind > 0 && (kind < 5 || (t + s) % 3 != 0);
}

Index count_keys(const Problem& p, Index b) {
  const auto most_hidden = static_cast<std::uint64_t>(p.S / 2 + 1);
  return p.S - static_cast<Index>(hash(p.seed, b, 0, 0) % most_hidden);
}

// The keys that its sequence, causality and a window let query t see.
struct Interval {
  Index begin, end;
};
Interval interval_of(const Problem& p, Index b, Index t) {
  Index here = t + p.causal_offset;
  Interval keys{0, p.S};
  if (p.lengths) {
    keys.end = count_keys(p, b);
    here = keys.end - p.T + t;
  } else if (p.packed != 0) {
    const Index queries = p.T / p.packed;
    const Index each = p.S / p.packed;
    keys = {t / queries * each, (t / queries + 1) * each};
    here = keys.begin + t % queries + p.causal_offset;
  }
  const auto clamped = [limits = keys](Index key) {
    return std::clamp(key, limits.begin, limits.end);
  };
  if (p.causal) keys.end = clamped(here + 1);
  if (p.window > 0) {
    keys.begin = clamped(here - p.window + 1);
    keys.end = std::min(keys.end, clamped(here + p.window));
  }
  return keys;
}

}  // namespace

bool is_visible(const Problem& p, Index b, Index t, Index s) {
  const Interval keys = interval_of(p, b, t);
  if (s < keys.begin || s >= keys.end) return false;
  if (p.mask == MaskKind::keys) return s < count_keys(p, b);
  return p.mask == MaskKind::none || shows(p, b, t, s);
}

double count_visible(const Problem& p) {
  Index visible = 0;
  for (Index b = 0; b < p.B; ++b) {
    for (Index t = 0; t < p.T; ++t) {
      Interval keys = interval_of(p, b, t);
      if (p.mask == MaskKind::keys) keys.end = std::min(keys.end, count_keys(p, b));
      if (p.mask != MaskKind::blocks) visible += std::max<Index>(0, keys.end - keys.begin);
      if (p.mask != MaskKind::blocks) continue;
      for (Index s = keys.begin; s < keys.end; ++s) visible += shows(p, b, t, s) ? 1 : 0;
    }
  }
  return static_cast<double>(visible);
}

Tensor make_block_mask(const Problem& p) {
  Tensor mask({p.B, 1, p.T, p.S}, Dtype::boolean);
  bool* next = mask.data<bool>();
  for (Index b = 0; b < p.B; ++b) {
    for (Index t = 0; t < p.T; ++t) {
      for (Index s = 0; s < p.S; ++s) *next++ = shows(p, b, t, s);
    }
  }
  return mask;
}

Tensor make_key_mask(const Problem& p) {
  Tensor mask = Tensor::zeros({p.B, p.S}, Dtype::boolean);
  for (Index b = 0; b < p.B; ++b) std::fill_n(mask.data<bool>() + b * p.S, count_keys(p, b), true);
  return mask;
}

Tensor make_lengths(const Problem& p) {
  Tensor lengths({p.B}, Dtype::i64);
  for (Index b = 0; b < p.B; ++b) lengths.data<Index>()[b] = count_keys(p, b);
  return lengths;
}

Tensor make_segments(const Problem& p, Index length) {
  Tensor segments({p.packed + 1}, Dtype::i64);
  for (Index n = 0; n <= p.packed; ++n) segments.data<Index>()[n] = n * (length / p.packed);
  return segments;
}

}  // namespace grouphead::testing
