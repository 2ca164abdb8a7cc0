#include "computing.h"

#include <pthread.h>

namespace grouphead::python {
namespace {

// Never destroyed: threads may still compute while the process ends. A child of fork() gets a new
// one, since a thread that it does not have may hold the old one.
std::mutex* g_mutex = nullptr;

std::mutex& mutex() {
  static const bool is_ready = [] {
    g_mutex = new std::mutex;
    pthread_atfork(nullptr, nullptr, [] { g_mutex = new std::mutex; });
    return true;
  }();
  static_cast<void>(is_ready);
  return *g_mutex;
}

thread_local Computing* t_computing = nullptr;

}  // namespace

Computing::Computing() : lock_(mutex()) { t_computing = this; }
Computing::~Computing() { t_computing = nullptr; }

PythonsTurn::PythonsTurn() : computing_(t_computing) {
  t_computing = nullptr;
  computing_->lock_.unlock();
  gil_.emplace();
}

PythonsTurn::~PythonsTurn() {
  gil_.reset();
  computing_->lock_.lock();
  t_computing = computing_;
}

}  // namespace grouphead::python
