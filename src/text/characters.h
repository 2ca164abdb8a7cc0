#pragma once

// Characters of UTF-8 texts, and what Unicode says of them.

#include <array>
#include <cstddef>
#include <string>
#include <string_view>

namespace grouphead::text {

inline constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  ///< U+FFFD

/// Bytes of the character that begins with this one, in valid UTF-8.
constexpr std::size_t character_size(char lead) noexcept {
  const auto byte = static_cast<unsigned char>(lead);
  if (byte < 0x80) return 1;
  if (byte < 0xE0) return 2;
  return byte < 0xF0 ? 3 : 4;
}

/// The character at `at` of valid UTF-8; `at` moves behind it.
inline char32_t next_character(std::string_view text, std::size_t& at) noexcept {
  const auto byte = [&](std::size_t i) {
    return static_cast<char32_t>(static_cast<unsigned char>(text[at + i]));
  };
  const std::size_t size = character_size(text[at]);
  char32_t c = byte(0);
  if (size == 2) c = ((c & 0x1F) << 6) | (byte(1) & 0x3F);
  if (size == 3) c = ((c & 0x0F) << 12) | ((byte(1) & 0x3F) << 6) | (byte(2) & 0x3F);
  if (size == 4) {
    c = ((c & 0x07) << 18) | ((byte(1) & 0x3F) << 12) | ((byte(2) & 0x3F) << 6) | (byte(3) & 0x3F);
  }
  at += size;
  return c;
}

/// The start of the character that ends before `end`, which is not 0.
inline std::size_t previous_start(std::string_view text, std::size_t end) noexcept {
  do {
    --end;
  } while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80);
  return end;
}

void append_character(std::string& text, char32_t c);
std::size_t count_characters(std::string_view text) noexcept;
bool is_ascii(std::string_view text) noexcept;

/// Bytes that arrive in parts, as UTF-8: each maximal piece that is no part of a character becomes
/// U+FFFD (the Unicode Standard, section 3.9, "maximal subpart").
class Utf8Repair {
 public:
  void add(std::string_view bytes, std::string& out);
  /// What is incomplete becomes U+FFFD.
  void finish(std::string& out);

 private:
  std::string pending_;
};

/// The text with U+FFFD for bytes that are not UTF-8.
std::string repaired(std::string_view bytes);
bool is_utf8(std::string_view bytes) noexcept;

bool is_space(char32_t c) noexcept;        ///< White_Space
bool is_word(char32_t c) noexcept;         ///< \w of UTS #18
bool is_letter(char32_t c) noexcept;       ///< category L
bool is_number(char32_t c) noexcept;       ///< category N
bool is_punctuation(char32_t c) noexcept;  ///< category P, and all of ASCII's
bool is_mark(char32_t c) noexcept;         ///< category M
bool is_nonspacing_mark(char32_t c) noexcept;
bool is_control(char32_t c) noexcept;  ///< controls, formats and private use
void append_lowercase(std::string& text, char32_t c);
/// A number for each of Unicode's scripts; Hiragana and Katakana count as Han, and
/// what is not assigned has kNoScript.
inline constexpr int kNoScript = -1;
int script_of(char32_t c) noexcept;

/// GPT-2's characters for bytes: printable ones stand for themselves, the rest follow from U+0100.
struct ByteAlphabet {
  std::array<std::string, 256> characters;
  std::array<int, 324> bytes;  ///< by character; -1: none
};
const ByteAlphabet& byte_alphabet();

}  // namespace grouphead::text
