// What the rows of a strip see of a tile of keys, and what masks, biases and dropout do to a strip
// between its products. Included once per target.

#if defined(GROUPHEAD_KERNELS_ATTENTION_SIGHT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef GROUPHEAD_KERNELS_ATTENTION_SIGHT_INL_H_
#undef GROUPHEAD_KERNELS_ATTENTION_SIGHT_INL_H_
#else
#define GROUPHEAD_KERNELS_ATTENTION_SIGHT_INL_H_
#endif

#include <type_traits>

#include "kernels/attention/tiles-inl.h"
#include "kernels/cpu/flush_to_zero.h"
#include "kernels/cpu/scratch.h"
#include "kernels/random/random-inl.h"

HWY_BEFORE_NAMESPACE();
namespace grouphead::kernels::HWY_NAMESPACE {

// Keys of a strip that are looked at, or passed over, together. Whole vectors of each level in
// fours, so that passing over them moves no key to another sum of the softmax.
constexpr Index kVisibilityKeys = 64;

// Whether logits are more than products.
static HWY_INLINE bool changes_products(const AttentionProblem<float>& p) {
  return p.bias.data != nullptr || p.softcap > 0.0F || p.slopes != nullptr;
}

// Whether the kernels must look at rows one by one; causality alone they trim, and sinks come last.
static HWY_INLINE bool has_options(const AttentionProblem<float>& p) {
  return p.num_masks > 0 || p.has_window() || changes_products(p) ||
         p.fully_masked.data != nullptr || p.dropout.active;
}

// A packed row: its place, and the keys [begin, limit) that causality and window let it see.
struct RowPlace {
  Index h, t;
  Index begin, limit;
  bool fully_masked;
};

// `count` packed rows of head bn from `first` on, the last one repeated.
static inline void find_places(const AttentionProblem<float>& p, Index bn, Index first, Index count,
                               RowPlace* to) {
  const Index b = bn / p.Hkv;
  const Index head = bn % p.Hkv * p.group();
  Index g = first % p.group();
  Index t = first / p.group();
  for (Index i = 0; i < count; ++i) {
    to[i] = {head + g, t, p.begin_at(t), p.limit_at(t), false};
    if (p.fully_masked.data != nullptr && *p.fully_masked.row(b, head + g, t) != 0) {
      to[i] = {head + g, t, 0, p.S, true};
    }
    if (first + i + 1 >= p.rows() || ++g < p.group()) continue;
    g = 0;
    ++t;
  }
}

// The keys, of S, that causality and window let any of `count` rows see: [begin, end), or none.
struct KeyRange {
  Index begin, end;
};
static inline KeyRange range_of(const RowPlace* rows, Index count, Index S) {
  KeyRange range{S, 0};
  for (Index r = 0; r < count; ++r) {
    range.begin = min(range.begin, rows[r].begin);
    range.end = max(range.end, rows[r].limit);
  }
  return range;
}

// Memory of one strip.
template <int kRows = kStripRows>
struct StripMemory {
  explicit StripMemory(ScratchCarver<float>& memory)
      : seen(memory.take<std::uint8_t>(kRows * kMostTileKeys)),
        kept(memory.take(kMostTileKeys + 64)),
        bias(memory.take(kMostTileKeys)),
        d_scores(memory.take(kMostTileKeys)) {}
  std::uint8_t* seen;  // [kRows][kMostTileKeys]
  float* kept;         // [kMostTileKeys + 64]
  float* bias;         // [kMostTileKeys]
  float* d_scores;     // [kMostTileKeys]
};

// What a strip sees of a tile; keys count from the tile's first one.
template <int kRows = kStripRows>
struct Visibility {
  struct Segment {
    Index begin, end;  // begin: a multiple of kPanelKeys
  };
  Index begins[kRows];              // of what causality and window let the rows see
  Index limits[kRows];              //
  const std::uint8_t* seen[kRows];  // 255 for a key that the row sees, else 0
  unsigned partly = 0;              // a bit for each kVisibilityKeys keys: not all rows see all
  Index num_segments = 0;           // outside of them no row sees anything
  Segment segments[kMostTileKeys / kVisibilityKeys];
};

using Bytes = hn::CappedTag<std::uint8_t, kVisibilityKeys>;
constexpr Bytes kBytes;
constexpr Index kByteLanes = static_cast<Index>(hn::MaxLanes(kBytes));

// Bytes [0, kByteLanes) of a row of a mask, of which `valid` exist.
static HWY_INLINE hn::Vec<Bytes> load_mask(const std::uint8_t* row, Index stride, Index valid) {
  if (stride == 1 && valid >= kByteLanes) return hn::LoadU(kBytes, row);
  if (stride == 0) return hn::Set(kBytes, *row);
  alignas(64) std::uint8_t bytes[kByteLanes] = {};
  for (Index j = 0; j < min(kByteLanes, valid); ++j) bytes[j] = row[j * stride];
  return hn::Load(kBytes, bytes);
}

// Which keys of [c, c + kByteLanes) lie in [begin, end).
static HWY_INLINE hn::Vec<Bytes> interval(Index c, Index begin, Index end) {
  const auto up_to = [&](Index x) {
    return hn::VecFromMask(
        kBytes, hn::FirstN(kBytes, static_cast<std::size_t>(max(0, min(kByteLanes, x - c)))));
  };
  return hn::AndNot(up_to(begin), up_to(end));
}

// A bit for each kVisibilityKeys keys of a tile: of which a row sees any, and of which it sees all.
struct SeenBlocks {
  unsigned some = 0;
  unsigned all = 0;
};

// Notes the keys [lo, hi) that a row sees.
static HWY_INLINE SeenBlocks look_along(const AttentionProblem<float>& p, Index b,
                                        const RowPlace& row, Index first_key, Index lo, Index hi,
                                        Index begin, Index limit, std::uint8_t* seen) {
  const Index masks = row.fully_masked ? 0 : p.num_masks;
  SeenBlocks found;
  for (Index block = lo; block < hi; block += kVisibilityKeys) {
    auto any = hn::Zero(kBytes);
    auto every = hn::Set(kBytes, 255);
    for (Index c = block; c < block + kVisibilityKeys; c += kByteLanes) {
      auto here = interval(c, begin, limit);
      for (Index i = 0; i < masks; ++i) {
        const Grid<const std::uint8_t>& mask = p.masks[i];
        const std::uint8_t* at = mask.row(b, row.h, row.t);
        if (mask.key != 0) at += (first_key + c) * mask.key;
        const auto shown = hn::Ne(load_mask(at, mask.key, p.S - first_key - c), hn::Zero(kBytes));
        here = hn::And(here, hn::VecFromMask(kBytes, shown));
      }
      hn::StoreU(here, kBytes, seen + c);
      any = hn::Or(any, here);
      every = hn::And(every, here);
    }
    const unsigned bit = 1U << block / kVisibilityKeys;
    if (!hn::AllTrue(kBytes, hn::Eq(any, hn::Zero(kBytes)))) found.some |= bit;
    if (hn::AllTrue(kBytes, hn::Eq(every, hn::Set(kBytes, 255)))) found.all |= bit;
  }
  return found;
}

// Whether two rows of a strip see the same keys.
static HWY_INLINE bool see_alike(const AttentionProblem<float>& p, const RowPlace& x,
                                 const RowPlace& y) {
  if (x.t != y.t || x.fully_masked != y.fully_masked) return false;
  bool alike = true;
  for (Index i = 0; i < p.num_masks; ++i) alike = alike && (x.h == y.h || p.masks[i].head == 0);
  return alike;
}

// What the strip of `rows` sees of the keys [first_key, first_key + keys).
template <int kRows>
static HWY_NOINLINE void look(const AttentionProblem<float>& p, Index b, const RowPlace* rows,
                              Index first_key, Index keys, const StripMemory<kRows>& memory,
                              Visibility<kRows>& visibility) {
  Index begin = keys;
  Index end = 0;
  for (int i = 0; i < kRows; ++i) {
    visibility.begins[i] = max(0, min(keys, rows[i].begin - first_key));
    visibility.limits[i] = max(0, min(keys, rows[i].limit - first_key));
    if (visibility.begins[i] >= visibility.limits[i]) {
      visibility.begins[i] = visibility.limits[i] = 0;
      continue;
    }
    begin = min(begin, visibility.begins[i]);
    end = max(end, visibility.limits[i]);
  }
  visibility.num_segments = 0;
  if (begin >= end) return;
  const Index lo = begin / kVisibilityKeys * kVisibilityKeys;
  const Index hi = round_up(end, kVisibilityKeys);
  SeenBlocks seen_blocks{0, ~0U};
  for (int i = 0; i < kRows; ++i) {
    if (i > 0 && see_alike(p, rows[i - 1], rows[i])) {
      visibility.seen[i] = visibility.seen[i - 1];
      continue;
    }
    std::uint8_t* seen = memory.seen + i * kMostTileKeys;
    const SeenBlocks found = look_along(p, b, rows[i], first_key, lo, hi, visibility.begins[i],
                                        visibility.limits[i], seen);
    seen_blocks.some |= found.some;
    seen_blocks.all &= found.all;
    visibility.seen[i] = seen;
  }
  visibility.partly = ~seen_blocks.all;
  // A block of keys that no row sees at its ends is trimmed there: keys behind a length, above all.
  const auto is_seen = [&](Index key) {
    bool seen = false;
    for (int i = 0; i < kRows; ++i) seen = seen || visibility.seen[i][key] != 0;
    return seen;
  };
  for (Index j = lo; j < hi; j += kVisibilityKeys) {
    if ((seen_blocks.some >> j / kVisibilityKeys & 1) == 0) continue;
    const Index from = max(j, begin / kPanelKeys * kPanelKeys);
    Index to = min(j + kVisibilityKeys, end);
    while (to > from + 1 && !is_seen(to - 1)) --to;
    if (visibility.num_segments > 0 &&
        visibility.segments[visibility.num_segments - 1].end == from) {
      visibility.segments[visibility.num_segments - 1].end = to;
    } else {
      visibility.segments[visibility.num_segments++] = {from, to};
    }
  }
}

// The products of a strip with the keys of its segments, to whole vectors.
static HWY_INLINE void segment_products(const Visibility<>& visibility, const float* q, Index q_row,
                                        const float* panels, Index D, float* to, Index to_row,
                                        float* unused) {
  constexpr Index kStep = kLogitVectors * kLanes;
  for (Index n = 0; n < visibility.num_segments; ++n) {
    const auto [begin, end] = visibility.segments[n];
    for (Index j = begin; j < end; j += kStep) {
      for (Index i = 0; i < kStripRows; i += kLogitRows) {
        logit_part<false>(q + i * q_row, q_row, panels, D, to + i * to_row, to_row, unused, nullptr,
                          j, end);
      }
    }
  }
}

// Numbers of a row of a bias or of scores for the keys [begin, end) of a tile, to whole vectors,
// as an array that keys index; `valid` keys exist.
static HWY_INLINE const float* row_part(const float* row, Index stride, Index begin, Index end,
                                        Index valid, float* buffer) {
  if (stride == 1 && round_up(end, kLanes) <= valid) return row;
  for (Index j = begin; j < round_up(end, kLanes); ++j) {
    buffer[j] = j < valid ? row[j * stride] : 0.0F;
  }
  return buffer;
}

// Prefetches the bias of a strip: it comes from memory, once.
template <int kRows>
static HWY_INLINE void prefetch_bias(const AttentionProblem<float>& p, Index b,
                                     const RowPlace* rows, Index first_key,
                                     const Visibility<kRows>& visibility) {
  if (p.bias.data == nullptr || p.bias.key != 1) return;
  for (int i = 0; i < kRows; ++i) {
    const float* row = p.bias.row(b, rows[i].h, rows[i].t) + first_key;
    for (Index n = 0; n < visibility.num_segments; ++n) {
      for (Index c = visibility.segments[n].begin; c < visibility.segments[n].end; c += 16) {
        __builtin_prefetch(row + c, 0, 2);
      }
    }
  }
}

// What makes logits of products. Several at once are told apart vector by vector.
enum class Bend : std::uint8_t { none, softcap, slope, bias, several };

// What a row does to its products; numbers in base 2.
struct RowBend {
  const std::uint8_t* seen = nullptr;
  const float* bias = nullptr;
  float cap = 0, slope = 0;
  Index position = 0;  // of the row among the tile's keys
  bool fully_masked = false;
};

// The logits of a row whose Bend is known; kHides: it may not see all of a vector.
template <Bend kBend, bool kHides>
class LogitForm {
 public:
  static constexpr bool is_product = kBend == Bend::none && !kHides;

