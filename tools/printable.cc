#include "tools/printable.h"

#include <fmt/format.h>

#include <cstdint>

namespace grouphead::tools {
namespace {

/// The character that `text` begins with, and its bytes; no bytes where it is not UTF-8.
struct Character {
  std::uint32_t code = 0;
  std::size_t bytes = 0;
};

Character first_of(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  const std::size_t bytes = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4 || text.size() < bytes) return {};
  std::uint32_t code = lead & (0xffU >> (bytes + 1));
  for (std::size_t i = 1; i < bytes; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return {};
    code = (code << 6) | (byte(i) & 0x3fU);
  }
  constexpr std::uint32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
  const bool is_surrogate = code >= 0xd800 && code <= 0xdfff;
  if (code < kSmallest[bytes] || code > 0x10ffff || is_surrogate) return {};
  return {code, bytes};
}

bool steers_terminals(std::uint32_t code) { return code < 0x20 || (code >= 0x7f && code <= 0x9f); }

// Marks, embeddings and isolates of writing from right to left, and separators of lines.
bool changes_direction(std::uint32_t code) {
  return code == 0x61c || (code >= 0x200e && code <= 0x200f) ||
         (code >= 0x2028 && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069);
}

}  // namespace

std::string printable(std::string_view text, bool keeps_lines) {
  std::string shown;
  while (!text.empty()) {
    const Character next = first_of(text);
    const std::size_t taken = next.bytes == 0 ? 1 : next.bytes;
    if (next.bytes == 0) {
      shown += fmt::format("\\x{:02x}", static_cast<unsigned char>(text[0]));
    } else if (steers_terminals(next.code) && !(keeps_lines && next.code == '\n')) {
      shown += fmt::format("\\x{:02x}", next.code);
    } else if (changes_direction(next.code)) {
      shown += fmt::format("\\u{:04x}", next.code);
    } else {
      shown += text.substr(0, taken);
    }
    text.remove_prefix(taken);
  }
  return shown;
}

}  // namespace grouphead::tools
