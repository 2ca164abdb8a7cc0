#pragma once

// Tiles of AMX: 16 rows of 64 bytes each.

#include <atomic>
#include <cstdint>

#include "kernels/cpu/intrinsics.h"

HWY_PUSH_ATTRIBUTES("amx-tile")
namespace grouphead::kernels {

/// All eight tiles, whole. While one of these lives, its thread's tile registers are in use.
class AmxTiles {
 public:
  AmxTiles() noexcept {
    alignas(64) static constexpr struct {
      std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
      std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
      std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
    } kConfig;
    _tile_loadconfig(&kConfig);
  }
  ~AmxTiles() { _tile_release(); }
  AmxTiles(const AmxTiles&) = delete;
  AmxTiles& operator=(const AmxTiles&) = delete;
};

/// Between writing numbers and loading them into tiles: g++'s loads do not say that they read.
inline void before_tile_loads() noexcept { std::atomic_signal_fence(std::memory_order_seq_cst); }

}  // namespace grouphead::kernels
HWY_POP_ATTRIBUTES
