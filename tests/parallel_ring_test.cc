#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <functional>
#include <new>
#include <thread>

#include "parallel/ring_plan.h"
#include "ring_support.h"
#include "thread_communicator.h"

namespace grouphead {
namespace {

using testing_support::error_of;
using testing_support::largest_difference;
using testing_support::LetterBoxes;
using testing_support::parts_of;
using testing_support::ring_inputs;
using testing_support::ring_results;
using testing_support::RingCase;
using testing_support::RingResults;
using testing_support::run_processes;
using testing_support::same_bits;
using testing_support::ThreadCommunicator;
using testing_support::whole_results;

ContextOptions one_thread() { return {.num_threads = 1}; }

void expect_those_of_one_process(const RingCase& c, Dtype dtype, int size, double bound) {
  const testing_support::AttentionInputs in = ring_inputs(c, dtype);
  Context ctx(one_thread());
  const RingResults whole = whole_results(ctx, c, in);
  run_processes(size, [&](std::shared_ptr<Communicator> job) {
    Context own_ctx(one_thread());
    const RingResults got = ring_results(own_ctx, *job, c, in);
    const RingResults want = parts_of(whole, ring_share(c.T, job->rank(), size));
    for (std::size_t i = 0; i < got.all().size(); ++i) {
      EXPECT_LE(largest_difference(*got.all()[i], *want.all()[i]), bound)
          << "result " << i << " of process " << job->rank() << " of " << size;
    }
  });
}

// In groups of one to five processes, in both types.
class Rings : public ::testing::TestWithParam<int> {
 protected:
  static void check(const RingCase& c) {
    expect_those_of_one_process(c, Dtype::f32, GetParam(), 1e-5);
    // Slopes and sinks would be of the operands' type.
    if (!c.options.alibi_slopes.has_value()) {
      expect_those_of_one_process(c, Dtype::f64, GetParam(), 1e-13);
    }
  }
};

TEST_P(Rings, AllKeys) { check({2, 120, 4, 2, 16, 8}); }

TEST_P(Rings, Causal) { check({1, 240, 6, 2, 16, 24, {.causal = true}}); }

TEST_P(Rings, CausalWithOffsets) {
  for (const Index offset : {-70, -3, 5, 1000}) {
    check({1, 120, 2, 1, 8, 8, {.causal = true, .causal_offset = offset}});
  }
}

TEST_P(Rings, Windows) {
  for (const Index width : {0, 7, 60}) {
    check({1, 120, 2, 2, 8, 8, {.causal = true, .window_left = width}});
    check({1, 120, 2, 2, 8, 8, {.window_left = width, .window_right = 2 * width}});
    check({1, 120, 2, 2, 8, 8, {.causal_offset = 30, .window_right = -width}});
  }
}

TEST_P(Rings, ScaleSoftcapAndSlopes) {
  const Tensor slopes = Tensor::from({4}, {0.5F, 0.25F, 0.125F, 0.0625F});
  check({1, 120, 4, 2, 8, 8, {.scale = 0.7, .causal = true, .softcap = 5}});
  check({1, 120, 4, 2, 8, 8, {.causal = true, .softcap = 5, .alibi_slopes = slopes}});
  check({2, 120, 4, 4, 8, 8, {.alibi_slopes = slopes}});
}

// Sequences within a block, over two and over many; empty ones; queries behind the last one.
TEST_P(Rings, PackedSequences) {
  const std::vector<std::vector<std::int32_t>> packings = {
      {0, 120}, {0, 3, 3, 50, 61, 120}, {0, 10, 110}, {0, 12, 24, 36, 48, 100, 101}, {0}};
  for (const auto& bounds : packings) {
    const Tensor segments =
        Tensor::from({static_cast<Index>(bounds.size())}, std::span<const std::int32_t>(bounds));
    check({1, 120, 2, 1, 8, 8, {.segments = segments}});
    check({1, 120, 2, 1, 8, 8, {.causal = true, .segments = segments}});
    check({1,
           120,
           2,
           1,
           8,
           8,
           {.causal = true, .causal_offset = 2, .window_left = 9, .segments = segments}});
  }
}

TEST_P(Rings, NoPositionsAtAll) { check({1, 0, 2, 1, 8, 8, {.causal = true}}); }

INSTANTIATE_TEST_SUITE_P(Sizes, Rings, ::testing::Range(1, 6));

// Blocks that are shorter than a tile of keys, and longer ones, by each level's kernels.
TEST(Ring, EveryInstructionSet) {
  for (const Isa isa : testing_support::isas_under_test()) {
    for (const Index positions : {96, 1200}) {
      const RingCase c{1, positions, 4, 2, 24, 16, {.causal = true}};
      const testing_support::AttentionInputs in = ring_inputs(c, Dtype::f32);
      Context ctx({.num_threads = 1, .isa = isa});
      const RingResults whole = whole_results(ctx, c, in);
      run_processes(3, [&](std::shared_ptr<Communicator> job) {
        Context own_ctx({.num_threads = 1, .isa = isa});
        const RingResults got = ring_results(own_ctx, *job, c, in);
        const RingResults want = parts_of(whole, ring_share(positions, job->rank(), 3));
        for (std::size_t i = 0; i < got.all().size(); ++i) {
          EXPECT_LE(largest_difference(*got.all()[i], *want.all()[i]), 1e-5)
              << "result " << i << ", " << name_of(isa);
        }
      });
    }
  }
}

TEST(Ring, LargeLogitsKeepTheirDigits) {
  // Keys of one block weigh all, then those of another: the merge has to shift both ways.
  const RingCase c{1, 64, 1, 1, 8, 8, {.scale = 200.0}};
  expect_those_of_one_process(c, Dtype::f64, 4, 1e-10);
}

TEST(Ring, StridedOperands) {
  const RingCase c{2, 48, 4, 2, 8, 8, {.causal = true}};
  const testing_support::AttentionInputs in = ring_inputs(c, Dtype::f32);
  run_processes(3, [&](std::shared_ptr<Communicator> job) {
    Context ctx(one_thread());
    const RingResults dense = ring_results(ctx, *job, c, in);
    const RingShare share = ring_share(c.T, job->rank(), job->size());
    using testing_support::Strided;
    Strided q(ring_part(in.q, 1, share)), k(ring_part(in.k, 1, share)),
        v(ring_part(in.v, 1, share)), d_out(ring_part(in.d_out, 1, share));
    Strided out(d_out.view().shape(), Dtype::f32), d_q(q.view().shape(), Dtype::f32),
        d_k(k.view().shape(), Dtype::f32), d_v(v.view().shape(), Dtype::f32);
    Tensor statistics({2, c.B, c.Hq, share.positions()});
    ring_attention(ctx, *job, q.view(), k.view(), v.view(), c.options, out.view(),
                   {.statistics = statistics});
    ring_attention_backward(
        ctx, *job, q.view(), k.view(), v.view(), c.options, out.view(), statistics,
        {.d_out = d_out.view(), .d_q = d_q.view(), .d_k = d_k.view(), .d_v = d_v.view()});
    EXPECT_TRUE(same_bits(out.dense(), dense.out));
    EXPECT_TRUE(same_bits(d_q.dense(), dense.d_q));
    EXPECT_TRUE(same_bits(d_k.dense(), dense.d_k));
    EXPECT_TRUE(same_bits(d_v.dense(), dense.d_v));
    for (Strided* x : {&out, &d_q, &d_k, &d_v}) EXPECT_TRUE(x->guards_are_intact());
  });
}

TEST(Ring, TheSameBitsInEveryRunAndForAnyNumberOfThreads) {
  const testing_support::ManyThreads many;
  const RingCase c{1, 1024, 4, 2, 32, 32, {.causal = true}};
  const testing_support::AttentionInputs in = ring_inputs(c, Dtype::f32);
  std::vector<RingResults> first(2);
  for (const int threads : testing_support::ManyThreads::kCounts) {
    run_processes(2, [&](std::shared_ptr<Communicator> job) {
      Context ctx({.num_threads = threads});
      const RingResults got = ring_results(ctx, *job, c, in);
      RingResults& want = first[static_cast<std::size_t>(job->rank())];
      if (!want.out.has_value()) want = got;
      for (std::size_t i = 0; i < got.all().size(); ++i) {
        EXPECT_TRUE(same_bits(*got.all()[i], *want.all()[i])) << i;
      }
    });
  }
}

// ---- What is sent and computed

TEST(RingPlan, CausalWorkIsTheSameForAllProcesses) {
  const Tensor q({1, 6, 1, 4});  // 4 processes, blocks of 3
  const AttentionOptions options{.causal = true};
  const parallel::RingPlan plan(options, q, 3, 4);
  for (int rank = 0; rank < 4; ++rank) {
    for (int other = 0; other < 4; ++other) {
      int calls = 0;
      for (const Index a : plan.blocks_of(rank)) {
        for (const Index b : plan.blocks_of(other)) calls += plan.call(a, b) ? 1 : 0;
      }
      EXPECT_EQ(calls, rank == other ? 3 : 2);  // of the 3, two see half of their keys
    }
  }
}

TEST(RingPlan, AWindowMeetsItsNeighboursAlone) {
  const Tensor q({1, 20, 1, 4});
  const AttentionOptions options{.causal = true, .window_left = 10};
  const parallel::RingPlan plan(options, q, 10, 4);
  for (Index a = 0; a < 8; ++a) {
    for (Index b = 0; b < 8; ++b) {
      EXPECT_EQ(plan.call(a, b).has_value(), b == a || b == a - 1) << a << " " << b;
    }
  }
}

TEST(RingPlan, PackedSequencesMeetWithinThemselves) {
  const Tensor q({1, 20, 1, 4});
  const Tensor segments =
      Tensor::from({4}, std::span<const Index>(std::vector<Index>{0, 25, 30, 75}));
  const AttentionOptions options{.segments = segments};
  const parallel::RingPlan plan(options, q, 10, 4);
  for (Index a = 0; a < 8; ++a) {
    for (Index b = 0; b < 8; ++b) {
      const bool first = a <= 2 && b <= 2;
      const bool third = a >= 3 && b >= 3;
      EXPECT_EQ(plan.call(a, b).has_value(), first || third) << a << " " << b;
    }
  }
  const auto call = plan.call(7, 3);
  EXPECT_EQ(call->end_query, 5);
  EXPECT_EQ(call->options.causal_offset, 40);
}

// Bytes that all processes send, forward and backward, in blocks of keys and values.
double blocks_sent(const RingCase& c, int size) {
  const testing_support::AttentionInputs in = ring_inputs(c, Dtype::f32);
  std::atomic<Index> bytes = 0;
  run_processes(size, [&](std::shared_ptr<Communicator> job) {
    Context ctx(one_thread());
    ring_results(ctx, *job, c, in);
    bytes += job->bytes_sent();
  });
  const Index block = c.B * c.T / (2 * size) * c.Hkv * (c.D + c.Dv) * 4;
  return static_cast<double>(bytes) / static_cast<double>(block);
}

TEST(Ring, SendsTheBlocksThatAreSeen) {
  // Forward once, backward there and back: three times what is seen of others.
  // Without causality all see both blocks of all others.
  EXPECT_EQ(blocks_sent({1, 80, 2, 1, 8, 8}, 4), 3 * 4 * 3 * 2);
  // With it a process sees one block of those before it, and two of those behind it.
  EXPECT_EQ(blocks_sent({1, 80, 2, 1, 8, 8, {.causal = true}}, 4), 3 * (6 * 1 + 6 * 2));
  // A window of a block sees the block before: block 0 sees no other; block 4 sees block 3 of its
  // own process.
  EXPECT_EQ(blocks_sent({1, 80, 2, 1, 8, 8, {.causal = true, .window_left = 10}}, 4), 3 * 6);
  EXPECT_EQ(blocks_sent({1, 80, 2, 1, 8, 8}, 1), 0);
}

TEST(Ring, MemoryOfAProcessIsItsShare) {
  const auto peak = [](Index positions, int size) {
    const RingCase c{1, positions, 4, 2, 32, 32, {.causal = true}};
    const testing_support::AttentionInputs in = ring_inputs(c, Dtype::f32);
    std::atomic<Index> most = 0;
    run_processes(size, [&](std::shared_ptr<Communicator> job) {
      Context ctx(one_thread());
      ring_results(ctx, *job, c, in);
      Index before = most;
      while (before < ctx.memory().peak_bytes &&
             !most.compare_exchange_weak(before, ctx.memory().peak_bytes)) {
      }
    });
    return static_cast<double>(most);
  };
  const double share = 1024 * 2 * (32 + 32) * 4;  // keys and values of 1024 positions
  // The same share of longer and longer sequences takes the same memory,
  EXPECT_LE(peak(4096, 4), 1.01 * peak(2048, 2));
  EXPECT_LE(peak(8192, 8), 1.01 * peak(2048, 2));
  // which is some copies of it and of its queries, and what the kernels take for a block.
  EXPECT_LE(peak(4096, 4), 12 * share);
  // A sequence over more processes takes less of each.
  EXPECT_LE(peak(8192, 8), 0.3 * peak(8192, 2));
}

// ---- Beside each other

/// Two sides that wait for each other, for some time.
class Rendezvous {
 public:
  /// Comes by, and whether the other side did too.
  bool meet(std::atomic<bool>& own, const std::atomic<bool>& other) {
    own = true;
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!other && std::chrono::steady_clock::now() < end) {
      std::this_thread::sleep_for(std::chrono::microseconds(100));
    }
    return other;
  }
  std::atomic<bool> computes = false;
  std::atomic<bool> sends = false;
};

/// Computes when something is under way. One task after the other.
class WatchedThreads final : public Executor {
 public:
  explicit WatchedThreads(Rendezvous& place) : place_(place) {}
  int num_threads() const noexcept override { return 2; }  // one alone is not asked for
  void run(int count, void (*task)(void* data, int i), void* data) override {
    EXPECT_TRUE(place_.meet(place_.computes, place_.sends));
    for (int i = 0; i < count; ++i) task(data, i);
  }

