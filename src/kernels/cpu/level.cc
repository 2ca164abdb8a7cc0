#include "kernels/cpu/level.h"

#include "kernels/cpu/targets.h"

#if HWY_ARCH_X86
#include <cpuid.h>
#endif
#if HWY_ARCH_ARM_A64 && defined(__linux__)
#include <sys/auxv.h>
#include <sys/prctl.h>
#endif
#if HWY_ARCH_X86_64 && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace grouphead::kernels {
namespace {

// Registers of cpuid's leaf 7.
struct Features {
  unsigned eax = 0, ecx = 0, edx = 0;
};
Features features([[maybe_unused]] unsigned subleaf) noexcept {
  Features found;
#if HWY_ARCH_X86
  unsigned ebx = 0;
  __get_cpuid_count(7, subleaf, &found.eax, &ebx, &found.ecx, &found.edx);
#endif
  return found;
}

bool is_intel() noexcept {
#if HWY_ARCH_X86
  static const bool is = [] {
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
    return __get_cpuid(0, &eax, &ebx, &ecx, &edx) != 0 && ebx == signature_INTEL_ebx;
  }();
  return is;
#else
  return false;
#endif
}

#if HWY_ARCH_X86_64 && defined(__linux__)
// Of arch_prctl, which Debian's headers lack: ARCH_GET_XCOMP_SUPP and ARCH_REQ_XCOMP_PERM.
constexpr long kGetSupported = 0x1021;
constexpr long kRequestPermission = 0x1023;
constexpr long kTileData = 18;
#endif

// Whether the system knows the tile registers; asks for nothing.
bool system_has_tiles() noexcept {
#if HWY_ARCH_X86_64 && defined(__linux__)
  std::uint64_t supported = 0;
  return syscall(SYS_arch_prctl, kGetSupported, &supported) == 0 && (supported >> kTileData & 1);
#else
  return false;
#endif
}

// Asks for them.
bool may_use_tiles() noexcept {
#if HWY_ARCH_X86_64 && defined(__linux__)
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

// Whether the processor has all of these extensions, bits of HWCAP.
[[maybe_unused]] bool has_extensions([[maybe_unused]] unsigned long bits) noexcept {
#if HWY_ARCH_ARM_A64 && defined(__linux__)
  return (getauxval(AT_HWCAP) & bits) == bits;
#else
  return false;
#endif
}

// Whether the processor has SVE, and vectors of the size that the kernels are compiled for.
bool has_sve() noexcept {
#if defined(GROUPHEAD_SVE_BITS) && defined(__linux__)
  if (!has_extensions(HWCAP_SVE)) return false;
  const int length = prctl(PR_SVE_GET_VL);
  return length >= 0 && (length & PR_SVE_VL_LEN_MASK) == GROUPHEAD_SVE_BITS / 8;
#else
  return false;
#endif
}

bool find_available(Level level) noexcept {
  const auto supported = static_cast<std::int64_t>(HWY_TARGETS & hwy::SupportedTargets());
  switch (level) {
    case Level::ref:
      return true;
    case Level::neon:  // every 64-bit ARM processor has it
      return (HWY_TARGETS & HWY_NEON) != 0;
    case Level::sve256:
      return has_sve();
    case Level::sse4:
      return (supported & HWY_SSE4) != 0;
    case Level::avx2:
      return (supported & HWY_AVX2) != 0;
    case Level::avx3:
      return (supported & HWY_AVX3) != 0;
    case Level::avx3_bf16:  // that the system saves the registers, avx3 has made sure of (xgetbv)
      return find_available(Level::avx3) && (features(1).eax >> 5 & 1) != 0;
    case Level::avx3_amx: {
      constexpr unsigned kBf16AndTiles = 1U << 22 | 1U << 24;
      return find_available(Level::avx3_bf16) &&
             (features(0).edx & kBf16AndTiles) == kBf16AndTiles && system_has_tiles();
    }
  }
  return false;
}

}  // namespace

bool level_available(Level level) noexcept {
  static const unsigned kAvailable = [] {  // a bit for each
    unsigned found = 0;
    for (const Level each : kLevels) {
      if (find_available(each)) found |= 1U << static_cast<unsigned>(each);
    }
    return found;
  }();
  return (kAvailable >> static_cast<unsigned>(level) & 1) != 0;
}

Level fastest_level() noexcept {
  Level fastest = Level::ref;
  for (const Level level : kLevels) {
    const bool is_left_out = level == Level::sve256 || (level == Level::avx3_bf16 && is_intel());
    if (level_available(level) && !is_left_out) fastest = level;
  }
  return fastest;
}

bool enter_level(Level level) noexcept {
  if (!level_available(level)) return false;
  if (level != Level::avx3_amx) return true;
  static const bool lent = may_use_tiles();
  return lent;
}

Level enter_fastest_level() noexcept {
  Level fastest = fastest_level();
  while (!enter_level(fastest) || (fastest == Level::avx3_bf16 && is_intel())) {
    fastest = static_cast<Level>(static_cast<int>(fastest) - 1);
  }
  return fastest;
}

bool prefetch_helps() noexcept { return is_intel(); }

bool has_sdot() noexcept {
#if GROUPHEAD_HAS_ARM_EXTENSIONS && defined(__linux__)
  static const bool has = has_extensions(HWCAP_ASIMDDP);
  return has;
#else
  return false;
#endif
}

bool has_vpdpbusd() noexcept {
  static const bool has = (features(0).ecx >> 11 & 1) != 0;
  return has;
}

}  // namespace grouphead::kernels
