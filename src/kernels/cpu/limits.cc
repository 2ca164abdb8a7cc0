#include "kernels/cpu/limits.h"

#include "kernels/cpu/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/limits.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/held-inl.h"

#define GROUPHEAD_UNROLL _Pragma("GCC unroll 16")

#if GROUPHEAD_TARGET_IS_LEVEL
HWY_BEFORE_NAMESPACE();
namespace grouphead::kernels {
namespace HWY_NAMESPACE {
using Tag = hn::CappedTag<float, 16>;
using Vector = Held<Tag>;
constexpr std::int64_t kLanes = hn::MaxLanes(Tag());
// Enough chains to hide the latency of two units, few enough to stay in registers.
constexpr int kChains = GROUPHEAD_HAS_32_REGISTERS ? 16 : HWY_TARGET == HWY_AVX2 ? 12 : 10;
constexpr int kRepeats = 8;
constexpr int kSums = 8;

float limit_multiply_add(std::int64_t laps) noexcept {
  const Tag tag;
  Vector chain[kChains];
  GROUPHEAD_UNROLL for (int i = 0; i < kChains; ++i) {
    chain[i] = hn::Set(tag, static_cast<float>(i));
  }
  const Vector factor = hn::Set(tag, 0.5F);
  const Vector term = hn::Set(tag, 1e-3F);
  for (std::int64_t lap = 0; lap < laps; ++lap) {
    GROUPHEAD_UNROLL for (int r = 0; r < kRepeats; ++r) {
      GROUPHEAD_UNROLL for (int i = 0; i < kChains; ++i) {
        chain[i] = hn::MulAdd(chain[i], factor, term);
      }
    }
  }
  GROUPHEAD_UNROLL for (int i = 1; i < kChains; ++i) chain[0] = hn::Add(chain[0], chain[i]);
  return hn::GetLane(hn::SumOfLanes(tag, chain[0]));
}

float limit_read_sum(const float* p, std::int64_t count) noexcept {
  const Tag tag;
  Vector sum[kSums];
  GROUPHEAD_UNROLL for (int i = 0; i < kSums; ++i) sum[i] = hn::Zero(tag);
  std::int64_t at = 0;
  for (; at + kSums * kLanes <= count; at += kSums * kLanes) {
    GROUPHEAD_UNROLL for (int i = 0; i < kSums; ++i) {
      sum[i] = hn::Add(sum[i], hn::LoadU(tag, p + at + i * kLanes));
    }
  }
  GROUPHEAD_UNROLL for (int i = 1; i < kSums; ++i) sum[0] = hn::Add(sum[0], sum[i]);
  float total = hn::GetLane(hn::SumOfLanes(tag, sum[0]));
  for (; at < count; ++at) total += p[at];
  return total;
}

// Names its own target: a table that is wired to the wrong level shows.
const LimitKernels& limit_table() noexcept {
  static const LimitKernels table = {
      hwy::TargetName(HWY_TARGET),
      {std::int64_t{2} * kChains * kRepeats * kLanes, limit_multiply_add},
      limit_read_sum};
  return table;
}

}  // namespace HWY_NAMESPACE
}  // namespace grouphead::kernels
HWY_AFTER_NAMESPACE();
#endif  // GROUPHEAD_TARGET_IS_LEVEL

#if HWY_ONCE
namespace grouphead::kernels {
namespace {

constexpr int kReferenceChains = 16;
constexpr int kReferenceRepeats = 8;

float reference_multiply_add(std::int64_t laps) noexcept {
  float chain[kReferenceChains];
  for (int i = 0; i < kReferenceChains; ++i) chain[i] = static_cast<float>(i);
  for (std::int64_t lap = 0; lap < laps; ++lap) {
    for (int r = 0; r < kReferenceRepeats; ++r) {
      for (float& x : chain) x = x * 0.5F + 1e-3F;
    }
  }
  float total = 0;
  for (const float x : chain) total += x;
  return total;
}

float reference_read_sum(const float* p, std::int64_t count) noexcept {
  float sum[kReferenceChains] = {};
  std::int64_t at = 0;
  for (; at + kReferenceChains <= count; at += kReferenceChains) {
    for (int i = 0; i < kReferenceChains; ++i) sum[i] += p[at + i];
  }
  float total = 0;
  for (const float x : sum) total += x;
  for (; at < count; ++at) total += p[at];
  return total;
}

const LimitKernels& reference_table() noexcept {
  static constexpr LimitKernels kTable = {
      "plain",
      {std::int64_t{2} * kReferenceChains * kReferenceRepeats, reference_multiply_add},
      reference_read_sum};
  return kTable;
}

}  // namespace

const LimitKernels& limit_kernels(Level level) noexcept {
  GROUPHEAD_SELECT_TABLE(level, limit_table, reference_table())
}

}  // namespace grouphead::kernels
#endif  // HWY_ONCE
