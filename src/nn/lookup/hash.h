#pragma once

// TensorFlow's hashes of texts into buckets, the same in every version.

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

namespace grouphead::nn {

using HashKey = std::array<std::int64_t, 2>;

/// FarmHash's Fingerprint64: farmhash, "na" form.
std::uint64_t fingerprint64(std::string_view text) noexcept;
/// SipHash-2-4. Source: Aumasson and Bernstein 2012, "SipHash: a fast short-input PRF".
std::uint64_t sip_hash(std::string_view text, const HashKey& key) noexcept;

/// The bucket of `count` > 0. Source: tf.strings.to_hash_bucket_fast; with a key,
/// tf.strings.to_hash_bucket_strong.
std::int64_t hash_bucket(std::string_view text, std::int64_t count,
                         const std::optional<HashKey>& key) noexcept;

}  // namespace grouphead::nn
