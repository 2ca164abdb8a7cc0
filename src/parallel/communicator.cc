#include "grouphead/parallel/communicator.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "core/check.h"
#include "grouphead/core/error.h"

namespace grouphead {
namespace {

class Alone final : public Communicator {
 public:
  Alone() : Communicator(0, 1) {}
  std::shared_ptr<Communicator> split(int /*color*/) override { return alone(); }
  void cancel() noexcept override {}
  void abort(int exit_code) override { std::_Exit(exit_code); }

 private:
  [[noreturn]] static void refuse() {
    throw Error("[communicator] another process: expected one, got a group of one process");
  }
  void do_send(std::span<const std::byte> /*bytes*/, int /*to*/) override { refuse(); }
  void do_receive(std::span<std::byte> /*bytes*/, int /*from*/) override { refuse(); }
  void do_exchange(std::span<const std::byte> /*out*/, int /*to*/, std::span<std::byte> /*in*/,
                   int /*from*/) override {
    refuse();
  }
};

template <class T>
std::span<std::byte> bytes_in(std::vector<T>& values) {
  return std::as_writable_bytes(std::span(values));
}

template <class F>
void add_in_order(std::span<const std::byte> all, int size, View values) {
  const auto count = static_cast<std::size_t>(values.size());
  F* const out = values.data<F>();
  const auto* const parts = reinterpret_cast<const F*>(all.data());
  std::copy_n(parts, count, out);
  for (std::size_t rank = 1; rank < static_cast<std::size_t>(size); ++rank) {
    for (std::size_t i = 0; i < count; ++i) out[i] += parts[rank * count + i];
  }
}

}  // namespace

std::span<const std::byte> bytes_of(ConstView values) {
  core::require_contiguous("communicator", "values", values);
  return {static_cast<const std::byte*>(values.raw()), static_cast<std::size_t>(values.bytes())};
}

std::span<std::byte> writable_bytes_of(View values) {
  core::require_contiguous("communicator", "values", values);
  return {static_cast<std::byte*>(values.raw()), static_cast<std::size_t>(values.bytes())};
}

std::shared_ptr<Communicator> Communicator::alone() { return std::make_shared<Alone>(); }

void Communicator::send(std::span<const std::byte> bytes, int to) {
  bytes_sent_ += static_cast<Index>(bytes.size());
  do_send(bytes, to);
}

void Communicator::receive(std::span<std::byte> bytes, int from) { do_receive(bytes, from); }

void Communicator::exchange(std::span<const std::byte> out, int to, std::span<std::byte> in,
                            int from) {
  bytes_sent_ += static_cast<Index>(out.size());
  do_exchange(out, to, in, from);
}

// Ranks are counted from the root. In the round of `span`, process p < span sends to p + span.
void Communicator::broadcast(std::span<std::byte> bytes, int root) {
  const int place = (rank_ - root + size_) % size_;
  for (int span = 1; span < size_; span *= 2) {
    if (place < span && place + span < size_) send(bytes, (place + span + root) % size_);
    if (place >= span && place < 2 * span) receive(bytes, (place - span + root) % size_);
  }
}

void Communicator::broadcast(View values, int root) { broadcast(writable_bytes_of(values), root); }

std::string Communicator::broadcast(std::string_view text, int root) {
  std::string copy = rank_ == root ? std::string(text) : std::string();
  std::vector<std::size_t> length = {copy.size()};
  broadcast(bytes_in(length), root);
  copy.resize(length[0]);
  broadcast(std::as_writable_bytes(std::span(copy)), root);
  return copy;
}

// Each part goes once around the ring.
void Communicator::all_gather(std::span<const std::byte> own, std::span<std::byte> all) {
  const auto part = [&](int rank) {
    return all.subspan(static_cast<std::size_t>(rank) * own.size(), own.size());
  };
  if (!own.empty()) std::memcpy(part(rank_).data(), own.data(), own.size());
  const int next = (rank_ + 1) % size_;
  const int previous = (rank_ - 1 + size_) % size_;
  for (int step = 0; step + 1 < size_; ++step) {
    exchange(part((rank_ - step + size_) % size_), next,
             part((rank_ - step - 1 + 2 * size_) % size_), previous);
  }
}

std::vector<double> Communicator::all_gather(double own) {
  std::vector<double> all(static_cast<std::size_t>(size_));
  all_gather(std::as_bytes(std::span(&own, 1)), bytes_in(all));
  return all;
}

std::vector<std::string> Communicator::all_gather(std::string_view own) {
  std::vector<std::string> all;
  for (int rank = 0; rank < size_; ++rank) all.push_back(broadcast(own, rank));
  return all;
}

void Communicator::all_reduce(View values) {
  if (values.dtype() != Dtype::f32 && values.dtype() != Dtype::f64) {
    core::throw_shape_error("all_reduce", "values", "f32 or f64", name_of(values.dtype()));
  }
  if (size_ == 1) return;
  const std::span<std::byte> own = writable_bytes_of(values);
  std::vector<double> all((own.size() * static_cast<std::size_t>(size_) + 7) / 8);
  const std::span<std::byte> parts =
      bytes_in(all).first(own.size() * static_cast<std::size_t>(size_));
  all_gather(own, parts);
  if (values.dtype() == Dtype::f32) {
    add_in_order<float>(parts, size_, values);
  } else {
    add_in_order<double>(parts, size_, values);
  }
}

bool Communicator::any(bool own) {
  for (const double said : all_gather(own ? 1.0 : 0.0)) {
    if (said != 0) return true;
  }
  return false;
}

void Communicator::barrier() { any(false); }

}  // namespace grouphead
