#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "testing/cases.h"
#include "testing/limits.h"
#include "testing/problem.h"

namespace grouphead::testing {

struct MeasureOptions {
  Index num_rounds = 9;      ///< at least 7
  double min_seconds = 0.1;  ///< of the case in each round: short runs are repeated
};

/// Wall-clock figures of warm runs. Each round measures the machine's limits, then the case, on the
/// next of its input sets.
struct Measurement {
  Problem problem{};
  int num_threads = 0;
  Isa isa = Isa::ref;
  Index num_rounds = 0;
  double median_ms = 0, min_ms = 0;
  double mad_ms = 0;  ///< median distance from the median
  double gflops = 0;  ///< of useful work
  double gb_s = 0;    ///< of operands, each counted once
  double limit_gflops = 0, limit_gb_s = 0;
  /// Median over the rounds of rate / limit of the same round: bytes for decode, else flops.
  double fraction = 0;
  std::optional<double> tokens_per_s{};
  Index peak_bytes = 0;     ///< beyond inputs and results
  Index rotated_bytes = 0;  ///< of all input sets, which the runs take in turn, and of the results
  Index cache_bytes = 0;    ///< last-level cache; decode rotates more than that up to 2 GiB
  double foreign_cpu = 0;   ///< cores that other processes took meanwhile; -1: unknown
};

/// One round's figures.
struct Round {
  double seconds = 0;  ///< of one run
  double limit_gflops = 0, limit_gb_s = 0;
  double fraction = 0;
  double foreign_cpu = 0;
};

/// A problem that is ready to be measured round by round, between which a caller may do something
/// else: wait for another program, to take turns with it.
class Bench {
 public:
  /// Makes the inputs and runs once, so that caches and threads are warm. Errors: ConfigError.
  Bench(const Problem& problem, const MeasureOptions& options, Limits& limits);

  Round round();
  /// Of all rounds so far, at least one.
  Measurement result() const;

 private:
  double limit_gflops();
  double limit_gb_s();

  Problem problem_;
  MeasureOptions options_;
  Limits& limits_;
  Context ctx_;
  std::unique_ptr<Case> job_;
  Index before_bytes_;
  std::vector<Round> rounds_;
};

/// After each round `stop` says whether that was the last one. Errors: ConfigError.
Measurement measure(const Problem& problem, const MeasureOptions& options, Limits& limits,
                    const std::function<bool()>& stop = {});

/// One line of JSON.
std::string to_json(const Measurement& m);
std::string to_json(const Round& round);
/// The same for people.
std::string to_line(const Measurement& m);

}  // namespace grouphead::testing
