// The level that is asked for is the level that runs.

#include "testing/isa.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "core/context_impl.h"
#include "kernels/cpu/limits.h"
#include "support.h"

namespace grouphead {
namespace {

using testing_support::isas_under_test;

std::string target_of(Isa isa) {
  return kernels::limit_kernels(static_cast<kernels::Level>(isa)).target;
}

TEST(Isa, EachLevelRunsTheKernelsCompiledForIt) {
  for (const Isa isa : isas_under_test()) {
    Context ctx({.num_threads = 1, .isa = isa});
    const std::string target = target_of(ctx.impl().isa());
    switch (isa) {
      case Isa::ref:
        EXPECT_EQ(target, "plain");
        break;
      case Isa::neon:
        EXPECT_EQ(target, "NEON");
        break;
      case Isa::sve256:
        EXPECT_EQ(target, "SVE_256");
        break;
      case Isa::sse4:
        EXPECT_EQ(target, "SSE4");
        break;
      case Isa::avx2:
        EXPECT_EQ(target, "AVX2");
        break;
      case Isa::avx3:
      case Isa::avx3_bf16:
      case Isa::avx3_amx:
        EXPECT_EQ(target, "AVX3");
        break;
    }
  }
}

TEST(Isa, OneDnnStaysAtTheForcedLevel) {
  const char* forced = std::getenv("GROUPHEAD_TEST_ISA");
  if (forced == nullptr) {
    // Nothing forced: oneDNN has all that the processor offers, and so have we.
    EXPECT_EQ(testing::onednn_level(), std::max(available_isas().back(), Isa::sse4));
    EXPECT_EQ(isas_under_test().size(), available_isas().size());
    return;
  }
  const Isa isa = isa_from_name(forced);
  ASSERT_EQ(isas_under_test(), std::vector<Isa>{isa});
  EXPECT_EQ(testing::onednn_level(), std::max(isa, Isa::sse4))
      << "run with ONEDNN_MAX_CPU_ISA=" << testing::onednn_cap(isa);
}

TEST(Limits, ReadsEveryElementAtEveryLevel) {
  std::vector<float> numbers(1037);
  float total = 0;
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    numbers[i] = static_cast<float>(i % 7);  // whole numbers: any order gives the same sum
    total += numbers[i];
  }
  for (const Isa isa : isas_under_test()) {
    const auto& limits = kernels::limit_kernels(static_cast<kernels::Level>(isa));
    EXPECT_EQ(limits.read_sum(numbers.data(), static_cast<std::int64_t>(numbers.size())), total);
    // Every chain ends at 2e-3, and a lap has 16 operations for each.
    EXPECT_NEAR(
        limits.multiply_add.run(100) / static_cast<float>(limits.multiply_add.flops_per_lap),
        1.25e-4F, 1e-6F);
    const auto* bf16 = kernels::bf16_limit(static_cast<kernels::Level>(isa));
    EXPECT_EQ(bf16 != nullptr, isa >= Isa::avx3_bf16);
    // Every chain grows by 2 x 0.25 an operation, a lap has 8, and 16 chains start at 0 to 15.
    if (isa == Isa::avx3_bf16) {
      EXPECT_EQ(bf16->run(2), 16 * 120 + 2 * 8 * 16 * 16 * 0.5F);
    }
    // Every number of a tile by 32 x 0.25, and a lap has 32 operations.
    if (isa == Isa::avx3_amx) {
      EXPECT_EQ(bf16->run(3), 3 * 32 * 256 * 8);
    }
  }
}

}  // namespace
}  // namespace grouphead
