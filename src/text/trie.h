#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace grouphead::text {

/// Keys with a value each, found at the start of a text.
class Trie {
 public:
  static constexpr std::int32_t kNone = -1;

  Trie() : values_(1, kNone) {}

  /// A key that is there gets the new value, which is 0 or more.
  void add(std::string_view key, std::int32_t value);

  /// found(bytes, value) for each key that `text` begins with, shortest first.
  template <class Found>
  void find_prefixes(std::string_view text, const Found& found) const {
    std::uint32_t node = 0;
    for (std::size_t i = 0; i < text.size(); ++i) {
      node = child(node, static_cast<unsigned char>(text[i]));
      if (node == 0) return;
      if (values_[node] != kNone) found(i + 1, values_[node]);
    }
  }

 private:
  struct Edge {
    std::uint64_t key = kFree;  // node and byte
    std::uint32_t child = 0;
  };
  static constexpr std::uint64_t kFree = ~std::uint64_t{0};

  std::uint32_t child(std::uint32_t node, unsigned char byte) const noexcept {
    if (node == 0) return roots_[byte];
    if (edges_.empty()) return 0;
    return edges_[slot_of((std::uint64_t{node} << 8) | byte)].child;
  }
  std::size_t slot_of(std::uint64_t key) const noexcept;
  void grow();

  std::vector<std::int32_t> values_;  // one per node; node 0 is the root
  std::uint32_t roots_[256] = {};
  std::vector<Edge> edges_;  // a hash table, a power of two long
  std::size_t num_edges_ = 0;
};

}  // namespace grouphead::text
