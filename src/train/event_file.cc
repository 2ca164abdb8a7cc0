#include "train/event_file.h"

#include <unistd.h>

#include <array>
#include <atomic>
#include <bit>
#include <chrono>

#include "grouphead/core/error.h"

namespace grouphead::train {
namespace {

constexpr std::array<std::uint32_t, 256> crc_table() {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t i = 0; i < table.size(); ++i) {
    std::uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ ((crc & 1) != 0 ? 0x82F63B78U : 0U);
    table[i] = crc;
  }
  return table;
}
constexpr auto kCrcTable = crc_table();

/// Little-endian bytes of an integer.
template <class T>
std::string bytes_of(T value) {
  std::string bytes;
  for (std::size_t i = 0; i < sizeof(T); ++i) {
    bytes += static_cast<char>(static_cast<unsigned char>(value >> (8 * i) & 0xFF));
  }
  return bytes;
}

// Fields of a message: the number and the wire type in a varint, then the
// value. Source: protobuf.dev, "Encoding"; tensorflow/core/util/event.proto,
// framework/summary.proto.
enum WireType : std::uint8_t { kVarint = 0, kFixed64 = 1, kText = 2, kFixed32 = 5 };

std::string varint(std::uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes += static_cast<char>(value | 0x80);
  return bytes += static_cast<char>(value);
}
std::string key(int field, WireType type) {
  return varint(static_cast<std::uint64_t>(field) << 3 | type);
}
std::string fixed64(int field, double value) {
  return key(field, kFixed64) + bytes_of(std::bit_cast<std::uint64_t>(value));
}
std::string fixed32(int field, float value) {
  return key(field, kFixed32) + bytes_of(std::bit_cast<std::uint32_t>(value));
}
std::string integer(int field, std::uint64_t value) { return key(field, kVarint) + varint(value); }
std::string text(int field, const std::string& value) {
  return key(field, kText) + varint(value.size()) + value;
}

double now() {
  const auto since = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration<double>(since).count();
}

/// event.wall_time, the first field.
std::string event() { return fixed64(1, now()); }

std::string file_name() {
  static std::atomic<unsigned> count{0};
  return "events.out.tfevents." + std::to_string(static_cast<std::int64_t>(now())) + "." +
         std::to_string(::getpid()) + "." + std::to_string(count++) + ".v2";
}

}  // namespace

std::uint32_t masked_crc32c(std::string_view bytes) noexcept {
  std::uint32_t crc = 0xFFFFFFFFU;
  for (const char byte : bytes) {
    crc = crc >> 8 ^ kCrcTable[(crc ^ static_cast<unsigned char>(byte)) & 0xFF];
  }
  return std::rotr(crc ^ 0xFFFFFFFFU, 15) + 0xA282EAD8U;
}

EventFile::EventFile(const std::filesystem::path& folder) : file_(folder / file_name()) {
  std::error_code failed;
  std::filesystem::create_directories(folder, failed);
  out_.open(file_, std::ios::binary | std::ios::trunc);
  if (!out_) throw IoError("[tensor_board] " + file_.string() + ": cannot be written");
  record(event() + text(3, "brain.Event:2"));
}

void EventFile::scalar(const std::string& tag, double value, Index step) {
  const std::string summary = text(1, text(1, tag) + fixed32(2, static_cast<float>(value)));
  record(event() + integer(2, static_cast<std::uint64_t>(step)) + text(5, summary));
}

void EventFile::record(const std::string& message) {
  const std::string length = bytes_of(std::uint64_t{message.size()});
  out_ << length << bytes_of(masked_crc32c(length)) << message << bytes_of(masked_crc32c(message));
  if (!out_) throw IoError("[tensor_board] " + file_.string() + ": cannot be written");
}

}  // namespace grouphead::train
