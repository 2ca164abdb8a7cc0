#include "text/trie.h"

#include "text/hash.h"

namespace grouphead::text {

std::size_t Trie::slot_of(std::uint64_t key) const noexcept {
  const std::size_t mask = edges_.size() - 1;
  std::size_t slot = mixed(key) & mask;
  while (edges_[slot].key != key && edges_[slot].key != kFree) slot = (slot + 1) & mask;
  return slot;
}

void Trie::grow() {
  std::vector<Edge> old(edges_.empty() ? 64 : 2 * edges_.size());
  old.swap(edges_);
  for (const Edge& edge : old) {
    if (edge.key != kFree) edges_[slot_of(edge.key)] = edge;
  }
}

void Trie::add(std::string_view key, std::int32_t value) {
  std::uint32_t node = 0;
  for (const char c : key) {
    const auto byte = static_cast<unsigned char>(c);
    std::uint32_t next = child(node, byte);
    if (next == 0) {
      next = static_cast<std::uint32_t>(values_.size());
      values_.push_back(kNone);
      if (node == 0) {
        roots_[byte] = next;
      } else {
        if (2 * (num_edges_ + 1) > edges_.size()) grow();
        const std::uint64_t edge = (std::uint64_t{node} << 8) | byte;
        edges_[slot_of(edge)] = {edge, next};
        ++num_edges_;
      }
    }
    node = next;
  }
  if (node != 0) values_[node] = value;
}

}  // namespace grouphead::text
