#include "grouphead/core/context.h"

#include <gtest/gtest.h>
#include <tbb/global_control.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <new>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

#include "core/context_impl.h"
#include "grouphead/attention.h"

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
  core::ContextImpl& impl = ctx.impl();
  auto* small = impl.scratch<float>(0, 10);
  EXPECT_EQ(impl.scratch<float>(0, 5), small);
  EXPECT_NE(static_cast<void*>(impl.scratch<float>(1, 10)), static_cast<void*>(small));
  auto* large = impl.scratch<float>(0, 100000);
  large[99999] = 1.0F;
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(large) % 64, 0U);
}

// Tasks one after the other, the last one first, on the calling thread.
class OneByOne final : public Executor {
 public:
  explicit OneByOne(int threads) : threads_(threads) {}
  int num_threads() const noexcept override { return threads_; }
  void run(int count, void (*task)(void* data, int i), void* data) override {
    EXPECT_LE(count, threads_);
    for (int i = count - 1; i >= 0; --i) task(data, i);
    ++calls;
  }
  int calls = 0;

 private:
  int threads_;
};

class Threads final : public Executor {
 public:
  int num_threads() const noexcept override { return 3; }
  void run(int count, void (*task)(void* data, int i), void* data) override {
    std::vector<std::thread> threads;
    for (int i = 0; i < count; ++i) threads.emplace_back(task, data, i);
    for (std::thread& thread : threads) thread.join();
  }
};

TEST(Context, RunsOnAnExecutorOfTheCaller) {
  const Shape x{2, 70, 4, 16};
  Tensor q(x), out[3] = {Tensor(x), Tensor(x), Tensor(x)};
  for (Index i = 0; i < q.size(); ++i) q.data<float>()[i] = static_cast<float>(i % 11) / 7 - 0.5F;
  const auto one_by_one = std::make_shared<OneByOne>(4);
  const std::shared_ptr<Executor> executors[] = {nullptr, one_by_one, std::make_shared<Threads>()};
  for (int i = 0; i < 3; ++i) {
    Context ctx({.executor = executors[i]});
    attention(ctx, q, q, q, {.causal = true}, out[i]);
  }
  EXPECT_EQ(Context({.executor = one_by_one}).num_threads(), 4);
  EXPECT_EQ(Context({.num_threads = 2, .executor = one_by_one}).num_threads(), 2);
  EXPECT_EQ(Context({.num_threads = 9, .executor = one_by_one}).num_threads(), 4);
  EXPECT_GT(one_by_one->calls, 0);
  for (int i = 1; i < 3; ++i) {
    EXPECT_TRUE(
        std::equal(out[0].data<float>(), out[0].data<float>() + q.size(), out[i].data<float>()));
  }
}

TEST(Context, AnExecutorPassesErrorsOnAndHasThreads) {
  Context ctx({.executor = std::make_shared<Threads>()});
  EXPECT_THROW(ctx.impl().parallel_for(5,
                                       [](Index unit, int) {
                                         if (unit == 3) throw std::runtime_error("unit");
                                       }),
               std::runtime_error);
  try {
    Context none({.executor = std::make_shared<OneByOne>(0)});
    FAIL() << "no error";
  } catch (const ConfigError& error) {
    EXPECT_STREQ(error.what(), "[context] executor: expected 1 thread or more, got 0");
  }
}

class CountingAllocator final : public Allocator {
 public:
  void* allocate(std::size_t bytes, std::size_t alignment) override {
    held += static_cast<Index>(bytes);
    ++calls;
    return ::operator new (bytes, std::align_val_t{alignment});
  }
  void deallocate(void* memory, std::size_t bytes, std::size_t alignment) noexcept override {
    held -= static_cast<Index>(bytes);
    ::operator delete (memory, std::align_val_t{alignment});
  }
  std::atomic<Index> held{0};
  std::atomic<int> calls{0};
};

TEST(Context, TakesMemoryFromAnAllocatorOfTheCaller) {
  const auto allocator = std::make_shared<CountingAllocator>();
  Tensor outlives;
  {
    Context ctx({.num_threads = 2, .allocator = allocator});
    outlives = ctx.tensor({1 << 20});
    Tensor q = ctx.zeros({1, 40, 2, 16}), out = ctx.tensor(q.shape());
    attention(ctx, q, q, q, {}, out);
    EXPECT_EQ(allocator->held, ctx.memory().reserved_bytes);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(outlives.data<float>()) % 64, 0U);
    const int calls = allocator->calls;
    attention(ctx, q, q, q, {}, out);
    EXPECT_EQ(allocator->calls, calls) << "warm";
  }
  EXPECT_GE(allocator->held, 4 << 20);
  outlives = Tensor();
  EXPECT_EQ(allocator->held, 0);
}

TEST(Context, NamesOfUnknownValuesAreSafe) {
  EXPECT_EQ(name_of(static_cast<Isa>(77)), "unknown");
  EXPECT_EQ(name_of(static_cast<Isa>(-1)), "unknown");
  EXPECT_EQ(name_of(static_cast<Dtype>(1 << 20)), "unknown");
}

}  // namespace
}  // namespace grouphead
