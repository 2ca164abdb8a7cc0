#include "grouphead/train/step_trace.h"

#include <chrono>
#include <cstdio>

namespace grouphead {
namespace {

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

void StepTrace::restart() {
  const std::scoped_lock lock(mutex_);
  start_ = seconds();
  events_.clear();
}

double StepTrace::now() const {
  const std::scoped_lock lock(mutex_);
  return seconds() - start_;
}

void StepTrace::add(TraceEvent event) {
  const std::scoped_lock lock(mutex_);
  events_.push_back(std::move(event));
}

std::vector<TraceEvent> StepTrace::events() const {
  const std::scoped_lock lock(mutex_);
  return events_;
}

// "X" is a complete event; times are in microseconds.
std::string StepTrace::json_events(int process) const {
  std::string text;
  for (const TraceEvent& event : events()) {
    char numbers[128];
    std::snprintf(numbers, sizeof numbers,
                  R"("ph": "X", "pid": %d, "tid": %d, "ts": %.3f, "dur": %.3f})", process,
                  event.is_communication ? 1 + event.thread : 0, event.begin * 1e6,
                  (event.end - event.begin) * 1e6);
    if (!text.empty()) text += ",\n";
    text += R"({"name": ")" + event.name + R"(", )" + numbers;
  }
  return text;
}

}  // namespace grouphead
