#pragma once

// The HDF5 library, one call at a time: Debian's is not made for threads.

#define H5_USE_110_API
#include <hdf5.h>

#include <mutex>
#include <string>
#include <utility>

#include "grouphead/core/error.h"

namespace grouphead::io {

/// While it lives the library is ours alone, and prints nothing.
class Hdf5Lock {
 public:
  Hdf5Lock() : lock_(mutex()) {
    H5Eget_auto2(H5E_DEFAULT, &print_, &client_);
    H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  }
  ~Hdf5Lock() { H5Eset_auto2(H5E_DEFAULT, print_, client_); }
  Hdf5Lock(const Hdf5Lock&) = delete;
  Hdf5Lock& operator=(const Hdf5Lock&) = delete;

 private:
  static std::recursive_mutex& mutex();

  std::lock_guard<std::recursive_mutex> lock_;
  H5E_auto2_t print_ = nullptr;
  void* client_ = nullptr;
};

/// An object of the library. Made and destroyed under the lock.
class Hdf5Id {
 public:
  Hdf5Id() = default;
  /// Errors: IoError for a negative one: `what` failed.
  Hdf5Id(hid_t id, herr_t (*close)(hid_t), const std::string& what) : id_(id), close_(close) {
    if (id < 0) throw IoError(what);
  }
  ~Hdf5Id() {
    if (id_ >= 0) close_(id_);
  }
  Hdf5Id(Hdf5Id&& other) noexcept : id_(std::exchange(other.id_, -1)), close_(other.close_) {}
  Hdf5Id& operator=(Hdf5Id&& other) noexcept {
    std::swap(id_, other.id_);
    std::swap(close_, other.close_);
    return *this;
  }
  hid_t get() const noexcept { return id_; }

 private:
  hid_t id_ = -1;
  herr_t (*close_)(hid_t) = nullptr;
};

/// Names of files in memory, which the library tells apart by them.
std::string next_hdf5_name();

}  // namespace grouphead::io
