#include "tools/signals.h"

#include <signal.h>

#include <atomic>

namespace grouphead::tools {
namespace {

// Lock-free, so that a handler may use them in whatever thread it runs.
std::atomic<int> first_signal{0};
std::atomic<int> last_signal{0};
std::atomic<int> num_signals{0};
std::atomic<int> num_stopping{0};
std::atomic<int> num_writing{0};

void end_by(int signal) {
  ::signal(signal, SIG_DFL);
  ::raise(signal);
}

bool is_final() { return num_signals > (num_stopping > 0 ? 1 : 0); }

void on_signal(int signal) {
  int none = 0;
  first_signal.compare_exchange_strong(none, signal);
  last_signal = signal;
  ++num_signals;
  if (num_writing == 0 && is_final()) end_by(signal);
}

}  // namespace

void install_signal_handlers() {
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction before {};
    ::sigaction(signal, nullptr, &before);
    if (signal == SIGHUP && before.sa_handler == SIG_IGN) continue;
    ::sigaction(signal, &action, nullptr);
  }
}

StopsOnSignal::StopsOnSignal() { ++num_stopping; }
StopsOnSignal::~StopsOnSignal() { --num_stopping; }

WritesFiles::WritesFiles() { ++num_writing; }
WritesFiles::~WritesFiles() {
  if (--num_writing == 0 && is_final()) end_by(last_signal);
}

bool stop_requested() noexcept { return first_signal != 0; }
int exit_code_of_signal() noexcept { return 128 + first_signal; }

}  // namespace grouphead::tools
