#pragma once

// What the tests share.

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "grouphead/core/context.h"
#include "testing/compare.h"

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
::testing::AssertionResult is_close(ConstView got, ConstView want, const Bound& bound,
                                    const std::string& problem) {
  const testing::Comparison result = testing::compare("result", got, want, bound);
  if (result.ok()) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure()
         << result.to_string() << "\n  grouphead check \"" << problem << "\"";
}

/// The same shape, type and bytes in both.
inline bool same_bits(ConstView a, ConstView b) {
  return a.shape() == b.shape() && a.dtype() == b.dtype() &&
         (a.bytes() == 0 ||
          std::memcmp(a.raw(), b.raw(), static_cast<std::size_t>(a.bytes())) == 0);
}

/// The first element, also of a temporary tensor.
template <class T>
T first(const Tensor& tensor) {
  return tensor.data<T>()[0];
}

/// The text of the error of type E that `call()` throws; "no error" when it returns.
template <class E, class Call>
std::string error_of(Call&& call) {
  try {
    call();
  } catch (const E& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace grouphead::testing_support

/// Fails when an element of `got` is further than `bound` from `want`.
#define CHECK_CLOSE(got, want, bound, problem) \
  EXPECT_TRUE(::grouphead::testing_support::is_close(got, want, bound, problem))
