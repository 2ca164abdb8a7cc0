#include "testing/measure.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>

#include "core/check.h"
#include "grouphead/core/version.h"

namespace grouphead::testing {
namespace {

constexpr Index kMinRounds = 7;
constexpr Index kMaxSets = 64;
constexpr double kMaxRotatedBytes = 2.0 * (Index{1} << 30);

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

bool is_bound_by_bytes(const Problem& problem) { return problem.operation == Operation::decode; }

std::vector<double> each(const std::vector<Round>& rounds, double Round::*figure) {
  std::vector<double> values;
  for (const Round& round : rounds) values.push_back(round.*figure);
  return values;
}

}  // namespace

Bench::Bench(const Problem& problem, const MeasureOptions& options, Limits& limits)
    : problem_(problem),
      options_(options),
      limits_(limits),
      ctx_(context_options(problem)),
      job_(make_case(ctx_, problem, count_input_sets(problem))),
      before_bytes_(ctx_.memory().in_use_bytes) {
  ctx_.reset_memory_peak();
  round();  // warms caches and threads up
  rounds_.clear();
}

double Bench::limit_gflops() {
  const double seconds = options_.min_seconds / 4;
  if (problem_.dtype == Dtype::bf16) {
    if (const auto gflops = limits_.measure_bf16_gflops(ctx_, seconds)) return *gflops;
  }
  return limits_.measure_gflops(ctx_, seconds);
}

double Bench::limit_gb_s() {
  const std::vector<ConstView> operands = job_->take_operands();
  return operands.empty() ? limits_.measure_gb_s(ctx_) : limits_.measure_gb_s(ctx_, operands);
}

/// Limits before and after the case, which is thus interleaved with them. The better ones count: a
/// process that was stopped before may start slowly.
Round Bench::round() {
  Round round;
  const ForeignCpu foreign;
  round.limit_gflops = limit_gflops();
  round.limit_gb_s = limit_gb_s();
  Index runs = 0;
  double elapsed = 0;
  const double start = now_seconds();
  do {
    job_->run();
    ++runs;
    elapsed = now_seconds() - start;
  } while (elapsed < options_.min_seconds);
  round.limit_gflops = std::max(round.limit_gflops, limit_gflops());
  round.limit_gb_s = std::max(round.limit_gb_s, limit_gb_s());
  round.foreign_cpu = foreign.cores();
  round.seconds = elapsed / static_cast<double>(runs);
  round.fraction = is_bound_by_bytes(problem_)
                       ? job_->bytes() / round.seconds * 1e-9 / round.limit_gb_s
                       : count_flops(problem_) / round.seconds * 1e-9 / round.limit_gflops;
  rounds_.push_back(round);
  return round;
}

Measurement Bench::result() const {
  Measurement m;
  m.problem = problem_;
  m.num_threads = ctx_.num_threads();
  m.isa = ctx_.isa();
  m.num_rounds = static_cast<Index>(rounds_.size());
  const std::vector<double> times = each(rounds_, &Round::seconds);
  const double seconds = median(times);
  m.median_ms = 1e3 * seconds;
  m.min_ms = 1e3 * *std::min_element(times.begin(), times.end());
  m.mad_ms = 1e3 * median_distance(times, seconds);
  m.gflops = count_flops(problem_) / seconds * 1e-9;
  m.gb_s = job_->bytes() / seconds * 1e-9;
  m.limit_gflops = median(each(rounds_, &Round::limit_gflops));
  m.limit_gb_s = median(each(rounds_, &Round::limit_gb_s));
  m.fraction = median(each(rounds_, &Round::fraction));
  if (const Index tokens = count_tokens(problem_)) {
    m.tokens_per_s = static_cast<double>(tokens) / seconds;
  }
  m.peak_bytes = ctx_.memory().peak_bytes - before_bytes_;
  m.rotated_bytes = before_bytes_;
  m.cache_bytes = last_level_cache_bytes();
  const std::vector<double> foreign = each(rounds_, &Round::foreign_cpu);
  m.foreign_cpu =
      std::accumulate(foreign.begin(), foreign.end(), 0.0) / static_cast<double>(foreign.size());
  return m;
}

Measurement measure(const Problem& problem, const MeasureOptions& options, Limits& limits,
                    const std::function<bool()>& stop) {
  if (options.num_rounds < kMinRounds || !(options.min_seconds > 0)) {
    core::throw_config_error("bench", "rounds and min-time",
                             fmt::format("{} rounds or more, longer than 0 s", kMinRounds),
                             fmt::format("{} of {} s", options.num_rounds, options.min_seconds));
  }
  Bench bench(problem, options, limits);
  for (Index i = 0; i < options.num_rounds; ++i) {
    bench.round();
    if (stop && stop()) break;
  }
  return bench.result();
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

std::string to_json(const Round& round) {
  const nlohmann::ordered_json json = {{"ms", 1e3 * round.seconds},
                                       {"limit_gflops", round.limit_gflops},
                                       {"limit_gb_s", round.limit_gb_s},
                                       {"fraction", round.fraction},
                                       {"foreign_cpu", round.foreign_cpu}};
  return json.dump();
}

std::string to_line(const Measurement& m) {
  const bool is_short = m.median_ms < 1;
  const double scale = is_short ? 1e3 : 1;
  std::string text =
      fmt::format("{}: {:.3f} {} (min {:.3f}, mad {:.3f})", to_string(m.problem),
                  scale * m.median_ms, is_short ? "us" : "ms", scale * m.min_ms, scale * m.mad_ms);
  if (m.tokens_per_s) text += fmt::format(", {:.0f} tokens/s", *m.tokens_per_s);
  if (is_bound_by_bytes(m.problem)) {
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

}  // namespace grouphead::testing
