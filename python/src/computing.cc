#include "computing.h"

#include <pthread.h>

#include <atomic>
#include <chrono>
#include <thread>

namespace grouphead::python {
namespace {

// Never destroyed: threads may still compute while the process ends. A child of fork() gets a new
// one, since a thread that it does not have may hold the old one.
std::recursive_mutex* g_mutex = nullptr;

std::recursive_mutex& mutex() {
  static const bool is_ready = [] {
    g_mutex = new std::recursive_mutex;
    pthread_atfork(nullptr, nullptr, [] { g_mutex = new std::recursive_mutex; });
    return true;
  }();
  static_cast<void>(is_ready);
  return *g_mutex;
}

std::atomic<int> g_waiting = 0;

std::unique_lock<std::recursive_mutex> waited_for() {
  ++g_waiting;
  std::unique_lock lock(mutex());
  --g_waiting;
  return lock;
}

}  // namespace

Computing::Computing() : lock_(waited_for()) {}

void Computing::give_way() {
  if (g_waiting == 0) return;
  lock_.unlock();
  std::this_thread::sleep_for(std::chrono::microseconds(50));  // until one of them has it
  lock_ = waited_for();
}

}  // namespace grouphead::python
