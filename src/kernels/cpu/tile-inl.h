// Per-target: sums of products in registers, what every matrix product of f32 is made of.

#if defined(GROUPHEAD_KERNELS_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef GROUPHEAD_KERNELS_TILE_INL_H_
#undef GROUPHEAD_KERNELS_TILE_INL_H_
#else
#define GROUPHEAD_KERNELS_TILE_INL_H_
#endif

#include "kernels/cpu/lanes-inl.h"

#if GROUPHEAD_TARGET_IS_LEVEL
HWY_BEFORE_NAMESPACE();
namespace grouphead::kernels::HWY_NAMESPACE {

/// A vector of what is stored, in f32: as it is, bf16, or integers in 8 bits.
HWY_INLINE Vector widened(const float* from) { return hn::LoadU(kFloats, from); }
HWY_INLINE Vector widened(const std::uint16_t* from) {
  const hn::Rebind<std::uint16_t, Floats> half;
  const hn::Rebind<std::uint32_t, Floats> bits;
  return hn::BitCast(kFloats, hn::ShiftLeft<16>(hn::PromoteTo(bits, hn::LoadU(half, from))));
}
HWY_INLINE Vector widened(const std::int8_t* from) {
  const hn::Rebind<std::int8_t, Floats> byte;
  const hn::Rebind<std::int32_t, Floats> whole;
  return hn::ConvertTo(kFloats, hn::PromoteTo(whole, hn::LoadU(byte, from)));
}

#if HWY_ARCH_ARM_A64
// ARM's multiply-adds take one element of four: no broadcast.
HWY_INLINE Vector load_four(const float* at) {
#if HWY_TARGET == HWY_NEON
  return hn::LoadU(kFloats, at);
#else
  return svld1rq_f32(svptrue_b32(), at);
#endif
}
/// sum + x * four[kLane]
template <int kLane>
HWY_INLINE Vector add_product(Vector sum, Vector x, Vector four) {
#if HWY_TARGET == HWY_NEON
  return Vector{vfmaq_laneq_f32(sum.raw, x.raw, four.raw, kLane)};
#else
  return svmla_lane_f32(sum, x, four, kLane);
#endif
}
#endif

/// Offset of vector j where the vectors of a row lie side by side.
struct InRow {
  HWY_INLINE Index operator()(int j) const { return j * kLanes; }
};

/// The loop of all matrix products of f32, over factors in registers: sums[i][j] += sum_k a[i *
/// a_row + k * a_step] * b[vector(j) + k * b_step], k ascending, one chain of multiply-adds per
/// element whatever M and N. Rows of a are reached by threes from one pointer: the processor's
/// addressing then needs one register for their distance.
template <int M, int N>
struct Tile {
  Vector sums[M][N];

  HWY_INLINE void clear() {
    HWY_UNROLL(16)
    for (int i = 0; i < M; ++i) {
      HWY_UNROLL(16)
      for (int j = 0; j < N; ++j) sums[i][j] = hn::Zero(kFloats);
    }
  }

  template <class Element, class VectorOffset>
  HWY_INLINE void run(const float* HWY_RESTRICT a, Index a_row, Index a_step,
                      const Element* HWY_RESTRICT b, VectorOffset vector, Index b_step,
                      Index steps) {
    const float* rows[kThrees];
    for (int i = 0; i < kThrees; ++i) rows[i] = a + 3 * i * a_row;
    Index k = 0;
#if HWY_ARCH_ARM_A64
    for (; a_step == 1 && k + 4 <= steps; k += 4, b += 4 * b_step) {
      add_four(rows, a_row, b, vector, b_step);
    }
#endif
    for (; k + 2 <= steps; k += 2, b += 2 * b_step) {
      add<2>(rows, a_row, a_step, b, vector, b_step);
    }
    if (k < steps) add<1>(rows, a_row, a_step, b, vector, b_step);
  }

 private:
  static constexpr int kThrees = (M + 2) / 3;

#if HWY_ARCH_ARM_A64
  // Four steps of rows whose elements lie side by side.
  template <class Element, class VectorOffset>
  HWY_INLINE void add_four(const float* (&rows)[kThrees], Index a_row,
                           const Element* HWY_RESTRICT b, VectorOffset vector, Index b_step) {
    Vector y[M];
    HWY_UNROLL(16)
    for (int i = 0; i < M; ++i) y[i] = load_four(rows[i / 3] + i % 3 * a_row);
    add_lane<0>(y, b, vector);
    add_lane<1>(y, b + b_step, vector);
    add_lane<2>(y, b + 2 * b_step, vector);
    add_lane<3>(y, b + 3 * b_step, vector);
    for (int i = 0; i < kThrees; ++i) rows[i] += 4;
  }
  template <int kLane, class Element, class VectorOffset>
  HWY_INLINE void add_lane(const Vector (&y)[M], const Element* b, VectorOffset vector) {
    HWY_UNROLL(16)
    for (int j = 0; j < N; ++j) {
      const Vector x = widened(b + vector(j));
      HWY_UNROLL(16)
      for (int i = 0; i < M; ++i) sums[i][j] = add_product<kLane>(sums[i][j], x, y[i]);
    }
  }
#endif

  // kSteps steps, after which `rows` stand at the next one. Not a lambda: clang makes a function of
  // one as large as this, whose sums live in memory.
  template <int kSteps, class Element, class VectorOffset>
  HWY_INLINE void add(const float* (&rows)[kThrees], Index a_row, Index a_step,
                      const Element* HWY_RESTRICT b, VectorOffset vector, Index b_step) {
    HWY_UNROLL(2)
    for (int u = 0; u < kSteps; ++u, b += b_step) {
      Vector x[N];
      HWY_UNROLL(16)
      for (int j = 0; j < N; ++j) x[j] = widened(b + vector(j));
      HWY_UNROLL(16)
      for (int i = 0; i < M; ++i) {
        const Vector y = hn::Set(kFloats, rows[i / 3][i % 3 * a_row + u * a_step]);
        HWY_UNROLL(16)
        for (int j = 0; j < N; ++j) sums[i][j] = hn::MulAdd(y, x[j], sums[i][j]);
      }
    }
    for (int i = 0; i < kThrees; ++i) rows[i] += kSteps * a_step;
  }
};

}  // namespace grouphead::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif  // GROUPHEAD_TARGET_IS_LEVEL

#endif  // per-target include guard