  HWY_INLINE explicit LogitForm(const RowBend& row)
      : seen_(row.seen),
        bias_(row.bias),
        has_cap_(row.cap > 0.0F),
        has_slope_(row.slope != 0.0F),
        fully_masked_(row.fully_masked),
        cap_(hn::Set(kFloats, row.cap)),
        inverse_(hn::Set(kFloats, has_cap_ ? 1.0F / row.cap : 0.0F)),
        slope_(hn::Set(kFloats, row.slope)),
        distance_(hn::Iota(kFloats, static_cast<float>(-row.position))) {}
  // Which of the keys from c on are hidden; `x`: their products, then logits in base 2; `slope`:
  // the derivative of one by the other, if it is asked for.
  HWY_INLINE hn::Mask<Floats> operator()(Index c, Vector& x, Vector* slope = nullptr) const {
    auto hidden = hn::Lt(hn::Zero(kFloats), hn::Zero(kFloats));
    if constexpr (kHides) {
      const hn::Rebind<std::int8_t, Floats> bytes;
      const hn::RebindToSigned<Floats> integers;
      const auto wide = hn::PromoteTo(
          integers, hn::LoadU(bytes, reinterpret_cast<const std::int8_t*>(seen_ + c)));
      hidden = hn::RebindMask(kFloats, hn::Eq(wide, hn::Zero(integers)));
    }
    if (kBend == Bend::softcap || (kBend == Bend::several && has_cap_)) {
      x = soft_cap(x, cap_, inverse_);
      if (slope != nullptr) {
        const Vector bent = hn::Mul(x, inverse_);
        *slope = hn::NegMulAdd(bent, bent, hn::Set(kFloats, 1.0F));
      }
    }
    if (kBend == Bend::slope || (kBend == Bend::several && has_slope_)) {
      const Vector distance = hn::Add(distance_, hn::Set(kFloats, static_cast<float>(c)));
      x = hn::NegMulAdd(slope_, hn::Abs(distance), x);
    }
    if (kBend == Bend::bias || (kBend == Bend::several && bias_ != nullptr)) {
      const Vector bias = hn::LoadU(kFloats, bias_ + c);
      hidden = hn::Or(hidden, hn::Eq(bias, hn::Set(kFloats, kMasked)));
      // A finite bias hides nothing, though in base 2 it may be beyond the range; NaN stays.
      x = at_least(hn::Set(kFloats, std::numeric_limits<float>::lowest()),
                   hn::MulAdd(hn::Set(kFloats, kLog2E), bias, x));
    }
    if constexpr (kHides || kBend == Bend::bias || kBend == Bend::several) {
      if (fully_masked_) x = hn::Zero(kFloats);
      x = hn::IfThenElse(hidden, hn::Set(kFloats, kMasked), x);
    }
    return hidden;
  }
  // x without what is hidden.
  static HWY_INLINE Vector seen(hn::Mask<Floats> hidden, Vector x) {
    if constexpr (kHides || kBend == Bend::bias || kBend == Bend::several) {
      return hn::IfThenZeroElse(hidden, x);
    }
    return x;
  }