 private:
  Rendezvous& place_;
};

/// Sends when something is computed.
class WatchedCommunicator final : public Communicator {
 public:
  WatchedCommunicator(Communicator& job, Rendezvous& place)
      : Communicator(job.rank(), job.size()), job_(job), place_(place) {}
  std::shared_ptr<Communicator> split(int color) override { return job_.split(color); }
  void cancel() noexcept override { job_.cancel(); }
  void abort(int exit_code) override { job_.abort(exit_code); }

 private:
  void do_send(std::span<const std::byte> bytes, int to) override { job_.send(bytes, to); }
  void do_receive(std::span<std::byte> bytes, int from) override { job_.receive(bytes, from); }
  void do_exchange(std::span<const std::byte> out, int to, std::span<std::byte> in,
                   int from) override {
    EXPECT_TRUE(place_.meet(place_.sends, place_.computes));
    job_.exchange(out, to, in, from);
  }

  Communicator& job_;
  Rendezvous& place_;
};

TEST(Ring, TheNextBlockComesWhileThisOneIsComputed) {
  const RingCase c{1, 800, 4, 2, 32, 32};
  const testing_support::AttentionInputs in = ring_inputs(c, Dtype::f32);
  run_processes(2, [&](std::shared_ptr<Communicator> job) {
    Rendezvous place;
    Context ctx({.executor = std::make_shared<WatchedThreads>(place)});
    WatchedCommunicator watched(*job, place);
    const RingShare share = ring_share(c.T, job->rank(), job->size());
    const Tensor q = ring_part(in.q, 1, share), k = ring_part(in.k, 1, share);
    Tensor out(q.shape());
    ring_attention(ctx, watched, q, k, k, c.options, out);
    EXPECT_TRUE(place.computes && place.sends);
  });
}

/// Memory for so many requests.
class ShortMemory final : public Allocator {
 public:
  explicit ShortMemory(int requests) : left_(requests) {}
  void* allocate(std::size_t bytes, std::size_t alignment) override {
    if (left_ == 0) throw std::bad_alloc();
    --left_;
    return ::operator new (bytes, std::align_val_t{alignment});
  }
  void deallocate(void* memory, std::size_t, std::size_t alignment) noexcept override {
    ::operator delete (memory, std::align_val_t{alignment});
  }

