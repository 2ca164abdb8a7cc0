#pragma once

#include <mutex>
#include <string>
#include <vector>

#pragma GCC visibility push(default)
namespace grouphead {

/// What a training step did, and when.
struct TraceEvent {
  std::string name;
  bool is_communication = false;  ///< beside the computation, in a thread of its own
  double begin = 0;               ///< seconds since the step began
  double end = 0;
  int thread = 0;  ///< of communication: 0: sums of gradients, 1: keys and values of a sequence
};

/// Collects the events of one step. Threads: safe.
class StepTrace {
 public:
  /// Forgets all, and counts from now.
  void restart();
  double now() const;
  void add(TraceEvent event);
  std::vector<TraceEvent> events() const;
  /// Events as JSON's objects with commas between them, an array of which chrome://tracing and
  /// ui.perfetto.dev show. `process` tells those of a job apart.
  std::string json_events(int process) const;

 private:
  mutable std::mutex mutex_;
  double start_ = 0;  // of a steady clock
  std::vector<TraceEvent> events_;
};

}  // namespace grouphead
#pragma GCC visibility pop
