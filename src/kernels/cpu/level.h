#pragma once

#include <cstdint>

namespace grouphead::kernels {

/// Sizes and positions; the same type as grouphead::Index.
using Index = std::int64_t;

/// Instruction-set levels that kernels are compiled for, slowest first; the same order as Isa.
/// `neon` and `sve256` (SVE with vectors of 256 bits) are ARM's, the others of vectors are x86's;
/// `avx3_bf16` and `avx3_amx` are avx3 but for the few kernels made of vdpbf16ps, and of AMX.
enum class Level : std::uint8_t { ref, neon, sve256, sse4, avx2, avx3, avx3_bf16, avx3_amx };

inline constexpr Level kLevels[] = {Level::ref,  Level::neon, Level::sve256,    Level::sse4,
                                    Level::avx2, Level::avx3, Level::avx3_bf16, Level::avx3_amx};

/// Whether this build has kernels for `level` and this processor and system can run them.
bool level_available(Level level) noexcept;
/// Makes ready for an available level: Linux lends a process the registers of AMX when it asks,
/// and signal stacks must hold them from there on, so only avx3_amx asks. False where it refuses.
bool enter_level(Level level) noexcept;
/// The best one, but never sve256, on which not all tests have run, nor avx3_bf16 on Intel's cores:
/// these start one vdpbf16ps in two cycles (Sapphire Rapids, measured), half the multiply-adds that
/// they do in f32; AMD's Zen 4 does twice as many.
Level fastest_level() noexcept;
/// The best one that can be entered, entered.
Level enter_fastest_level() noexcept;
/// Whether this processor has vpdpbusd on whole registers; needs level avx3.
bool has_vpdpbusd() noexcept;
/// Whether this build and processor have sdot; needs level neon.
bool has_sdot() noexcept;
/// Whether kernels that stream memory shall ask for it early. Measured for the decode: on a
/// Sapphire Rapids 1.2 times the speed in bf16, 1.5 times in 8 bits; on a Zen 4 every way of it
/// cost speed.
bool prefetch_helps() noexcept;

}  // namespace grouphead::kernels
