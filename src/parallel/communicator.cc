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

// The sum of `size` rows of numbers, from the first one on.
template <class F>
void add_in_order(std::span<const std::byte> rows, std::size_t size, std::span<std::byte> sum) {
  const std::size_t count = sum.size() / sizeof(F);
  F* const out = reinterpret_cast<F*>(sum.data());
  const auto* const in = reinterpret_cast<const F*>(rows.data());
  std::copy_n(in, count, out);
  for (std::size_t row = 1; row < size; ++row) {
    for (std::size_t i = 0; i < count; ++i) out[i] += in[row * count + i];
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

// Each process adds up one slice, of what all have there; then the slices go around the ring.
void Communicator::all_reduce(View values) {
  if (values.dtype() != Dtype::f32 && values.dtype() != Dtype::f64) {
    core::throw_shape_error("all_reduce", "values", "f32 or f64", name_of(values.dtype()));
  }
  if (size_ == 1) return;
  const std::span<std::byte> all = writable_bytes_of(values);
  const auto slice = [&](int place) {
    const int rank = (place % size_ + size_) % size_;
    const Index begin = values.size() * rank / size_ * grouphead::size_of(values.dtype());
    const Index end = values.size() * (rank + 1) / size_ * grouphead::size_of(values.dtype());
    return all.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin));
  };
  const std::span<std::byte> own = slice(rank_);
  std::vector<double> memory((own.size() * static_cast<std::size_t>(size_) + 7) / 8);
  const auto row = [&](int rank) {
    return bytes_in(memory).subspan(static_cast<std::size_t>(rank) * own.size(), own.size());
  };
  if (!own.empty()) std::memcpy(row(rank_).data(), own.data(), own.size());
  for (int step = 1; step < size_; ++step) {
    const int to = (rank_ + step) % size_;
    const int from = (rank_ - step + size_) % size_;
    exchange(slice(to), to, row(from), from);
  }
  const auto add = values.dtype() == Dtype::f32 ? &add_in_order<float> : &add_in_order<double>;
  add(bytes_in(memory), static_cast<std::size_t>(size_), own);
  for (int step = 0; step + 1 < size_; ++step) {
    exchange(slice(rank_ - step), (rank_ + 1) % size_, slice(rank_ - step - 1),
             (rank_ - 1 + size_) % size_);
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
