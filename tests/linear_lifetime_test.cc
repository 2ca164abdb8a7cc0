// Products while a process ends, and after memory ran out in the first of them.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <new>

#include "allocation_counter.h"
#include "ops/linear.h"

namespace grouphead {
namespace {

// Large enough for oneDNN.
Tensor product_of_ones(Context& ctx, Index columns) {
  Tensor x({64, 256}), w({256, columns}), y({64, columns});
  std::fill_n(x.data<float>(), x.size(), 1.0F);
  std::fill_n(w.data<float>(), w.size(), 1.0F);
  ops::gemm(ctx, x, w, y);
  return y;
}

bool is_right(const Tensor& y) {
  for (Index i = 0; i < y.size(); ++i) {
    if (y.data<float>()[i] != 256.0F) return false;
  }
  return true;
}

// Older than any static object of oneDNN, so destroyed after them.
struct Last {
  bool is_used = false;
  ~Last() {
    if (!is_used) return;
    Context ctx({.num_threads = 1});
    std::fputs(is_right(product_of_ones(ctx, 256)) ? "right at exit\n" : "wrong\n", stderr);
  }
} last;

TEST(LinearLifetime, AStaticObjectsDestructorMayMultiply) {
  EXPECT_EXIT(
      {
        last.is_used = true;
        Context ctx({.num_threads = 1});
        product_of_ones(ctx, 256);
        std::exit(0);
      },
      ::testing::ExitedWithCode(0), "right at exit");
}

TEST(LinearLifetime, ACallThatFoundNoMemoryLeavesTheNextOneWhole) {
  EXPECT_EXIT(
      {
        // The first allocation alone is surely ours: oneDNN 2.6 itself does not survive a failure
        // while it makes a primitive.
        Context ctx({.num_threads = 1});
        testing_support::fail_allocation(0);
        try {
          product_of_ones(ctx, 256);
          std::_Exit(2);
        } catch (const std::bad_alloc&) {
        }
        testing_support::fail_allocation(-1);
        std::_Exit(is_right(product_of_ones(ctx, 256)) ? 0 : 1);
      },
      ::testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace grouphead
