#pragma once

// Sending and receiving while something else is computed.

#include <future>
#include <utility>

#include "grouphead/parallel/communicator.h"

namespace grouphead::parallel {

/// One piece of communication at a time in a thread of its own, to which the communicator belongs
/// from start() to wait(). An error of the work, or of what is computed meanwhile, so that nobody
/// waits, cancels the job in this process: others may never answer.
class Background {
 public:
  explicit Background(Communicator& job) : job_(job) {}
  ~Background() {
    if (!running_.valid()) return;
    job_.cancel();
    running_.wait();
  }
  Background(const Background&) = delete;
  Background& operator=(const Background&) = delete;

  template <class Work>
  void start(Work work) {
    running_ = std::async(std::launch::async, std::move(work));
  }
  /// Errors: those of the work.
  void wait() {
    try {
      running_.get();
    } catch (...) {
      job_.cancel();
      throw;
    }
  }

 private:
  Communicator& job_;
  std::future<void> running_;
};

}  // namespace grouphead::parallel
