#include "check/measure.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <vector>

#include "check/cases.h"
#include "core/check.h"
#include "grouphead/version.h"

namespace grouphead::check {
namespace {

constexpr Index kMinRounds = 7;
constexpr Index kMaxSets = 64;
constexpr double kMaxRotatedBytes = 2.0 * (Index{1} << 30);

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  if (values.size() % 2 == 1) return *middle;
  return (*middle + *std::max_element(values.begin(), middle)) / 2;
}

double median_distance(const std::vector<double>& values, double center) {
  std::vector<double> distances;
  for (const double x : values) distances.push_back(std::abs(x - center));
  return median(distances);
}

/// A decode step reads its cache once, so figures are only real with caches that are not in L3.
Index count_input_sets(const Problem& p) {
  if (p.operation != Operation::decode) return 2;
  const double wanted = 1.25 * static_cast<double>(last_level_cache_bytes());
  const auto sets = static_cast<Index>(std::min(wanted, kMaxRotatedBytes) / cache_bytes(p)) + 1;
  return std::clamp<Index>(sets, 2, kMaxSets);
}

struct Rounds {
  std::vector<double> seconds, gflops_limits, gb_s_limits, fractions;
};

/// Limits first, then the case, which is thus interleaved with them.
void add_round(Context& ctx, Case& job, const Problem& problem, const MeasureOptions& options,
               Limits& limits, Rounds& rounds) {
  const double gflops_limit = limits.measure_gflops(ctx, options.min_seconds / 4);
  const std::vector<ConstView> operands = job.take_operands();
  const double gb_s_limit =
      operands.empty() ? limits.measure_gb_s(ctx) : limits.measure_gb_s(ctx, operands);
  Index runs = 0;
  double elapsed = 0;
  const double start = now_seconds();
  do {
    job.run();
    ++runs;
    elapsed = now_seconds() - start;
  } while (elapsed < options.min_seconds);
  const double seconds = elapsed / static_cast<double>(runs);
  rounds.seconds.push_back(seconds);
  rounds.gflops_limits.push_back(gflops_limit);
  rounds.gb_s_limits.push_back(gb_s_limit);
  const bool by_bytes = problem.operation == Operation::decode;
  rounds.fractions.push_back(by_bytes ? job.bytes() / seconds * 1e-9 / gb_s_limit
                                      : count_flops(problem) / seconds * 1e-9 / gflops_limit);
}

}  // namespace

Measurement measure(const Problem& problem, const MeasureOptions& options, Limits& limits) {
  if (options.num_rounds < kMinRounds || !(options.min_seconds > 0)) {
    detail::throw_config_error("bench", "rounds and min-time",
                               fmt::format("{} rounds or more, longer than 0 s", kMinRounds),
                               fmt::format("{} of {} s", options.num_rounds, options.min_seconds));
  }
  Context ctx(context_options(problem));
  const std::unique_ptr<Case> job = make_case(ctx, problem, count_input_sets(problem));
  const Index before = ctx.memory().in_use_bytes;
  ctx.reset_memory_peak();
  Rounds rounds;
  add_round(ctx, *job, problem, options, limits, rounds);  // warms caches and threads up
  rounds = {};
  const ForeignCpu foreign;
  for (Index i = 0; i < options.num_rounds; ++i) {
    add_round(ctx, *job, problem, options, limits, rounds);
  }
  Measurement m;
  m.foreign_cpu = foreign.cores();
  m.problem = problem;
  m.num_threads = ctx.num_threads();
  m.isa = ctx.isa();
  m.num_rounds = options.num_rounds;
  const double seconds = median(rounds.seconds);
  m.median_ms = 1e3 * seconds;
  m.min_ms = 1e3 * *std::min_element(rounds.seconds.begin(), rounds.seconds.end());
  m.mad_ms = 1e3 * median_distance(rounds.seconds, seconds);
  m.gflops = count_flops(problem) / seconds * 1e-9;
  m.gb_s = job->bytes() / seconds * 1e-9;
  m.limit_gflops = median(rounds.gflops_limits);
  m.limit_gb_s = median(rounds.gb_s_limits);
  m.fraction = median(rounds.fractions);
  if (const Index tokens = count_tokens(problem)) {
    m.tokens_per_s = static_cast<double>(tokens) / seconds;
  }
  m.peak_bytes = ctx.memory().peak_bytes - before;
  m.rotated_bytes = before;
  m.cache_bytes = last_level_cache_bytes();
  return m;
}

std::string to_json(const Measurement& m) {
  nlohmann::ordered_json json = {{"problem", to_string(m.problem)},
                                 {"median_ms", m.median_ms},
                                 {"min_ms", m.min_ms},
                                 {"mad_ms", m.mad_ms},
                                 {"gflops", m.gflops},
                                 {"gb_s", m.gb_s},
                                 {"limit_gflops", m.limit_gflops},
                                 {"limit_gb_s", m.limit_gb_s},
                                 {"fraction", m.fraction}};
  if (m.tokens_per_s) json["tokens_per_s"] = *m.tokens_per_s;
  json["peak_bytes"] = m.peak_bytes;
  json["rotated_bytes"] = m.rotated_bytes;
  json["cache_bytes"] = m.cache_bytes;
  json["rounds"] = m.num_rounds;
  json["threads"] = m.num_threads;
  json["isa"] = std::string(grouphead::name_of(m.isa));
  json["foreign_cpu"] = m.foreign_cpu;
  json["version"] = GROUPHEAD_VERSION;
  return json.dump();
}

std::string to_line(const Measurement& m) {
  const bool by_bytes = m.problem.operation == Operation::decode;
  std::string text = fmt::format("{}: {:.3f} ms (min {:.3f}, mad {:.3f})", to_string(m.problem),
                                 m.median_ms, m.min_ms, m.mad_ms);
  if (m.tokens_per_s) text += fmt::format(", {:.0f} tokens/s", *m.tokens_per_s);
  if (by_bytes) {
    text += fmt::format(", {:.1f} of {:.1f} GB/s read", m.gb_s, m.limit_gb_s);
  } else {
    text += fmt::format(", {:.1f} of {:.1f} GFLOP/s", m.gflops, m.limit_gflops);
  }
  return text + fmt::format(
                    ": {:.3f}; {} threads, {}, {:.1f} MiB beside operands, others {:.2f} "
                    "cores",
                    m.fraction, m.num_threads, grouphead::name_of(m.isa),
                    static_cast<double>(m.peak_bytes) / (Index{1} << 20), m.foreign_cpu);
}

}  // namespace grouphead::check
