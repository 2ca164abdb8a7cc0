#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "grouphead/core/tensor.h"

#pragma GCC visibility push(default)
namespace grouphead {

/// Processes that compute one thing together, numbered 0 .. size() - 1: `rank()` is this one's
/// number. mpi_world() (parallel/mpi.h) gives those that mpirun started; alone() is one process.
///
/// All but send(), receive() and exchange() are called by every process of the group, in the same
/// order, and return the same values in each. What travels is counted in bytes_sent().
///
/// Threads  one caller at a time; cancel() and abort() from any
/// Errors   Error where another process is gone or after cancel()
class Communicator {
 public:
  /// A group of one process.
  static std::shared_ptr<Communicator> alone();

  virtual ~Communicator() = default;
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  int rank() const noexcept { return rank_; }
  int size() const noexcept { return size_; }

  // Between two processes; the messages of a pair arrive in their order. The receiver gives the
  // sender's number of bytes. A send may wait for its receive.
  void send(std::span<const std::byte> bytes, int to);
  void receive(std::span<std::byte> bytes, int from);
  /// Both at once, so that a ring of processes does not wait for itself.
  void exchange(std::span<const std::byte> out, int to, std::span<std::byte> in, int from);

  /// `bytes` of process `root`, over a binomial tree: every process but the root receives once.
  void broadcast(std::span<std::byte> bytes, int root);
  void broadcast(View values, int root);
  std::string broadcast(std::string_view text, int root);
  /// What each process gives, in the order of their ranks: `all` has size() times own's bytes.
  void all_gather(std::span<const std::byte> own, std::span<std::byte> all);
  std::vector<double> all_gather(double own);
  std::vector<std::string> all_gather(std::string_view own);
  /// values += those of all others, added in ascending order of the ranks: the same bits in every
  /// process and in every run. f32 or f64. Errors: ShapeError.
  void all_reduce(View values);
  /// Whether any process says so.
  bool any(bool own);
  void barrier();

  /// The processes that give the same color, in the order of their ranks.
  virtual std::shared_ptr<Communicator> split(int color) = 0;
  /// What waits in this process for another one fails now, and so does all that follows.
  virtual void cancel() noexcept = 0;
  /// Ends all processes of the job, this one included, by the exit code.
  virtual void abort(int exit_code) = 0;

  Index bytes_sent() const noexcept { return bytes_sent_; }

 protected:
  Communicator(int rank, int size) : rank_(rank), size_(size) {}

 private:
  virtual void do_send(std::span<const std::byte> bytes, int to) = 0;
  virtual void do_receive(std::span<std::byte> bytes, int from) = 0;
  virtual void do_exchange(std::span<const std::byte> out, int to, std::span<std::byte> in,
                           int from) = 0;

  int rank_;
  int size_;
  Index bytes_sent_ = 0;
};

/// The elements of a contiguous view as bytes.
std::span<const std::byte> bytes_of(ConstView values);
std::span<std::byte> writable_bytes_of(View values);

}  // namespace grouphead
#pragma GCC visibility pop
