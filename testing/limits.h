#pragma once

#include <optional>
#include <span>
#include <vector>

#include "grouphead/core/context.h"

namespace grouphead::testing {

/// Seconds of a clock that only goes forward.
double now_seconds();

/// Bytes of the last-level cache as the system reports it; 0 where it does not. A virtual machine
/// may see a cache that it shares with others.
Index last_level_cache_bytes();

/// What the machine can do right now, with the threads and the level of a Context: measured again
/// beside every figure, because a shared machine changes from second to second.
class Limits {
 public:
  /// Multiply-adds in registers on all threads, counting 2 each.
  double measure_gflops(Context& ctx, double seconds);
  /// The same with bf16 factors and f32 sums; nothing where the level has no such instruction.
  std::optional<double> measure_bf16_gflops(Context& ctx, double seconds);
  /// Reading these operands once, front to back, on all threads.
  double measure_gb_s(Context& ctx, std::span<const ConstView> operands) const;
  /// The same for the next part of an own buffer that exceeds the last-level cache (up to 1 GiB).
  double measure_gb_s(Context& ctx);

 private:
  Tensor stream_{};
  Index next_part_ = 0;
};

/// Medians of some rounds on an otherwise idle Context.
struct MachineLimits {
  int num_threads = 0;
  Isa isa = Isa::ref;
  double gflops = 0;                    ///< multiply-adds of f32, counting 2 each
  std::optional<double> bf16_gflops{};  ///< of bf16 factors with f32 sums
  double gb_s = 0;                      ///< reading memory
  double foreign_cpu = 0;               ///< cores that other processes took; -1: unknown
};
MachineLimits measure_limits(Context& ctx, Limits& limits);

/// The middle value, or the mean of the middle two. At least one value.
double median(std::vector<double> values);

/// CPU that other processes take, from its construction on.
class ForeignCpu {
 public:
  ForeignCpu();
  /// Cores, on average; -1 where the system does not tell.
  double cores() const;

 private:
  double start_;
  double busy_;
  double own_;
};

}  // namespace grouphead::testing