 private:
  const std::uint8_t* seen_;
  const float* bias_;
  bool has_cap_, has_slope_, fully_masked_;
  Vector cap_, inverse_, slope_, distance_;
};

// Logits of one row from its products.
class RowLogits {
 public:
  template <int kRows>
  RowLogits(const AttentionProblem<float>& p, Index b, const RowPlace& row, Index first_key,
            const Visibility<kRows>& visibility, int i, const StripMemory<kRows>& memory)
      : row_{visibility.seen[i],
             nullptr,
             p.softcap * kLog2E,
             p.slopes == nullptr ? 0.0F : p.slopes[row.h] * kLog2E,
             row.t + p.causal_offset - first_key,
             row.fully_masked},
        partly_(row.fully_masked ? ~0U : visibility.partly) {
    if (p.bias.data != nullptr && !row.fully_masked && visibility.num_segments > 0) {
      row_.bias = row_part(p.bias.row(b, row.h, row.t) + first_key * p.bias.key, p.bias.key,
                           visibility.segments[0].begin,
                           visibility.segments[visibility.num_segments - 1].end, p.S - first_key,
                           memory.bias);
    }
    const bool has_cap = row_.cap > 0.0F;
    const bool has_slope = row_.slope != 0.0F;
    const bool has_bias = row_.bias != nullptr;
    if (has_cap + has_slope + has_bias > 1 || row.fully_masked) {
      bend_ = Bend::several;
    } else if (has_cap || has_slope || has_bias) {
      bend_ = has_cap ? Bend::softcap : has_slope ? Bend::slope : Bend::bias;
    }
  }
  // body(c, the LogitForm) for each vector of the keys [begin, end), `begin` whole vectors.
  template <class Body>
  HWY_INLINE void for_vectors(Index begin, Index end, const Body& body) const {
    switch (bend_) {
      case Bend::none:
        return for_vectors_as<Bend::none>(begin, end, body);
      case Bend::softcap:
        return for_vectors_as<Bend::softcap>(begin, end, body);
      case Bend::slope:
        return for_vectors_as<Bend::slope>(begin, end, body);
      case Bend::bias:
        return for_vectors_as<Bend::bias>(begin, end, body);
      case Bend::several:
        return for_vectors_as<Bend::several>(begin, end, body);
    }
  }

