#include "testing/limits.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <fstream>
#include <string>

#include "core/context_impl.h"
#include "kernels/cpu/limits.h"

namespace grouphead::testing {
namespace {

constexpr Index kMebibyte = Index{1} << 20;
constexpr Index kReadUnit = kMebibyte / static_cast<Index>(sizeof(float));  // floats
constexpr Index kPart = 64 * kMebibyte / static_cast<Index>(sizeof(float));
constexpr Index kUnitsPerThread = 4;
constexpr int kRounds = 9;
constexpr double kRoundSeconds = 0.03;

const kernels::LimitKernels& kernels_of(Context& ctx) {
  return kernels::limit_kernels(static_cast<kernels::Level>(ctx.isa()));
}

/// Somewhere to put results that nobody reads, so that they have to be computed.
std::atomic<float> sink{0};

double multiply_add_gflops(Context& ctx, const kernels::MultiplyAddLimit& limit, double seconds) {
  const Index units = kUnitsPerThread * ctx.num_threads();
  // About a twentieth of a millisecond a unit at 100 GFLOP/s: units are drawn as threads come free.
  const Index laps = 5'000'000 / limit.flops_per_lap + 1;
  double work = 0;
  const double start = now_seconds();
  double elapsed = 0;
  do {
    ctx.impl().parallel_for(units, [&](Index, int) { sink = limit.run(laps); });
    work += static_cast<double>(units * laps * limit.flops_per_lap);
    elapsed = now_seconds() - start;
  } while (elapsed < seconds);
  return work / elapsed * 1e-9;
}

double read_seconds(Context& ctx, const float* data, Index count) {
  const kernels::LimitKernels& kernels = kernels_of(ctx);
  const double start = now_seconds();
  ctx.impl().parallel_for((count + kReadUnit - 1) / kReadUnit, [&](Index unit, int) {
    const Index begin = unit * kReadUnit;
    sink = kernels.read_sum(data + begin, std::min(kReadUnit, count - begin));
  });
  return now_seconds() - start;
}

/// Seconds of all CPUs that were not idle, waiting for devices included in idle; stolen time is
/// somebody else's work. -1 without /proc/stat.
double busy_seconds() {
  std::ifstream stat("/proc/stat");
  std::string name;
  double user = 0, nice = 0, system = 0, idle = 0, wait = 0, irq = 0, soft_irq = 0, steal = 0;
  if (!(stat >> name >> user >> nice >> system >> idle >> wait >> irq >> soft_irq >> steal)) {
    return -1;
  }
  return (user + nice + system + irq + soft_irq + steal) /
         static_cast<double>(sysconf(_SC_CLK_TCK));
}

double own_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

}  // namespace

double now_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

Index last_level_cache_bytes() {
#ifdef _SC_LEVEL3_CACHE_SIZE
  return std::max<Index>(0, sysconf(_SC_LEVEL3_CACHE_SIZE));
#else
  return 0;
#endif
}

double Limits::measure_gflops(Context& ctx, double seconds) {
  return multiply_add_gflops(ctx, kernels_of(ctx).multiply_add, seconds);
}

std::optional<double> Limits::measure_bf16_gflops(Context& ctx, double seconds) {
  const auto level = static_cast<kernels::Level>(ctx.isa());
  const kernels::MultiplyAddLimit* const limit = kernels::bf16_limit(level);
  if (limit == nullptr) return std::nullopt;
  return multiply_add_gflops(ctx, *limit, seconds);
}

double Limits::measure_gb_s(Context& ctx, std::span<const ConstView> operands) const {
  double seconds = 0;
  double bytes = 0;
  for (const ConstView& operand : operands) {
    const Index count = operand.bytes() / static_cast<Index>(sizeof(float));
    seconds += read_seconds(ctx, static_cast<const float*>(operand.raw()), count);
    bytes += static_cast<double>(operand.bytes());
  }
  return bytes / seconds * 1e-9;
}

double Limits::measure_gb_s(Context& ctx) {
  if (!stream_.has_value()) {
    const Index wanted = last_level_cache_bytes() / 4 * 5 / static_cast<Index>(sizeof(float));
    const Index parts = std::clamp<Index>((wanted + kPart - 1) / kPart, 2, 16);
    stream_ = Tensor::zeros({parts, kPart});
  }
  const ConstView part = stream_.view().slice(0, next_part_, next_part_ + 1);
  next_part_ = (next_part_ + 1) % stream_.dim(0);
  return measure_gb_s(ctx, std::span(&part, 1));
}

MachineLimits measure_limits(Context& ctx, Limits& limits) {
  std::vector<double> gflops, bf16_gflops, gb_s;
  const ForeignCpu foreign;
  for (int i = 0; i < kRounds; ++i) {
    gflops.push_back(limits.measure_gflops(ctx, kRoundSeconds));
    if (const auto bf16 = limits.measure_bf16_gflops(ctx, kRoundSeconds)) {
      bf16_gflops.push_back(*bf16);
    }
    gb_s.push_back(limits.measure_gb_s(ctx));
  }
  MachineLimits result{.num_threads = ctx.num_threads(), .isa = ctx.isa()};
  result.gflops = median(gflops);
  if (!bf16_gflops.empty()) result.bf16_gflops = median(bf16_gflops);
  result.gb_s = median(gb_s);
  result.foreign_cpu = foreign.cores();
  return result;
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  if (values.size() % 2 == 1) return *middle;
  return (*middle + *std::max_element(values.begin(), middle)) / 2;
}

ForeignCpu::ForeignCpu() : start_(now_seconds()), busy_(busy_seconds()), own_(own_seconds()) {}

double ForeignCpu::cores() const {
  const double busy = busy_seconds();
  const double elapsed = now_seconds() - start_;
  if (busy < 0 || busy_ < 0 || elapsed <= 0) return -1;
  return std::max(0.0, (busy - busy_ - (own_seconds() - own_)) / elapsed);
}

}  // namespace grouphead::testing
