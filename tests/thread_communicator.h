#pragma once

// Threads of one process as the processes of a job: tests of what several compute, without mpirun.

#include <gtest/gtest.h>

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "grouphead/core/error.h"
#include "grouphead/parallel/communicator.h"

namespace grouphead::testing_support {

/// The letter boxes of a job: one for each pair of processes.
class LetterBoxes {
 public:
  void put(int from, int to, std::span<const std::byte> bytes) {
    const std::scoped_lock lock(mutex_);
    boxes_[{from, to}].emplace_back(bytes.begin(), bytes.end());
    arrived_.notify_all();
  }
  void take(int from, int to, std::span<std::byte> bytes) {
    std::unique_lock lock(mutex_);
    auto& box = boxes_[{from, to}];
    arrived_.wait(lock, [&] { return is_cancelled_ || !box.empty(); });
    if (is_cancelled_) throw Error("[threads] cancelled");
    if (box.front().size() != bytes.size()) throw Error("[threads] a message of another size");
    std::ranges::copy(box.front(), bytes.begin());
    box.pop_front();
  }
  void cancel() {
    const std::scoped_lock lock(mutex_);
    is_cancelled_ = true;
    for (const auto& [key, boxes] : parts_) boxes->cancel();
    arrived_.notify_all();
  }
  /// The same boxes for all that ask with one key.
  std::shared_ptr<LetterBoxes> part(const std::string& key) {
    const std::scoped_lock lock(mutex_);
    auto& made = parts_[key];
    if (!made) made = std::make_shared<LetterBoxes>();
    if (is_cancelled_) made->cancel();
    return made;
  }

 private:
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::map<std::pair<int, int>, std::deque<std::vector<std::byte>>> boxes_;
  std::map<std::string, std::shared_ptr<LetterBoxes>> parts_;
  bool is_cancelled_ = false;
};

class ThreadCommunicator final : public Communicator {
 public:
  ThreadCommunicator(int rank, int size, std::shared_ptr<LetterBoxes> boxes)
      : Communicator(rank, size), boxes_(std::move(boxes)) {}

  std::shared_ptr<Communicator> split(int color) override {
    const std::vector<double> colors = all_gather(static_cast<double>(color));
    int place = 0;
    int count = 0;
    for (int other = 0; other < size(); ++other) {
      if (colors[static_cast<std::size_t>(other)] != color) continue;
      if (other == rank()) place = count;
      ++count;
    }
    const std::string key = std::to_string(splits_++) + ":" + std::to_string(color);
    return std::make_shared<ThreadCommunicator>(place, count, boxes_->part(key));
  }
  void cancel() noexcept override { boxes_->cancel(); }
  void abort(int exit_code) override { std::_Exit(exit_code); }

 private:
  void do_send(std::span<const std::byte> bytes, int to) override {
    boxes_->put(rank(), to, bytes);
  }
  void do_receive(std::span<std::byte> bytes, int from) override {
    boxes_->take(from, rank(), bytes);
  }
  void do_exchange(std::span<const std::byte> out, int to, std::span<std::byte> in,
                   int from) override {
    boxes_->put(rank(), to, out);
    boxes_->take(from, rank(), in);
  }

  std::shared_ptr<LetterBoxes> boxes_;
  int splits_ = 0;
};

/// work(communicator) in `size` threads at once. The first error ends all, and is thrown.
inline void run_processes(int size,
                          const std::function<void(std::shared_ptr<Communicator>)>& work) {
  const auto boxes = std::make_shared<LetterBoxes>();
  std::exception_ptr error;
  std::mutex mutex;
  std::vector<std::thread> threads;
  for (int rank = 0; rank < size; ++rank) {
    threads.emplace_back([&, rank] {
      try {
        work(std::make_shared<ThreadCommunicator>(rank, size, boxes));
      } catch (...) {
        const std::scoped_lock lock(mutex);
        if (!error) error = std::current_exception();
        boxes->cancel();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  if (error) std::rethrow_exception(error);
}

}  // namespace grouphead::testing_support
