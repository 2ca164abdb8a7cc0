// Attention on bf16 values by AMX: products of 16 x 32 with 32 x 16 values, 16 times the
// multiply-adds of f32's vectors in a cycle, so that the softmax takes as long as they do.

#include "kernels/attention/bf16.h"
#include "kernels/cpu/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/attention/amx.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#if HWY_TARGET == HWY_AVX3
#include "kernels/attention/bf16_backward-inl.h"
#include "kernels/gemm/amx-inl.h"

HWY_PUSH_ATTRIBUTES(HWY_TARGET_STR ",avx512bf16,amx-tile,amx-bf16")
namespace grouphead::kernels::HWY_NAMESPACE {
namespace {

constexpr Index kTile = 16;                 // rows or columns of a tile of sums
constexpr Index kDepth = kBf16Lanes;        // values that one product sums up
constexpr int kRows = 32;                   // packed rows of a strip: two tiles
constexpr Index kRow = kBf16Keys + 16;      // of logits: no power of two
constexpr Index kFactors = kTile * kDepth;  // values of a tile of factors
constexpr Index kTileBytes = 4 * kTile;     // of a tile's row
static_assert(kForwardRows % kRows == 0);

Index key_row(const AttentionProblem<float>& p) noexcept { return round_up(p.D, kDepth); }
Index value_row(const AttentionProblem<float>& p) noexcept { return round_up(p.Dv, kTile); }

// Positions s and s + 1 of [S / 32][row / 16][16][16][2]; zeros where a pointer is null.
void pack_values(const U16* first, const U16* second, Index Dv, Index row, Index s,
                 U16* values) noexcept {
  U16* to = values + s / kDepth * kDepth * row + s % kDepth * kTile;
  for (Index d = 0; d < row; d += kTile, to += kFactors) {
    _mm512_storeu_si512(to, row_pairs(first, second, d, Dv));
  }
}

void pack(const AttentionProblem<float>& p, const Bf16Operands& o, Index unit) noexcept {
  const Index b = unit / pack_tiles(p, Index{0});
  const Index begin = unit % pack_tiles(p, Index{0}) * kPackKeys;
  for (Index n = 0; n < p.Hkv; ++n) {
    const U16* k = o.k.data + b * o.k.batch + n * o.k.head;
    U16* keys = o.packed_keys(b * p.Hkv + n);
    for (Index s = begin; s < begin + kPackKeys; s += kTile) {
      pack_bf16_panel(k + min(s, p.S - 1) * o.k.time, o.k.time, max(0, p.S - s), p.D, o.key_row,
                      keys + s * o.key_row);
    }
    const auto value = [&](Index s) {
      return s < p.S ? o.v.data + b * o.v.batch + s * o.v.time + n * o.v.head : nullptr;
    };
    U16* values = o.packed_values(b * p.Hkv + n);
    for (Index s = begin; s < begin + kPackKeys; s += 2) {
      pack_values(value(s), value(s + 1), p.Dv, o.value_row, s, values);
    }
  }
}

// Memory of a forward unit.
struct Scratch : Bf16Scratch<kRows, kRow> {
  Scratch(const AttentionProblem<float>& p, float* memory) noexcept
      : Scratch(p, ScratchCarver<float>(memory)) {}
  static Index size(const AttentionProblem<float>& p) noexcept { return Scratch(p, nullptr).used; }
  // Probabilities of row i of a strip; they take the place of its logits.
  U16* probs(Index i) const noexcept { return reinterpret_cast<U16*>(logits + i * kRow); }

  float* spare;  // [kRows][width]
  U16* block;    // [width / 16][16][16][2]
  Index used;

