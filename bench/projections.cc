// The products of our projections next to oneDNN called directly, in turns: grouphead's
// ops/linear with packed weights against one call of oneDNN's matmul on its own threads, weights in
// the form it prefers. Forward, the input's gradient and the weights' gradient.
//
//   cmake --build build/release --target bench_projections
//   build/release/bench_projections [THREADS] [ROUNDS]

#include <fmt/format.h>
#include <time.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <oneapi/dnnl/dnnl.hpp>
#include <thread>
#include <unordered_map>
#include <vector>

#include "grouphead/core/context.h"
#include "ops/linear.h"
#include "testing/inputs.h"
#include "testing/limits.h"

extern "C" void omp_set_num_threads(int count);

namespace grouphead::bench {
namespace {

using dnnl::memory;

struct Sizes {
  Index rows, depth, columns;
};
constexpr Sizes kSizes[] = {{512, 256, 256},    {2048, 512, 512}, {2048, 1024, 4096},
                            {1024, 1024, 1024}, {8, 1024, 4096},  {1, 1024, 4096},
                            {8, 64, 64},        {4096, 256, 1024}};
constexpr double kTurnSeconds = 0.03;

double cpu_seconds() {
  timespec t{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

struct Times {
  std::vector<double> wall, cpu;

  void turn(const std::function<void()>& run) {
    run();  // its threads wake up
    int runs = 0;
    const double start = testing::now_seconds();
    const double cpu_start = cpu_seconds();
    double elapsed = 0;
    do {
      run();
      ++runs;
      elapsed = testing::now_seconds() - start;
    } while (elapsed < kTurnSeconds);
    wall.push_back(elapsed / runs);
    cpu.push_back((cpu_seconds() - cpu_start) / runs);
    // The other side's threads spin no longer when its turn starts.
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
};

/// y = x w, or y += x w, by one call, w in oneDNN's own form; either side may be transposed.
class Direct {
 public:
  Direct(Index rows, Index depth, Index columns, float* x, bool x_transposed, float* w,
         bool w_transposed, float* y, bool add, int num_threads)
      : num_threads_(num_threads), engine_(dnnl::engine::kind::cpu, 0), stream_(engine_) {
    omp_set_num_threads(num_threads);
    const auto matrix = [](Index r, Index c, bool transposed) {
      return memory::desc({r, c}, memory::data_type::f32,
                          transposed ? memory::dims{1, r} : memory::dims{c, 1});
    };
    const memory::desc from = matrix(rows, depth, x_transposed);
    const memory::desc to = matrix(rows, columns, false);
    const memory::desc any({depth, columns}, memory::data_type::f32, memory::format_tag::any);
    dnnl::post_ops post;
    if (add) post.append_sum(1.0F);
    dnnl::primitive_attr attributes;
    attributes.set_post_ops(post);
#if DNNL_VERSION_MAJOR >= 3
    const dnnl::matmul::primitive_desc desc(engine_, from, any, to, attributes);
#else
    const dnnl::matmul::primitive_desc desc(dnnl::matmul::desc(from, any, to), attributes, engine_);
#endif
    memory plain(matrix(depth, columns, w_transposed), engine_, w);
    memory packed(desc.weights_desc(), engine_);
    dnnl::reorder(plain, packed).execute(stream_, plain, packed);
    product_ = dnnl::matmul(desc);
    arguments_ = {{DNNL_ARG_SRC, memory(from, engine_, x)},
                  {DNNL_ARG_WEIGHTS, packed},
                  {DNNL_ARG_DST, memory(to, engine_, y)}};
  }

  void run() {
    omp_set_num_threads(num_threads_);
    product_.execute(stream_, arguments_);
  }

 private:
  int num_threads_;
  dnnl::engine engine_;
  dnnl::stream stream_;
  dnnl::matmul product_;
  std::unordered_map<int, memory> arguments_;
};

double median_of(const std::vector<double>& values) { return testing::median(values); }

void compare(const char* pass, const Sizes& s, int rounds, double flops,
             const std::function<void()>& ours, const std::function<void()>& direct) {
  Times mine, theirs;
  for (int i = 0; i < rounds; ++i) {
    mine.turn(ours);
    theirs.turn(direct);
  }
  const double seconds = median_of(mine.wall);
  fmt::print(
      "{:<8} {:>5} {:>5} {:>5} {:>9.4f} ms {:>6.1f} GFLOP/s  oneDNN {:>9.4f} ms  {:.3f} x as "
      "fast, {:.3f} in CPU time\n",
      pass, s.rows, s.depth, s.columns, 1e3 * seconds, flops / seconds * 1e-9,
      1e3 * median_of(theirs.wall), median_of(theirs.wall) / seconds,
      median_of(theirs.cpu) / median_of(mine.cpu));
}

void run(int threads, int rounds) {
  Context ctx({.num_threads = threads});
  for (const Sizes& s : kSizes) {
    Tensor x = testing::random_tensor(ctx, {s.rows, s.depth}, Dtype::f32, 1);
    Tensor w = testing::random_tensor(ctx, {s.depth, s.columns}, Dtype::f32, 2);
    Tensor y = testing::random_tensor(ctx, {s.rows, s.columns}, Dtype::f32, 3);
    Tensor d_x = ctx.zeros({s.rows, s.depth});
    Tensor d_w = ctx.zeros({s.depth, s.columns});
    Tensor out = ctx.zeros({s.rows, s.columns});
    ops::PackedWeights packed;
    const double flops = 2.0 * static_cast<double>(s.rows * s.depth * s.columns);
    Direct forward(s.rows, s.depth, s.columns, x.data<float>(), false, w.data<float>(), false,
                   out.data<float>(), false, threads);
    compare(
        "forward", s, rounds, flops,
        [&] { ops::linear_forward(ctx, x, w, packed, {}, ops::Epilogue::none, out); },
        [&] { forward.run(); });
    Direct input(s.rows, s.columns, s.depth, y.data<float>(), false, w.data<float>(), true,
                 d_x.data<float>(), false, threads);
    compare(
        "d_x", s, rounds, flops,
        [&] { ops::linear_backward_input(ctx, y, w, packed, ops::Write::overwrite, d_x); },
        [&] { input.run(); });
    Direct weights(s.depth, s.rows, s.columns, x.data<float>(), true, y.data<float>(), false,
                   d_w.data<float>(), true, threads);
    compare(
        "d_w", s, rounds, flops, [&] { ops::linear_backward_weights(ctx, x, y, d_w, {}); },
        [&] { weights.run(); });
  }
}

}  // namespace
}  // namespace grouphead::bench

int main(int argc, char** argv) {
  grouphead::bench::run(argc > 1 ? std::atoi(argv[1]) : 1, argc > 2 ? std::atoi(argv[2]) : 9);
}
