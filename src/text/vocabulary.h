#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace grouphead::text {

/// Tokens and their ids, which are 0 or more.
class Vocabulary {
 public:
  static constexpr std::int32_t kNone = -1;

  void reserve(std::size_t tokens);
  /// A token that is there gets the new id.
  void add(std::string_view token, std::int32_t id);

  /// kNone where it is not known.
  std::int32_t id_of(std::string_view token) const noexcept;
  /// Null where it is not known.
  const std::string* token_of(std::int32_t id) const noexcept;
  std::size_t size() const noexcept { return num_tokens_; }
  /// Fewer than size() where tokens share one.
  std::size_t num_ids() const noexcept { return by_id_.size(); }
  /// Bytes of the longest token.
  std::size_t longest() const noexcept { return longest_; }

 private:
  struct Slot {
    std::uint32_t hash = 0;
    std::int32_t id = kNone;
    std::uint32_t token = 0;  // in tokens_
  };

  std::size_t find(std::string_view token, std::uint32_t hash) const noexcept;
  void grow(std::size_t slots);

  std::vector<Slot> slots_;  // a power of two, at most half of them taken
  std::vector<std::string> tokens_;
  std::unordered_map<std::int32_t, std::uint32_t> by_id_;
  std::size_t num_tokens_ = 0;
  std::size_t longest_ = 0;
};

}  // namespace grouphead::text
