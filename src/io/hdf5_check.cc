#include "io/hdf5_check.h"

#include <cstdint>
#include <cstring>
#include <limits>
#include <string_view>

#include "grouphead/error.h"

// Format: HDF5 File Format Specification, "Disk Format: Level 0A - Format Signature and
// Superblock".

namespace grouphead::io {
namespace {

constexpr std::string_view kSignature = "\x89HDF\r\n\x1a\n";
constexpr std::uint64_t kUndefined = std::numeric_limits<std::uint64_t>::max();
constexpr std::size_t kShortest = 48;  // superblock of the versions 2 and 3

std::uint64_t number_at(std::span<const std::byte> image, std::size_t offset) {
  std::uint64_t value = 0;
  std::memcpy(&value, image.data() + offset, sizeof value);
  return value;
}

int byte_at(std::span<const std::byte> image, std::size_t offset) {
  return std::to_integer<int>(image[offset]);
}

/// Where the fields of a superblock stand.
struct Places {
  std::size_t widths;  // of addresses, then of lengths
  std::size_t base;
  std::size_t end;
  std::size_t other;  // an address that model files leave undefined: driver block or extension
  std::size_t bytes;  // of the superblock
};

Places places_of(int version) {
  if (version >= 2) return {.widths = 9, .base = 12, .end = 28, .other = 20, .bytes = 48};
  const std::size_t extra = version == 1 ? 4 : 0;
  return {.widths = 13,
          .base = 24 + extra,
          .end = 40 + extra,
          .other = 48 + extra,
          .bytes = 96 + extra};
}

}  // namespace

void require_hdf5_head(std::span<const std::byte> image, const std::string& where) {
  const auto require = [&](bool holds, const std::string& problem) {
    if (!holds) throw IoError(where + ": " + problem);
  };
  require(image.size() >= kShortest &&
              std::memcmp(image.data(), kSignature.data(), kSignature.size()) == 0,
          "expected an HDF5 file, got something else");
  const int version = byte_at(image, 8);
  require(version <= 3, "superblock: expected version 0 to 3, got " + std::to_string(version));
  const Places places = places_of(version);
  require(image.size() >= places.bytes, "ends inside the superblock");
  require(byte_at(image, places.widths) == 8 && byte_at(image, places.widths + 1) == 8,
          "superblock: expected addresses and lengths of 8 bytes");
  require(number_at(image, places.base) == 0, "superblock: expected the base address 0");
  require(version >= 2 || number_at(image, places.other) == kUndefined,
          "superblock: expected no driver information");
  const std::uint64_t end = number_at(image, places.end);
  require(end <= image.size(), "expected " + std::to_string(end) + " bytes, got " +
                                   std::to_string(image.size()) + ": cut off");
}

}  // namespace grouphead::io
