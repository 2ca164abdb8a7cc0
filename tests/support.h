#pragma once

// What the tests share.

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "check/compare.h"
#include "grouphead/context.h"

namespace grouphead::testing_support {

/// The level that the environment forces by GROUPHEAD_TEST_ISA (such a run also caps oneDNN by
/// ONEDNN_MAX_CPU_ISA), else all that this processor can run.
inline std::vector<Isa> isas_under_test() {
  if (const char* forced = std::getenv("GROUPHEAD_TEST_ISA")) return {isa_from_name(forced)};
  return {available_isas().begin(), available_isas().end()};
}

/// Whether `got` is within `bound` of `want` (one number, or an f64 view with one per element).
/// A failure names the worst element and the problem that reruns it.
template <class Bound>
testing::AssertionResult is_close(ConstView got, ConstView want, const Bound& bound,
                                  const std::string& problem) {
  const check::Comparison result = check::compare("result", got, want, bound);
  if (result.ok()) return testing::AssertionSuccess();
  return testing::AssertionFailure()
         << result.to_string() << "\n  grouphead check \"" << problem << "\"";
}

}  // namespace grouphead::testing_support

/// Fails when an element of `got` is further than `bound` from `want`.
#define CHECK_CLOSE(got, want, bound, problem) \
  EXPECT_TRUE(::grouphead::testing_support::is_close(got, want, bound, problem))
