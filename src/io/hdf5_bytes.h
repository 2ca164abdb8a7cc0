#pragma once

// Bytes of an HDF5 file that nobody has checked yet.

#include <cstdint>
#include <cstring>
#include <limits>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "grouphead/core/error.h"

namespace grouphead::io {

inline constexpr std::uint64_t kUndefinedAddress = std::numeric_limits<std::uint64_t>::max();

/// A part of a file that is read from its beginning; what lies outside is an error.
class Hdf5Bytes {
 public:
  Hdf5Bytes(std::span<const std::byte> bytes, const std::string& where)
      : bytes_(bytes), where_(&where) {}

  [[noreturn]] void fail(std::string_view problem) const {
    throw IoError(std::string(*where_)
                      .append(": expected a sound HDF5 file of Keras's form, got a fault: ")
                      .append(problem));
  }
  void require(bool holds, std::string_view problem) const {
    if (!holds) fail(problem);
  }

  std::size_t left() const noexcept { return bytes_.size(); }
  std::span<const std::byte> rest() const noexcept { return bytes_; }
  std::span<const std::byte> take(std::uint64_t count, std::string_view what) {
    require(count <= bytes_.size(), what);
    const auto taken = bytes_.first(static_cast<std::size_t>(count));
    bytes_ = bytes_.subspan(static_cast<std::size_t>(count));
    return taken;
  }
  /// A part of its own.
  Hdf5Bytes part(std::uint64_t count, std::string_view what) {
    return Hdf5Bytes(take(count, what), *where_);
  }
  std::uint64_t number(std::size_t width, std::string_view what) {
    std::uint64_t value = 0;
    std::memcpy(&value, take(width, what).data(), width);
    return value;
  }
  void signature(std::string_view expected) {
    const auto got = take(expected.size(), expected);
    require(std::memcmp(got.data(), expected.data(), expected.size()) == 0, expected);
  }

 private:
  std::span<const std::byte> bytes_;
  const std::string* where_;
};

/// A file to be checked: each of its parts is looked at once.
class Hdf5Image {
 public:
  Hdf5Image(std::span<const std::byte> image, std::string where)
      : image_(image), where_(std::move(where)) {}

  const std::string& where() const noexcept { return where_; }
  /// From an address to the end.
  Hdf5Bytes from(std::uint64_t address, std::string_view what) const {
    Hdf5Bytes bytes(image_, where_);
    bytes.take(address, what);
    return bytes;
  }
  /// The same at an address where nothing else was looked at.
  Hdf5Bytes once(std::uint64_t address, std::string_view what) {
    Hdf5Bytes bytes = from(address, what);
    bytes.require(visited_.insert(address).second, "a part that stands at two places");
    return bytes;
  }

 private:
  std::span<const std::byte> image_;
  std::string where_;
  std::set<std::uint64_t> visited_;
};

/// Of an array: elements, and bytes of each.
struct Hdf5Extent {
  int rank = 0;
  std::uint64_t elements = 0;
};
Hdf5Extent check_dataspace(Hdf5Bytes bytes);
struct Hdf5Element {
  std::uint64_t bytes = 0;
  bool is_text = false;
  bool is_variable_text = false;
};
/// Reads one type from the beginning; `depth` types are around it.
Hdf5Element check_datatype(Hdf5Bytes& bytes, int depth = 0);
/// A checked attribute.
struct Hdf5Attribute {
  std::string name{};
  bool is_text = false;  ///< texts, or none at all of any type
  std::vector<std::string> texts{};
};
Hdf5Attribute check_attribute(Hdf5Image& image, std::set<std::uint64_t>& heaps, Hdf5Bytes bytes);
/// Of a group whose members are messages, as groups are that have names beyond ASCII: a member, and
/// that there are no more of them elsewhere.
std::uint64_t check_link(Hdf5Bytes bytes);
void check_link_info(Hdf5Bytes bytes);
void check_fill_value(Hdf5Bytes bytes, bool is_old);
void check_filters(Hdf5Bytes bytes);

}  // namespace grouphead::io
