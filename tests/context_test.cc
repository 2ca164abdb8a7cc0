#include "grouphead/core/context.h"

#include <gtest/gtest.h>
#include <tbb/global_control.h>

#include <atomic>
#include <chrono>
#include <mutex>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

#include "core/context_impl.h"

namespace grouphead {
namespace {

// Every unit waits until `count` of them run at once, so each needs a thread of its own.
void meet(std::atomic<int>& arrived, int count) {
  ++arrived;
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (arrived < count) {
    if (std::chrono::steady_clock::now() > give_up) throw std::runtime_error("a worker is missing");
    std::this_thread::yield();
  }
}

TEST(ParallelFor, RunsAsManyWorkersAsAsked) {
  const tbb::global_control limit(tbb::global_control::max_allowed_parallelism, 8);
  for (const int threads : {1, 2, 5}) {
    Context ctx({.num_threads = threads});
    ASSERT_EQ(ctx.num_threads(), threads);
    std::atomic<int> arrived{0};
    std::mutex mutex;
    std::set<std::thread::id> ids;
    std::set<int> slots;
    ctx.impl().parallel_for(threads, [&](Index, int slot) {
      meet(arrived, threads);
      const std::lock_guard lock(mutex);
      ids.insert(std::this_thread::get_id());
      slots.insert(slot);
    });
    EXPECT_EQ(static_cast<int>(ids.size()), threads);
    EXPECT_EQ(static_cast<int>(slots.size()), threads);
    EXPECT_GE(*slots.begin(), 0);
    EXPECT_LT(*slots.rbegin(), threads);
  }
}

TEST(ParallelFor, RunsEveryUnitOnce) {
  const tbb::global_control limit(tbb::global_control::max_allowed_parallelism, 8);
  Context ctx({.num_threads = 5});
  for (const Index units : {0, 1, 2, 7, 1000}) {
    std::vector<int> runs(static_cast<std::size_t>(units));
    ctx.impl().parallel_for(units,
                            [&](Index unit, int) { ++runs[static_cast<std::size_t>(unit)]; });
    for (const int count : runs) EXPECT_EQ(count, 1);
  }
}

TEST(ParallelFor, PassesExceptionsOn) {
  Context ctx({.num_threads = 2});
  EXPECT_THROW(ctx.impl().parallel_for(100,
                                       [](Index unit, int) {
                                         if (unit == 50) throw ShapeError("unit 50");
                                       }),
               ShapeError);
  Index sum = 0;
  ctx.impl().parallel_for(1, [&](Index, int) { ++sum; });
  EXPECT_EQ(sum, 1);
}

TEST(Context, ClampsThreadsToTheLimitOfTbb) {
  const tbb::global_control limit(tbb::global_control::max_allowed_parallelism, 1);
  EXPECT_EQ(Context({.num_threads = 64}).num_threads(), 1);
}

TEST(Scratch, IsKeptPerSlotAndGrows) {
  Context ctx({.num_threads = 2});
  detail::ContextImpl& impl = ctx.impl();
  auto* small = impl.scratch<float>(0, 10);
  EXPECT_EQ(impl.scratch<float>(0, 5), small);
  EXPECT_NE(static_cast<void*>(impl.scratch<float>(1, 10)), static_cast<void*>(small));
  auto* large = impl.scratch<float>(0, 100000);
  large[99999] = 1.0F;
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(large) % 64, 0U);
}

}  // namespace
}  // namespace grouphead
