#pragma once

#include "kernels/cpu/level.h"

namespace grouphead::kernels {

/// Hands out the memory of a unit, part after part, each at a multiple of 64 bytes. Without memory
/// it only counts: one list of parts says both where they lie and how much they need.
template <class F>
class ScratchCarver {
 public:
  explicit ScratchCarver(F* memory) noexcept : memory_(memory) {}

  template <class E = F>
  E* take(Index count) noexcept {
    constexpr auto kLine = static_cast<Index>(64 / sizeof(F));
    const auto bytes = count * static_cast<Index>(sizeof(E));
    E* const part = memory_ == nullptr ? nullptr : reinterpret_cast<E*>(memory_ + used_);
    used_ += (bytes + 63) / 64 * kLine;
    return part;
  }
  /// Elements handed out so far.
  Index used() const noexcept { return used_; }

 private:
  F* memory_;
  Index used_ = 0;
};

}  // namespace grouphead::kernels
