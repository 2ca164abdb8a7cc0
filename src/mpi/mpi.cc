#include "grouphead/parallel/mpi.h"

#include <mpi.h>

#include <atomic>
#include <chrono>
#include <limits>
#include <mutex>
#include <thread>

#include "grouphead/core/error.h"

namespace grouphead {
namespace {

void check(int code, const char* call) {
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING] = "";
  int length = 0;
  MPI_Error_string(code, text, &length);
  throw Error(std::string("[mpi] ") + call + ": " + text);
}

/// MPI as a whole, while a communicator of ours lives.
class Library {
 public:
  /// Starts it where nobody did.
  static std::shared_ptr<Library> shared() {
    static std::mutex mutex;
    static std::weak_ptr<Library> current;
    const std::scoped_lock lock(mutex);
    std::shared_ptr<Library> library = current.lock();
    if (!library) current = library = std::make_shared<Library>();
    return library;
  }
  static bool is_running() {
    int started = 0;
    int ended = 0;
    MPI_Initialized(&started);
    MPI_Finalized(&ended);
    return started != 0 && ended == 0;
  }

  Library() {
    int ended = 0;
    MPI_Finalized(&ended);
    if (ended != 0) throw Error("[mpi] expected MPI running or not started, got one that ended");
    if (is_running()) return;
    int provided = 0;
    check(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_MULTIPLE, &provided), "MPI_Init_thread");
    is_ours_ = true;
    if (provided < MPI_THREAD_SERIALIZED) {
      throw Error("[mpi] expected a library that threads may call one at a time, got another");
    }
  }
  ~Library() {
    if (is_ours_ && is_running()) MPI_Finalize();
  }
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;

 private:
  bool is_ours_ = false;
};

int rank_of(MPI_Comm comm) {
  int rank = 0;
  check(MPI_Comm_rank(comm, &rank), "MPI_Comm_rank");
  return rank;
}

int size_of(MPI_Comm comm) {
  int size = 0;
  check(MPI_Comm_size(comm, &size), "MPI_Comm_size");
  return size;
}

/// Of a library that threads may call one at a time: no call under it waits for another process,
/// but take_back() for the rest of a message.
std::mutex& one_at_a_time() {
  static std::mutex mutex;
  return mutex;
}

/// Bytes of one message: MPI counts in int.
constexpr std::size_t kMessage = std::size_t{1} << 30;

class MpiCommunicator final : public Communicator {
 public:
  /// Owns `comm`.
  MpiCommunicator(MPI_Comm comm, std::shared_ptr<Library> library)
      : Communicator(rank_of(comm), size_of(comm)), library_(std::move(library)), comm_(comm) {
    MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN);
  }
  // Freeing is collective, and a process whose work failed may be the only one that ends here.
  ~MpiCommunicator() override {
    if (!is_cancelled_ && Library::is_running()) MPI_Comm_free(&comm_);
  }

  std::shared_ptr<Communicator> split(int color) override {
    MPI_Comm part = MPI_COMM_NULL;
    check(MPI_Comm_split(comm_, color, rank(), &part), "MPI_Comm_split");
    return std::make_shared<MpiCommunicator>(part, library_);
  }
  void cancel() noexcept override { is_cancelled_ = true; }
  void abort(int exit_code) override {
    MPI_Abort(comm_, exit_code);
    std::_Exit(exit_code);
  }

 private:
  void do_send(std::span<const std::byte> bytes, int to) override { transfer(bytes, to, {}, 0); }
  void do_receive(std::span<std::byte> bytes, int from) override { transfer({}, 0, bytes, from); }
  void do_exchange(std::span<const std::byte> out, int to, std::span<std::byte> in,
                   int from) override {
    transfer(out, to, in, from);
  }

  void transfer(std::span<const std::byte> out, int to, std::span<std::byte> in, int from) {
    while (!out.empty() || !in.empty()) {
      MPI_Request requests[2] = {MPI_REQUEST_NULL, MPI_REQUEST_NULL};
      const std::span<std::byte> first_in = in.first(std::min(in.size(), kMessage));
      const std::span<const std::byte> first_out = out.first(std::min(out.size(), kMessage));
      try {
        start(first_out, to, first_in, from, requests);
        wait_for(requests);
      } catch (...) {
        take_back(requests[0]);
        throw;
      }
      in = in.subspan(first_in.size());
      out = out.subspan(first_out.size());
    }
  }

  void start(std::span<const std::byte> out, int to, std::span<std::byte> in, int from,
             MPI_Request (&requests)[2]) {
    const std::scoped_lock lock(one_at_a_time());
    if (!in.empty()) {
      check(
          MPI_Irecv(in.data(), static_cast<int>(in.size()), MPI_BYTE, from, 0, comm_, &requests[0]),
          "MPI_Irecv");
    }
    if (!out.empty()) {
      check(
          MPI_Isend(out.data(), static_cast<int>(out.size()), MPI_BYTE, to, 0, comm_, &requests[1]),
          "MPI_Isend");
    }
  }

  // Without MPI_Wait: it never gives up, and takes a core that others compute on.
  void wait_for(MPI_Request (&requests)[2]) {
    constexpr int kPatience = 200;
    for (int tries = 0;; ++tries) {
      int done = 0;
      {
        const std::scoped_lock lock(one_at_a_time());
        check(MPI_Testall(2, requests, &done, MPI_STATUSES_IGNORE), "MPI_Testall");
      }
      if (done != 0) return;
      if (is_cancelled_)
        throw Error("[mpi] expected another process to answer, got a cancelled job");
      if (tries < kPatience) {
        std::this_thread::yield();
      } else {
        std::this_thread::sleep_for(std::chrono::microseconds(50));
      }
    }
  }

  // Before the caller reuses its memory: MPI would write there in any later call. Where a message
  // has begun to arrive, this waits for its rest. A send cannot be taken back: MPI may still read
  // that memory, and what a receiver then gets is nothing to rely on.
  static void take_back(MPI_Request& receive) {
    const std::scoped_lock lock(one_at_a_time());
    if (receive == MPI_REQUEST_NULL) return;
    MPI_Cancel(&receive);
    MPI_Wait(&receive, MPI_STATUS_IGNORE);
  }

  std::shared_ptr<Library> library_;
  MPI_Comm comm_;
  std::atomic<bool> is_cancelled_{false};
};

std::shared_ptr<Communicator> copy_of(MPI_Comm comm, std::shared_ptr<Library> library) {
  MPI_Comm copy = MPI_COMM_NULL;
  check(MPI_Comm_dup(comm, &copy), "MPI_Comm_dup");
  return std::make_shared<MpiCommunicator>(copy, std::move(library));
}

}  // namespace

std::shared_ptr<Communicator> mpi_world() { return copy_of(MPI_COMM_WORLD, Library::shared()); }

std::shared_ptr<Communicator> mpi_communicator(const void* handle) {
  if (!Library::is_running()) {
    throw Error("[mpi] expected MPI running, as a communicator of yours is handed in, got none");
  }
  return copy_of(*static_cast<const MPI_Comm*>(handle), Library::shared());
}

}  // namespace grouphead
