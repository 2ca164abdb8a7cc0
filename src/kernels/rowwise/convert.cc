#include "kernels/rowwise/convert.h"

#include "kernels/cpu/bf16.h"
#include "kernels/cpu/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/rowwise/convert.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#if GROUPHEAD_TARGET_IS_LEVEL
HWY_BEFORE_NAMESPACE();
namespace grouphead::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

static void widen(const std::uint16_t* from, Index count, float* to) noexcept {
  const hn::CappedTag<float, 16> floats;
  const hn::RebindToUnsigned<decltype(floats)> words;
  const hn::Rebind<std::uint16_t, decltype(floats)> halves;
  constexpr auto kLanes = static_cast<Index>(hn::MaxLanes(floats));
  Index i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    const auto bits = hn::ShiftLeft<16>(hn::PromoteTo(words, hn::LoadU(halves, from + i)));
    hn::StoreU(hn::BitCast(floats, bits), floats, to + i);
  }
  for (; i < count; ++i) to[i] = bf16_value(from[i]);
}

static void narrow(const float* from, Index count, std::uint16_t* to) noexcept {
  const hn::CappedTag<float, 16> floats;
  const hn::RebindToUnsigned<decltype(floats)> words;
  const hn::RebindToSigned<decltype(floats)> whole;
  const hn::Rebind<std::uint16_t, decltype(floats)> halves;
  constexpr auto kLanes = static_cast<Index>(hn::MaxLanes(floats));
  Index i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    const auto x = hn::LoadU(floats, from + i);
    const auto bits = hn::BitCast(words, x);
    const auto high = hn::ShiftRight<16>(bits);
    const auto odd = hn::And(high, hn::Set(words, 1));
    const auto rounded = hn::ShiftRight<16>(hn::Add(bits, hn::Add(odd, hn::Set(words, 0x7FFF))));
    const auto is_number = hn::RebindMask(words, hn::Eq(x, x));
    const auto result = hn::IfThenElse(is_number, rounded, hn::Or(high, hn::Set(words, 0x40)));
    hn::StoreU(hn::DemoteTo(halves, hn::BitCast(whole, result)), halves, to + i);
  }
  for (; i < count; ++i) to[i] = bf16_of(from[i]);
}

const ConvertKernels& convert_table() noexcept {
  static constexpr ConvertKernels kTable = {widen, narrow};
  return kTable;
}

}  // namespace grouphead::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif  // GROUPHEAD_TARGET_IS_LEVEL

#if HWY_ONCE
namespace grouphead::kernels {
namespace {

const ConvertKernels& reference_table() noexcept {
  static constexpr ConvertKernels kTable = {
      [](const std::uint16_t* from, Index count, float* to) noexcept {
        for (Index i = 0; i < count; ++i) to[i] = bf16_value(from[i]);
      },
      [](const float* from, Index count, std::uint16_t* to) noexcept {
        for (Index i = 0; i < count; ++i) to[i] = bf16_of(from[i]);
      }};
  return kTable;
}

}  // namespace

const ConvertKernels& convert_kernels(Level level) noexcept {
  GROUPHEAD_SELECT_TABLE(level, convert_table, reference_table())
}

}  // namespace grouphead::kernels
#endif  // HWY_ONCE
