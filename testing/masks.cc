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

// The keys that causality and a window let query t see.
struct Interval {
  Index begin, end;
};
Interval interval_of(const Problem& p, Index t) {
  const Index here = t + p.causal_offset;
  Interval keys{0, p.S};
  if (p.causal) keys.end = std::clamp<Index>(here + 1, 0, p.S);
  if (p.window > 0) {
    keys.begin = std::clamp<Index>(here - p.window + 1, 0, p.S);
    keys.end = std::min(keys.end, std::clamp<Index>(here + p.window, 0, p.S));
  }
  return keys;
}

}  // namespace

bool is_visible(const Problem& p, Index b, Index t, Index s) {
  const Interval keys = interval_of(p, t);
  if (s < keys.begin || s >= keys.end) return false;
  if (p.mask == MaskKind::keys) return s < count_keys(p, b);
  return p.mask == MaskKind::none || shows(p, b, t, s);
}

double count_visible(const Problem& p) {
  Index visible = 0;
  for (Index b = 0; b < p.B; ++b) {
    for (Index t = 0; t < p.T; ++t) {
      Interval keys = interval_of(p, t);
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

}  // namespace grouphead::testing