 private:
  Scratch(const AttentionProblem<float>& p, ScratchCarver<float>&& memory) noexcept
      : Bf16Scratch(p, memory),
        spare(memory.take(kRows * width)),
        block(memory.take<U16>(kDepth * width)),
        used(memory.used()) {}
};

// Products of a strip's queries with the keys [begin, end), whole blocks.
HWY_NOINLINE void multiply_keys(const Scratch& w, const U16* q, const U16* keys, Index begin,
                                Index end) noexcept {
  constexpr auto kLogitBytes = static_cast<Index>(sizeof(float)) * kRow;
  const Index q_bytes = static_cast<Index>(sizeof(U16)) * w.q_row;
  before_tile_loads();
  for (Index j = begin; j < end; j += kDepth) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    const U16* k = keys + j * w.q_row;
    for (Index d = 0; d < w.q_row; d += kDepth) {
      _tile_loadd(4, q + d, q_bytes);
      _tile_loadd(6, k + d * kTile, kTileBytes);
      _tile_loadd(7, k + (d + w.q_row) * kTile, kTileBytes);
      _tile_loadd(5, q + d + kTile * w.q_row, q_bytes);
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(1, 4, 7);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
    float* to = w.logits + j;
    _tile_stored(0, to, kLogitBytes);
    _tile_stored(1, to + kTile, kLogitBytes);
    _tile_stored(2, to + kTile * kRow, kLogitBytes);
    _tile_stored(3, to + kTile * kRow + kTile, kLogitBytes);
  }
}

// out += probs * values for a strip and the keys [begin, end), whole blocks; `values` is the one of
// key `begin`.
HWY_NOINLINE void multiply_values(const Scratch& w, const U16* values, Index begin, Index end,
                                  float* out) noexcept {
  constexpr auto kProbBytes = static_cast<Index>(sizeof(float)) * kRow;
  const Index out_bytes = static_cast<Index>(sizeof(float)) * w.width;
  const Index half = kTile * w.width;
  before_tile_loads();
  for (Index x = 0; x < w.width; x += 2 * kTile, values += 2 * kFactors) {
    const bool has_two = x + kTile < w.width;
    _tile_loadd(0, out + x, out_bytes);
    _tile_loadd(2, out + half + x, out_bytes);
    if (has_two) {
      _tile_loadd(1, out + x + kTile, out_bytes);
      _tile_loadd(3, out + half + x + kTile, out_bytes);
    }
    for (Index s = begin; s < end; s += kDepth) {
      const U16* v = values + (s - begin) * w.width;
      _tile_loadd(4, w.probs(0) + s, kProbBytes);
      _tile_loadd(6, v, kTileBytes);
      _tile_loadd(5, w.probs(kTile) + s, kProbBytes);
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(2, 5, 6);
      if (!has_two) continue;
      _tile_loadd(7, v + kFactors, kTileBytes);
      _tile_dpbf16ps(1, 4, 7);
      _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, out + x, out_bytes);
    _tile_stored(2, out + half + x, out_bytes);
    if (has_two) {
      _tile_stored(1, out + x + kTile, out_bytes);
      _tile_stored(3, out + half + x + kTile, out_bytes);
    }
  }
}

// multiply_values() for one block of keys, of which row i sees [begins[i], limits[i]): 0 in place
// of what it does not see, as 0 times a NaN would be one.
HWY_NOINLINE void multiply_seen_values(const Scratch& w, const U16* values, Index s,
                                       const Index* begins, const Index* limits,
                                       float* out) noexcept {
  for (Index i = 0; i < kRows; ++i) {
    const Index begin = max(begins[i], s) - s;
    const Index end = min(limits[i], s + kDepth) - s;
    if (begin >= end) continue;
    for (Index e = 0; e < kDepth * w.width; ++e) {
      const Index key = e % kFactors / (2 * kTile) * 2 + e % 2;
      w.block[e] = key >= begin && key < end ? values[e] : U16{0};
    }
    copy_row(out, kRows * w.width, kRows * w.width, 1.0F, w.spare);
    multiply_values(w, w.block, s, s + kDepth, w.spare);
    copy_row(w.spare + i * w.width, w.width, w.width, 1.0F, out + i * w.width);
  }
}

// out += probs * values for the keys [first, behind) of a step. What a row does not see has
// probability 0.
void add_values(const Scratch& w, const U16* values, Index first, Index behind, const Index* begins,
                const Index* limits, float* out) noexcept {
  Index all_begin = 0;
  Index all_end = kBf16Keys;
  for (Index i = 0; i < kRows; ++i) {
    all_begin = max(all_begin, begins[i]);
    all_end = min(all_end, limits[i]);
  }
  const auto is_safe = [&](Index s) {
    if (s >= all_begin && s + kDepth <= all_end) return true;
    return are_finite(values + s * w.width, kDepth * w.width);
  };
  const Index end = round_up(behind, kDepth);
  for (Index s = first / kDepth * kDepth; s < end;) {
    const Index from = s;
    while (s < end && is_safe(s)) s += kDepth;
    if (s > from) multiply_values(w, values + from * w.width, from, s, out);
    if (s == end) break;
    multiply_seen_values(w, values + s * w.width, s, begins, limits, out);
    s += kDepth;
  }
}

// The greatest of the products [0, limit); those behind it up to `end` are masked.
float mask_behind(float* x, Index limit, Index end) noexcept {
  Vector top = hn::Set(kFloats, kMasked);
  Index c = 0;
  for (; c + kLanes <= limit; c += kLanes) top = hn::Max(top, hn::LoadU(kFloats, x + c));
  for (; c < end; c += kLanes) {
    const auto seen = hn::FirstN(kFloats, static_cast<std::size_t>(max(0, limit - c)));
    const Vector logit = hn::IfThenElse(seen, hn::LoadU(kFloats, x + c), hn::Set(kFloats, kMasked));
    top = hn::Max(top, logit);
    hn::StoreU(logit, kFloats, x + c);
  }
  return hn::GetLane(hn::MaxOfLanes(kFloats, top));
}

// One strip against the keys of one step, of which row i sees the first limits[i]; no options.
void attend_strip(const Scratch& w, const AttentionProblem<float>& p, Index strip,
                  const Index* limits, const U16* keys, const U16* values) noexcept {
  static constexpr Index kBegins[kRows] = {};
  const Index row = strip * kRows;
  const Index end = round_up(limits[kRows - 1], kDepth);
  const float scale = p.scale * kLog2E;
  multiply_keys(w, w.q + row * w.q_row, keys, 0, end);
  float here[kRows];
  for (Index i = 0; i < kRows; ++i) here[i] = mask_behind(w.logits + i * kRow, limits[i], end);
  move_tops<kRows>(w, row, here, scale);
  for (Index i = 0; i < kRows; ++i) {
    const float* x = w.logits + i * kRow;
    Bf16Softmax softmax(scale, w.tops[row + i], w.weights + (row + i) * kLanes);
    for (Index c = 0; c < end; c += 2 * kLanes) {
      Vector first, second;
      softmax(x + c, first, second);
      store_narrow(first, second, w.probs(i) + c);
    }
    softmax.store(w.weights + (row + i) * kLanes);
  }
  add_values(w, values, 0, end, kBegins, limits, w.out + row * w.width);
}

struct Engine {
  static constexpr Index kKeyGroup = 64;
  static constexpr auto& multiply = multiply_by_tiles;
  using Scratch = HWY_NAMESPACE::Scratch;
  static constexpr int kRows = HWY_NAMESPACE::kRows;
  static constexpr auto& multiply_keys = HWY_NAMESPACE::multiply_keys;
  static constexpr auto& add_values = HWY_NAMESPACE::add_values;
  static constexpr auto& attend_strip = HWY_NAMESPACE::attend_strip;
};

void forward(const AttentionProblem<float>& p, const Bf16Operands& o, Index unit,
             float* memory) noexcept {
  const AmxTiles tiles;
  bf16_forward_unit<Engine>(p, o, unit, memory);
}

void gradient_block(const AttentionProblem<float>& p, const AttentionGradients<float>& g,
                    const Bf16Operands& o, Index bn, Index tile, Index block,
                    float* memory) noexcept {
  const AmxTiles tiles;
  bf16_gradient_block<Engine>(p, g, o, bn, tile, block, memory);
}

}  // namespace

const Bf16Kernels& amx_table() noexcept {
  static constexpr Bf16Kernels kTable = {
      .key_row = key_row,
      .value_row = value_row,
      .pack = pack,
      .forward_scratch = Scratch::size,
      .forward = forward,
      .gradient_delta = bf16_gradient_delta,
      .gradient_scratch = Bf16GradientScratch::size,
      .gradient_begin = bf16_gradient_begin,
      .gradient_block = gradient_block,
      .gradient_end = bf16_gradient_end,
  };
  return kTable;
}

}  // namespace grouphead::kernels::HWY_NAMESPACE
HWY_POP_ATTRIBUTES
#endif

#if HWY_ONCE
namespace grouphead::kernels {

const Bf16Kernels* amx_kernels() noexcept {
#if HWY_TARGETS & HWY_AVX3
  return &N_AVX3::amx_table();
#else
  return nullptr;
#endif
}

}  // namespace grouphead::kernels
#endif