 private:
  int left_;
};

// Nobody but the ring cancels: the process that fails goes on.
void expect_cancelled(int requests,
                      const std::function<void(Context& ctx, Communicator& job)>& call) {
  run_processes(4, [&](std::shared_ptr<Communicator> job) {
    const auto call_and_meet = [&](Context& ctx) {
      call(ctx, *job);
      job->barrier();
    };
    Context ctx(one_thread());
    Context short_ctx({.num_threads = 1, .allocator = std::make_shared<ShortMemory>(requests)});
    if (job->rank() == 2) {
      EXPECT_THROW(call_and_meet(short_ctx), std::bad_alloc) << requests;
    } else {
      EXPECT_THROW(call_and_meet(ctx), Error) << requests;
    }
  });
}

TEST(Ring, AnErrorWhileBlocksAreUnderWayCancelsTheJob) {
  const Tensor q = Tensor::zeros({1, 16, 2, 8}), k = Tensor::zeros({1, 16, 1, 8});
  const Tensor statistics = Tensor::zeros({2, 1, 2, 16});
  // Before keys and values are sent, memory is taken four times, backward six times.
  for (const int later : {0, 1}) {
    expect_cancelled(4 + later, [&](Context& ctx, Communicator& job) {
      Tensor out(q.shape());
      ring_attention(ctx, job, q, k, k, {}, out);
    });
    expect_cancelled(6 + later, [&](Context& ctx, Communicator& job) {
      Tensor d_q(q.shape()), d_k(k.shape()), d_v(k.shape());
      ring_attention_backward(ctx, job, q, k, k, {}, q, statistics,
                              {.d_out = q, .d_q = d_q, .d_k = d_k, .d_v = d_v});
    });
  }
}

// ---- What is refused

TEST(Ring, RefusesWhatItDoesNotHave) {
  Context ctx(one_thread());
  const auto job = Communicator::alone();
  const Tensor q = Tensor::zeros({1, 8, 2, 4}), mask = Tensor::zeros({1, 8}, Dtype::boolean);
  const Tensor grid = Tensor::zeros({1, 1, 8, 8}), heads = Tensor::zeros({2});
  const Tensor numbers = Tensor::zeros({1}, Dtype::i64);
  Tensor out({1, 8, 2, 4});
  const auto error = [&](const AttentionOptions& options) {
    return error_of<ConfigError>([&] { ring_attention(ctx, *job, q, q, q, options, out); });
  };
  const auto text = [](const std::string& option) {
    return "[ring_attention] " + option + ": expected none in a ring of processes, got some";
  };
  EXPECT_EQ(error({.mask = grid}), text("mask"));
  EXPECT_EQ(error({.key_mask = mask}), text("key_mask"));
  EXPECT_EQ(error({.query_mask = mask}), text("query_mask"));
  EXPECT_EQ(error({.bias = grid}), text("bias"));
  EXPECT_EQ(error({.sinks = heads}), text("sinks"));
  EXPECT_EQ(error({.lengths = numbers}), text("lengths"));
  EXPECT_EQ(error({.segments = numbers, .key_segments = numbers}), text("key_segments"));
  EXPECT_EQ(error({.dropout_rate = 0.1}), text("dropout_rate"));
  EXPECT_EQ(error({.masked_rows = MaskedRows::uniform}),
            "[ring_attention] masked_rows: expected zeros in a ring of processes, got others");
  EXPECT_EQ(error({.softcap = -1}),
            "[ring_attention] softcap: expected a positive number, got -1.0");
}

TEST(Ring, RefusesShapesThatDoNotFit) {
  Context ctx(one_thread());
  const auto job = Communicator::alone();
  const Tensor q = Tensor::zeros({1, 8, 2, 4}), odd = Tensor::zeros({1, 7, 2, 4});
  const Tensor bits = Tensor::zeros({1, 8, 2, 4}, Dtype::bf16);
  Tensor out({1, 8, 2, 4});
  const auto error = [&](const Tensor& queries, const Tensor& keys) {
    return error_of<ShapeError>([&] { ring_attention(ctx, *job, queries, keys, keys, {}, out); });
  };
  EXPECT_EQ(error(odd, odd),
            "[ring_attention] q: expected an even number of positions, two blocks of "
            "ring_share(), got [1, 7, 2, 4]");
  EXPECT_EQ(error(q, odd), "[ring_attention] k: expected [1, 8, *, 4], got [1, 7, 2, 4]");
  EXPECT_EQ(error(bits, bits), "[ring_attention] q: expected f32 or f64, got bf16");
  EXPECT_EQ(error_of<ShapeError>([] { ring_share(12, 0, 4); }),
            "[ring_share] positions: expected a multiple of two for each of 4 processes, got 12");
  const Tensor statistics = Tensor::zeros({2, 1, 2, 8});
  EXPECT_EQ(error_of<ConfigError>([&] {
              Tensor d = Tensor::zeros({1, 8, 2, 4}), d_sinks = Tensor::zeros({2});
              ring_attention_backward(
                  ctx, *job, q, q, q, {}, out, statistics,
                  {.d_out = d, .d_q = d, .d_k = d, .d_v = d, .d_sinks = d_sinks});
            }),
            "[ring_attention_backward] d_sinks: expected none in a ring of processes, got some");
}

}  // namespace
}  // namespace grouphead
