#include "nn/lookup/hash.h"

#include <bit>
#include <cstring>
#include <utility>

namespace grouphead::nn {
namespace {

using Word = std::uint64_t;

// FarmHash's three primes.
constexpr Word kFirst = 0xC3A5C85C97CB3127;
constexpr Word kSecond = 0xB492B66FBE98F273;
constexpr Word kThird = 0x9AE16A3B2F90404F;
constexpr std::size_t kBlock = 64;  // bytes that long texts are read in

Word word(const char* bytes) noexcept {
  Word value = 0;
  std::memcpy(&value, bytes, sizeof(value));
  return value;
}
Word half_word(const char* bytes) noexcept {
  std::uint32_t value = 0;
  std::memcpy(&value, bytes, sizeof(value));
  return value;
}
Word byte(char c) noexcept { return static_cast<unsigned char>(c); }
Word folded(Word x) noexcept { return x ^ (x >> 47U); }

Word joined(Word a, Word b, Word factor) noexcept {
  const Word first = folded((a ^ b) * factor);
  return folded((b ^ first) * factor) * factor;
}

Word hash_to_16(const char* s, std::size_t size) noexcept {
  const Word factor = kThird + size * 2;
  if (size >= 8) {
    const Word a = word(s) + kThird;
    const Word b = word(s + size - 8);
    const Word c = std::rotr(b, 37) * factor + a;
    const Word d = (std::rotr(a, 25) + b) * factor;
    return joined(c, d, factor);
  }
  if (size >= 4) return joined(size + (half_word(s) << 3U), half_word(s + size - 4), factor);
  if (size == 0) return kThird;
  const Word y = byte(s[0]) + (byte(s[size / 2]) << 8U);
  const Word z = size + (byte(s[size - 1]) << 2U);
  return folded((y * kThird) ^ (z * kFirst)) * kThird;
}

Word hash_to_32(const char* s, std::size_t size) noexcept {
  const Word factor = kThird + size * 2;
  const Word a = word(s) * kSecond;
  const Word b = word(s + 8);
  const Word c = word(s + size - 8) * factor;
  const Word d = word(s + size - 16) * kThird;
  return joined(std::rotr(a + b, 43) + std::rotr(c, 30) + d, a + std::rotr(b + kThird, 18) + c,
                factor);
}

Word hash_to_64(const char* s, std::size_t size) noexcept {
  const Word factor = kThird + size * 2;
  const Word a = word(s) * kThird;
  const Word b = word(s + 8);
  const Word c = word(s + size - 8) * factor;
  const Word d = word(s + size - 16) * kThird;
  const Word y = std::rotr(a + b, 43) + std::rotr(c, 30) + d;
  const Word z = joined(y, a + std::rotr(b + kThird, 18) + c, factor);
  const Word e = word(s + 16) * factor;
  const Word f = word(s + 24);
  const Word g = (y + word(s + size - 32)) * factor;
  const Word h = (z + word(s + size - 24)) * factor;
  return joined(std::rotr(e + f, 43) + std::rotr(g, 30) + h, e + std::rotr(f + a, 18) + g, factor);
}

using Pair = std::pair<Word, Word>;

/// 32 bytes mixed into two words.
Pair mixed(const char* s, Word a, Word b) noexcept {
  const Word first = word(s);
  const Word last = word(s + 24);
  a += first;
  b = std::rotr(b + a + last, 21);
  const Word sum = a + word(s + 8) + word(s + 16);
  b += std::rotr(sum, 44);
  return {sum + last, b + a};
}

/// What a long text's blocks are mixed into.
struct LongState {
  Word x, y, z;
  Pair v{}, w{};

  void take(const char* s, Word factor, Word weight) noexcept {
    x = std::rotr(x + y + v.first + word(s + 8), 37) * factor;
    y = std::rotr(y + v.second + word(s + 48), 42) * factor;
    x ^= w.second * weight;
    y += v.first * weight + word(s + 40);
    z = std::rotr(z + w.first, 33) * factor;
    v = mixed(s, v.second * factor, x + w.first);
    w = mixed(s + 32, z + w.second, y + word(s + 16));
    std::swap(z, x);
  }
};

Word hash_long(const char* s, std::size_t size) noexcept {
  constexpr Word kSeed = 81;
  LongState state{.x = kSeed * kThird + word(s), .y = kSeed * kSecond + 113, .z = 0};
  state.z = folded(state.y * kThird + 113) * kThird;
  const std::size_t blocks = (size - 1) / kBlock;
  const Word rest = (size - 1) % kBlock;
  for (std::size_t i = 0; i < blocks; ++i) state.take(s + i * kBlock, kSecond, 1);
  const Word factor = kSecond + ((state.z & 0xFFU) << 1U);
  state.w.first += rest;
  state.v.first += state.w.first;
  state.w.first += state.v.first;
  state.take(s + size - kBlock, factor, 9);
  return joined(joined(state.v.first, state.w.first, factor) + folded(state.y) * kFirst + state.z,
                joined(state.v.second, state.w.second, factor) + state.x, factor);
}

struct SipState {
  Word v0, v1, v2, v3;

  void round() noexcept {
    v0 += v1;
    v1 = std::rotl(v1, 13) ^ v0;
    v0 = std::rotl(v0, 32);
    v2 += v3;
    v3 = std::rotl(v3, 16) ^ v2;
    v0 += v3;
    v3 = std::rotl(v3, 21) ^ v0;
    v2 += v1;
    v1 = std::rotl(v1, 17) ^ v2;
    v2 = std::rotl(v2, 32);
  }
  void take(Word m) noexcept {
    v3 ^= m;
    round();
    round();
    v0 ^= m;
  }
};

}  // namespace

std::uint64_t fingerprint64(std::string_view text) noexcept {
  const char* const s = text.data();
  if (text.size() <= 16) return hash_to_16(s, text.size());
  if (text.size() <= 32) return hash_to_32(s, text.size());
  return text.size() <= kBlock ? hash_to_64(s, text.size()) : hash_long(s, text.size());
}

std::uint64_t sip_hash(std::string_view text, const HashKey& key) noexcept {
  const auto k0 = static_cast<Word>(key[0]);
  const auto k1 = static_cast<Word>(key[1]);
  SipState state{k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D, k0 ^ 0x6C7967656E657261,
                 k1 ^ 0x7465646279746573};
  const std::size_t whole = text.size() / 8 * 8;
  for (std::size_t i = 0; i < whole; i += 8) state.take(word(text.data() + i));
  Word last = static_cast<Word>(text.size()) << 56U;
  for (std::size_t i = whole; i < text.size(); ++i) last |= byte(text[i]) << (8 * (i - whole));
  state.take(last);
  state.v2 ^= 0xFF;
  for (int i = 0; i < 4; ++i) state.round();
  return state.v0 ^ state.v1 ^ state.v2 ^ state.v3;
}

std::int64_t hash_bucket(std::string_view text, std::int64_t count,
                         const std::optional<HashKey>& key) noexcept {
  const Word hash = key ? sip_hash(text, *key) : fingerprint64(text);
  return static_cast<std::int64_t>(hash % static_cast<Word>(count));
}

}  // namespace grouphead::nn
