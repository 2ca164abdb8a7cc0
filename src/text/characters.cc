#include "text/characters.h"

#include <unicode/uchar.h>
#include <unicode/uscript.h>

namespace grouphead::text {
namespace {

constexpr char32_t kAscii = 0x80;

UChar32 icu(char32_t c) noexcept { return static_cast<UChar32>(c); }

bool is_in(char32_t c, std::uint32_t categories) noexcept {
  return (U_MASK(u_charType(icu(c))) & categories) != 0;
}

/// A character at the start of bytes: its size and whether it is one. A size of 0: more bytes must
/// come. What is none has the size of its maximal subpart.
struct Found {
  std::size_t size;
  bool valid;
};

Found find_character(std::string_view bytes) noexcept {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(bytes[i]); };
  const unsigned lead = byte(0);
  if (lead < 0x80) return {1, true};
  if (lead < 0xC2 || lead > 0xF4) return {1, false};
  const std::size_t size = character_size(bytes[0]);
  for (std::size_t i = 1; i < size; ++i) {
    if (i == bytes.size()) return {0, false};
    unsigned low = 0x80;
    unsigned high = 0xBF;
    if (i == 1) {  // no overlong forms, no surrogates, nothing above U+10FFFF
      if (lead == 0xE0) low = 0xA0;
      if (lead == 0xED) high = 0x9F;
      if (lead == 0xF0) low = 0x90;
      if (lead == 0xF4) high = 0x8F;
    }
    if (byte(i) < low || byte(i) > high) return {i, false};
  }
  return {size, true};
}

ByteAlphabet make_byte_alphabet() {
  ByteAlphabet made{};
  made.bytes.fill(-1);
  char32_t next = 0x100;
  for (std::size_t byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte != 0xAD);
    const char32_t c = printable ? static_cast<char32_t>(byte) : next++;
    append_character(made.characters[byte], c);
    made.bytes[c] = static_cast<int>(byte);
  }
  return made;
}

}  // namespace

void append_character(std::string& text, char32_t c) {
  const auto add = [&](char32_t byte) { text += static_cast<char>(byte); };
  if (c < 0x80) {
    add(c);
  } else if (c < 0x800) {
    add(0xC0 | (c >> 6));
    add(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    add(0xE0 | (c >> 12));
    add(0x80 | ((c >> 6) & 0x3F));
    add(0x80 | (c & 0x3F));
  } else {
    add(0xF0 | (c >> 18));
    add(0x80 | ((c >> 12) & 0x3F));
    add(0x80 | ((c >> 6) & 0x3F));
    add(0x80 | (c & 0x3F));
  }
}

std::size_t count_characters(std::string_view text) noexcept {
  std::size_t count = 0;
  for (const char c : text) count += (static_cast<unsigned char>(c) & 0xC0) != 0x80 ? 1 : 0;
  return count;
}

bool is_ascii(std::string_view text) noexcept {
  unsigned char all = 0;
  for (const char c : text) all = static_cast<unsigned char>(all | static_cast<unsigned char>(c));
  return all < 0x80;
}

void Utf8Repair::add(std::string_view bytes, std::string& out) {
  pending_ += bytes;
  std::size_t at = 0;
  while (at < pending_.size()) {
    const Found found = find_character(std::string_view(pending_).substr(at));
    if (found.size == 0) break;
    out += found.valid ? std::string_view(pending_).substr(at, found.size) : kReplacement;
    at += found.size;
  }
  pending_.erase(0, at);
}

void Utf8Repair::finish(std::string& out) {
  if (!pending_.empty()) out += kReplacement;
  pending_.clear();
}

std::string repaired(std::string_view bytes) {
  std::string out;
  Utf8Repair repair;
  repair.add(bytes, out);
  repair.finish(out);
  return out;
}

bool is_utf8(std::string_view bytes) noexcept {
  while (!bytes.empty()) {
    const Found found = find_character(bytes);
    if (!found.valid) return false;
    bytes.remove_prefix(found.size);
  }
  return true;
}

bool is_space(char32_t c) noexcept {
  if (c < kAscii) return c == ' ' || (c >= '\t' && c <= '\r');
  return u_isUWhiteSpace(icu(c)) != 0;
}

bool is_word(char32_t c) noexcept {
  if (c < kAscii) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
  }
  return is_in(c, U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK) || u_isUAlphabetic(icu(c)) != 0 ||
         c == 0x200C || c == 0x200D;
}

bool is_letter(char32_t c) noexcept {
  if (c < kAscii) return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  return is_in(c, U_GC_L_MASK);
}

bool is_number(char32_t c) noexcept {
  if (c < kAscii) return c >= '0' && c <= '9';
  return is_in(c, U_GC_N_MASK);
}

bool is_punctuation(char32_t c) noexcept {
  if (c < kAscii) return c > ' ' && c < 0x7F && !is_letter(c) && !is_number(c);
  return is_in(c, U_GC_P_MASK);
}

bool is_mark(char32_t c) noexcept { return c >= kAscii && is_in(c, U_GC_M_MASK); }

bool is_nonspacing_mark(char32_t c) noexcept { return c >= kAscii && is_in(c, U_GC_MN_MASK); }

bool is_control(char32_t c) noexcept {
  if (c < kAscii) return c < ' ' || c == 0x7F;
  return is_in(c, U_GC_CC_MASK | U_GC_CF_MASK | U_GC_CO_MASK);
}

void append_lowercase(std::string& text, char32_t c) {
  constexpr char32_t kDottedI = 0x130;  // the one character whose lowercase is two
  if (c < kAscii) {
    text += static_cast<char>(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
  } else if (c == kDottedI) {
    text += "i\xCC\x87";
  } else {
    append_character(text, static_cast<char32_t>(u_tolower(icu(c))));
  }
}

int script_of(char32_t c) noexcept {
  constexpr char32_t kLongVowel = 0x30FC;  // of Hiragana and Katakana, to Unicode it is common
  UErrorCode error = U_ZERO_ERROR;
  const UScriptCode script = uscript_getScript(icu(c), &error);
  if (script == USCRIPT_UNKNOWN) return kNoScript;
  const bool is_japanese =
      script == USCRIPT_HIRAGANA || script == USCRIPT_KATAKANA || c == kLongVowel;
  return is_japanese ? USCRIPT_HAN : script;
}

const ByteAlphabet& byte_alphabet() {
  static const ByteAlphabet kAlphabet = make_byte_alphabet();
  return kAlphabet;
}

}  // namespace grouphead::text
