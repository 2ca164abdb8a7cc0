#include "contexts.h"

#include <pthread.h>

#include <mutex>
#include <utility>
#include <vector>

#include "grouphead/core/error.h"

namespace grouphead::python {
namespace {

// One task after the other.
class CallersThread : public Executor {
 public:
  int num_threads() const noexcept override { return 1; }
  void run(int count, void (*task)(void* data, int i), void* data) override {
    for (int i = 0; i < count; ++i) task(data, i);
  }
};

struct Idle {
  std::mutex mutex;
  std::vector<std::unique_ptr<Context>> contexts;
  int num_threads = 0;
  int generation = 0;  // grows with set_num_threads(): Contexts of older ones are not used again
  bool is_forked = false;
};

// Never destroyed: threads may still compute while the process ends. A child of fork() gets a new
// one, and leaves the old one, whose mutex and threads may be in any state, as it is.
Idle* g_idle = nullptr;

Idle& idle() {
  static const bool is_ready = [] {
    g_idle = new Idle;
    pthread_atfork(nullptr, nullptr, [] {
      Idle* fresh = new Idle;
      fresh->generation = g_idle->generation + 1;
      fresh->is_forked = true;
      g_idle = fresh;
    });
    return true;
  }();
  static_cast<void>(is_ready);
  return *g_idle;
}

std::unique_ptr<Context> make_context(int num_threads, bool is_forked) {
  ContextOptions options{.num_threads = num_threads};
  if (is_forked) options = {.executor = std::make_shared<CallersThread>()};
  return std::make_unique<Context>(options);
}

}  // namespace

ContextLease::ContextLease() {
  Idle& pool = idle();
  int threads = 0;
  {
    const std::lock_guard lock(pool.mutex);
    generation_ = pool.generation;
    threads = pool.num_threads;
    if (!pool.contexts.empty()) {
      context_ = std::move(pool.contexts.back());
      pool.contexts.pop_back();
    }
  }
  if (!context_) context_ = make_context(threads, pool.is_forked);
}

ContextLease::~ContextLease() {
  Idle& pool = idle();
  const std::lock_guard lock(pool.mutex);
  if (generation_ == pool.generation) pool.contexts.push_back(std::move(context_));
}

void set_num_threads(int num_threads) {
  if (num_threads < 0) {
    throw ConfigError("[set_num_threads] num_threads: expected 0 or more, got " +
                      std::to_string(num_threads));
  }
  Idle& pool = idle();
  std::vector<std::unique_ptr<Context>> old;
  const std::lock_guard lock(pool.mutex);
  pool.num_threads = num_threads;
  ++pool.generation;
  old.swap(pool.contexts);
}

int num_threads() { return (*ContextLease()).num_threads(); }

}  // namespace grouphead::python