 private:
  template <Bend kBend, class Body>
  HWY_INLINE void for_vectors_as(Index begin, Index end, const Body& body) const {
    const LogitForm<kBend, true> partly(row_);
    const LogitForm<kBend, false> all(row_);
    for (Index c = begin; c < end;) {
      const Index behind = min(end, round_up(c + 1, kVisibilityKeys));
      if ((partly_ >> c / kVisibilityKeys & 1) != 0) {
        for (; c < behind; c += kLanes) body(c, partly);
      } else {
        for (; c < behind; c += kLanes) body(c, all);
      }
    }
  }

  RowBend row_;
  unsigned partly_;
  Bend bend_ = Bend::none;
};

// Elements [element, element + count) of a dropout draw: 0 where it drops, else the scale.
static HWY_INLINE const float* kept_factors(const ProbabilityDropout<float>& dropout,
                                            std::uint64_t element, Index count, float* to) {
  const VU32 threshold = hn::Set(DU32(), dropout.rule.threshold);
  const Vector scale = hn::Set(kFloats, dropout.scale);
  const auto store = [&](VU32 words, Index i) {
    const auto dropped = hn::RebindMask(kFloats, hn::Lt(words, threshold));
    hn::StoreU(hn::IfThenZeroElse(dropped, scale), kFloats, to + i);
  };
  const KeepRule& rule = dropout.rule;
  if (rule.threefry) {
    const ThreefryKey key(rule.seed, rule.draw);
    for (Index i = 0; i < count; i += 4 * kLanes) {
      VU32 bits[4];
      threefry_groups(key, element + static_cast<std::uint64_t>(i), bits);
      HWY_UNROLL(4)
      for (int n = 0; n < 4; ++n) store(hn::Not(bits[n]), i + n * kLanes);
    }
    return to;
  }
  const auto skipped = static_cast<Index>(element % 4);
  std::uint64_t block = element / 4;
  for (Index i = 0; i < skipped + count; i += 4 * kLanes, block += 2 * kPhiloxBlocks) {
    PhiloxVectors words[2];
    philox_groups(rule.seed, rule.draw, block, words);
    store(words[0].first, i);
    store(words[0].second, i + kLanes);
    store(words[1].first, i + 2 * kLanes);
    store(words[1].second, i + 3 * kLanes);
  }
  return to + skipped;
}

// What dropout does to the keys [begin, end) of a tile, for one row.
static HWY_INLINE const float* kept_of(const AttentionProblem<float>& p, Index b,
                                       const RowPlace& row, Index key, Index count, float* to) {
  const Index element = p.element(p.place(b, row.h, row.t), key);
  return kept_factors(p.dropout, static_cast<std::uint64_t>(element), count, to);
}

// Logits of row i of a strip in place; their maximum. Masked in front of each segment, where the
// softmax begins at a fourth vector.
template <int kRows>
static HWY_INLINE float mask_row(const Visibility<kRows>& visibility, const RowLogits& logits_of,
                                 float* HWY_RESTRICT x) {
  constexpr Index kFour = 4 * kLanes;
  Vector top = hn::Set(kFloats, kMasked);
  for (Index n = 0; n < visibility.num_segments; ++n) {
    const auto [begin, end] = visibility.segments[n];
    fill(x + begin / kFour * kFour, begin % kFour, kMasked);
    logits_of.for_vectors(begin, end, [&](Index c, const auto& form) HWY_ATTR {
      Vector logit = hn::LoadU(kFloats, x + c);
      if constexpr (!std::remove_cvref_t<decltype(form)>::is_product) {
        form(c, logit);
        hn::StoreU(logit, kFloats, x + c);
      }
      top = hn::Max(top, logit);
    });
  }
  return hn::GetLane(hn::MaxOfLanes(kFloats, top));
}

// Drops weights of a row, after they were summed.
template <int kRows>
static HWY_INLINE void drop_row(const AttentionProblem<float>& p, Index b, const RowPlace& row,
                                const Visibility<kRows>& visibility, Index first_key,
                                float* kept_memory, float* HWY_RESTRICT x) {
  for (Index n = 0; n < visibility.num_segments; ++n) {
    const auto [begin, end] = visibility.segments[n];
    const float* kept =
        kept_of(p, b, row, first_key + begin, round_up(end, kLanes) - begin, kept_memory);
    for (Index c = begin; c < end; c += kLanes) {
      const Vector weight = hn::LoadU(kFloats, x + c);
      hn::StoreU(hn::Mul(weight, hn::LoadU(kFloats, kept + c - begin)), kFloats, x + c);
    }
  }
}

}  // namespace grouphead::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
