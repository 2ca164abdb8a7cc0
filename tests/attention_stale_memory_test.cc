// What lay in memory before changes nothing, and does not slow attention down: numbers below the
// normal in it, such as small integers are, would make each product with them take a hundred cycles
// and more, unless kernels take them as zeros.

#include <csignal>
#include <cstdint>
#include <new>

#include "attention_support.h"

#if defined(__SSE2__) && defined(__linux__)
#include <ucontext.h>
#include <xmmintrin.h>

namespace grouphead {
namespace {

using testing_support::AttentionCase;
using testing_support::AttentionResults;
using testing_support::isas_under_test;
using testing_support::make_inputs;
using testing_support::run_backward;
using testing_support::run_forward;
using testing_support::same_bits;

constexpr unsigned kMaskSubnormal = 0x100;  // of MXCSR: such an operand raises no signal
volatile std::sig_atomic_t g_signals = 0;

void go_on_without_signals(int, siginfo_t*, void* context) {
  g_signals = g_signals + 1;
  static_cast<ucontext_t*>(context)->uc_mcontext.fpregs->mxcsr |= kMaskSubnormal;
}

// Memory full of one word.
class StaleMemory : public Allocator {
 public:
  explicit StaleMemory(std::uint32_t word) : word_(word) {}
  void* allocate(std::size_t bytes, std::size_t alignment) override {
    void* memory = ::operator new (bytes, std::align_val_t{alignment});
    std::fill_n(static_cast<std::uint32_t*>(memory), bytes / sizeof(std::uint32_t), word_);
    return memory;
  }
  void deallocate(void* memory, std::size_t, std::size_t alignment) noexcept override {
    ::operator delete (memory, std::align_val_t{alignment});
  }

 private:
  std::uint32_t word_;
};

// Whether an operand of run() was below the normal numbers and not taken as zero.
template <class Run>
bool meets_subnormals(const Run& run) {
  struct sigaction ours {};
  struct sigaction theirs {};
  ours.sa_sigaction = go_on_without_signals;
  ours.sa_flags = SA_SIGINFO;
  sigaction(SIGFPE, &ours, &theirs);
  g_signals = 0;
  const unsigned before = _mm_getcsr();
  _mm_setcsr(before & ~(kMaskSubnormal | 2U));  // 2: the flag of one that was met
  run();
  _mm_setcsr(before);
  sigaction(SIGFPE, &theirs, nullptr);
  return g_signals > 0;
}

constexpr std::uint32_t kLeastAboveZero = 1;
constexpr std::uint32_t kAllOnes = 0xffffffffU;  // NaN

Context context_on(std::uint32_t word, Isa isa) {
  return Context({.num_threads = 1, .isa = isa, .allocator = std::make_shared<StaleMemory>(word)});
}

const AttentionCase kStaleCases[] = {{2, 1, 1, 4, 2, 64, 64},
                                     {1, 3, 5, 4, 4, 20, 12},
                                     {1, 16, 16, 2, 2, 64, 64},
                                     {1, 70, 37, 2, 1, 8, 24, true, 2},
                                     {1, 9, 205, 2, 1, 16, 16, true, 190},
                                     {1, 1, 131, 4, 2, 32, 32}};

TEST(AttentionStaleMemory, KernelsTakeSubnormalsAsZero) {
  for (const Isa isa : isas_under_test()) {
    for (const AttentionCase& c : kStaleCases) {
      Context ctx = context_on(kLeastAboveZero, isa);
      const testing_support::AttentionInputs in = make_inputs(c, Dtype::f32);
      AttentionResults r;
      EXPECT_FALSE(meets_subnormals([&] { run_forward(ctx, c, in, r); }))
          << c.key("attention.fwd", Dtype::f32, isa);
      EXPECT_FALSE(meets_subnormals([&] { run_backward(ctx, c, in, r); }))
          << c.key("attention.bwd", Dtype::f32, isa);
    }
  }
}

void expect_independent(const AttentionCase& c, const AttentionOptions& options, Isa isa,
                        const std::string& what = "") {
  const testing_support::AttentionInputs in = make_inputs(c, Dtype::f32);
  AttentionResults results[2];
  for (const int i : {0, 1}) {
    Context ctx = context_on(i == 0 ? 0 : kAllOnes, isa);
    run_forward(ctx, c, options, in, results[i]);
    run_backward(ctx, options, in, results[i]);
  }
  for (Tensor AttentionResults::*x : {&AttentionResults::out, &AttentionResults::d_q,
                                      &AttentionResults::d_k, &AttentionResults::d_v}) {
    EXPECT_TRUE(same_bits(results[0].*x, results[1].*x))
        << c.key("attention.fwdbwd", Dtype::f32, isa) << what;
  }
}

TEST(AttentionStaleMemory, ResultsDoNotDependOnIt) {
  for (const Isa isa : isas_under_test()) {
    for (const AttentionCase& c : kStaleCases) expect_independent(c, c.options(), isa);
  }
}

TEST(AttentionStaleMemory, ResultsWithOptionsDoNotDependOnIt) {
  for (const Index S : {5, 37, 205}) {
    for (const Index T : {1, 3, 19}) {
      const AttentionCase c{1, T, S, 4, 2, 20, 12, true, S - T};
      AttentionOptions window = c.options();
      window.window_left = 3;
      window.softcap = 5;
      Tensor mask({1, 1, T, S}, Dtype::boolean);
      for (Index i = 0; i < mask.size(); ++i) mask.data<bool>()[i] = i * i % 7 > 1;
      for (const Isa isa : isas_under_test()) {
        expect_independent(c, window, isa, " with a window and a softcap");
        expect_independent(c, {.mask = mask}, isa, " with a mask");
      }
    }
  }
}

}  // namespace
}  // namespace grouphead
#endif
