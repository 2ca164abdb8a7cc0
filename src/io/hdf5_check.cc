#include "io/hdf5_check.h"

#include <vector>

#include "io/hdf5_bytes.h"

// Format: HDF5 File Format Specification, version 1.1, levels 0 to 2.

namespace grouphead::io {
namespace {

constexpr std::string_view kSignature = "\x89HDF\r\n\x1a\n";
constexpr int kDeepest = 64;  // groups inside each other, and nodes of one tree

using Texts = std::map<std::string, std::vector<std::string>>;

/// Where a group's members are.
struct Members {
  std::uint64_t tree = kUndefinedAddress;
  std::uint64_t heap = kUndefinedAddress;
  friend bool operator==(const Members&, const Members&) = default;
};

/// A message of an object.
struct Message {
  std::uint64_t kind;
  Hdf5Bytes bytes;
};
enum Kind : std::uint64_t {
  kNil = 0x00,
  kDataspace = 0x01,
  kLinkInfo = 0x02,
  kDatatype = 0x03,
  kOldFillValue = 0x04,
  kFillValue = 0x05,
  kLink = 0x06,
  kLayout = 0x08,
  kGroupInfo = 0x0a,
  kFilters = 0x0b,
  kAttribute = 0x0c,
  kOldTime = 0x0e,
  kContinuation = 0x10,
  kMembers = 0x11,
  kTime = 0x12
};

class Check {
 public:
  Check(std::span<const std::byte> image, const std::string& where) : image_(image, where) {}

  std::map<std::uint64_t, Texts> texts;  // of each object

  void run() {
    Hdf5Bytes bytes = image_.from(0, "superblock");
    bytes.signature(kSignature);
    const std::uint64_t version = bytes.number(1, "superblock");
    if (version > 1) {
      throw IoError(image_.where() + ": superblock: expected version 0 or 1, as Keras's files " +
                    "have, got " + std::to_string(version));
    }
    bytes.number(4, "superblock");
    bytes.require(bytes.number(1, "superblock") == 8 && bytes.number(1, "superblock") == 8,
                  "addresses and lengths of 8 bytes");
    bytes.number(1, "superblock");
    leaf_entries_ = 2 * bytes.number(2, "superblock");
    node_entries_ = 2 * bytes.number(2, "superblock");
    bytes.number(4, "superblock");
    if (version == 1) {
      chunk_entries_ = 2 * bytes.number(2, "superblock");
      bytes.number(2, "superblock");
    }
    bytes.require(leaf_entries_ > 0 && node_entries_ > 0 && chunk_entries_ > 0, "superblock");
    bytes.require(bytes.number(8, "superblock") == 0, "a base address of 0");
    bytes.number(8, "superblock");
    const std::uint64_t end = bytes.number(8, "superblock");
    const std::uint64_t got = image_.from(0, "superblock").left();
    if (end > got) {
      throw IoError(image_.where() + ": expected " + std::to_string(end) + " bytes, got " +
                    std::to_string(got) + ": cut off");
    }
    bytes.require(bytes.number(8, "superblock") == kUndefinedAddress, "driver information");
    bytes.number(8, "superblock");
    check_entry(bytes, 0, true);
  }

 private:
  /// What stands for an object in a group, from its header's address on.
  void check_entry(Hdf5Bytes& bytes, int depth, bool is_root = false) {
    const std::uint64_t header = bytes.number(8, "entry");
    const std::uint64_t cache = bytes.number(4, "entry");
    bytes.number(4, "entry");
    Members cached;
    cached.tree = bytes.number(8, "entry");
    cached.heap = bytes.number(8, "entry");
    if (cache == 2) {
      throw IoError(image_.where() + ": a link to another place, which model files must not have");
    }
    bytes.require(cache <= 1, "entry");
    check_object(header, cache == 1 ? &cached : nullptr, depth, is_root);
  }

  void check_object(std::uint64_t address, const Members* cached, int depth, bool is_root) {
    Hdf5Bytes head = image_.once(address, "object");
    head.require(depth <= kDeepest, "too many groups inside each other");
    head.require(head.number(1, "object") == 1, "version of an object");
    head.number(1, "object");
    const std::uint64_t count = head.number(2, "object");
    head.number(4, "object");
    const std::uint64_t size = head.number(4, "object");
    head.number(4, "object");
    std::vector<Message> messages;
    read_messages(head.part(size, "object"), count, messages);
    head.require(messages.size() == count, "number of messages");
    check_messages(address, messages, cached, depth, is_root);
  }

  /// All that the blocks of an object hold: the library reads beyond `count` too.
  void read_messages(Hdf5Bytes bytes, std::uint64_t count, std::vector<Message>& messages) {
    std::vector<Hdf5Bytes> blocks{bytes};
    for (std::size_t i = 0; i < blocks.size(); ++i) {
      Hdf5Bytes block = blocks[i];
      while (block.left() >= 8) {
        block.require(messages.size() < count, "number of messages");
        const std::uint64_t kind = block.number(2, "message");
        const std::uint64_t size = block.number(2, "message");
        const std::uint64_t flags = block.number(1, "message");
        block.number(3, "message");
        block.require((flags & 2) == 0, "a shared message");
        block.require(size % 8 == 0, "message");
        const Hdf5Bytes contents = block.part(size, "message");
        messages.push_back({kind, contents});
        if (kind != kContinuation) continue;
        Hdf5Bytes place = contents;
        const std::uint64_t address = place.number(8, "message");
        const std::uint64_t length = place.number(8, "message");
        blocks.push_back(image_.once(address, "message").part(length, "message"));
      }
    }
  }

  void check_messages(std::uint64_t address, const std::vector<Message>& messages,
                      const Members* cached, int depth, bool is_root) {
    const Message* single[kTime + 1] = {};
    std::vector<std::uint64_t> links;  // the objects that they lead to
    for (const Message& message : messages) {
      if (message.kind == kNil || message.kind == kContinuation) continue;
      if (message.kind == kAttribute) {
        Hdf5Attribute attribute = check_attribute(image_, text_heaps_, message.bytes);
        if (attribute.is_text) texts[address][attribute.name] = std::move(attribute.texts);
        continue;
      }
      if (message.kind == kLink) {
        links.push_back(check_link(message.bytes));
        continue;
      }
      const bool is_known =
          message.kind == kLinkInfo || message.kind == kGroupInfo || message.kind == kDataspace ||
          message.kind == kDatatype || message.kind == kOldFillValue ||
          message.kind == kFillValue || message.kind == kLayout || message.kind == kFilters ||
          message.kind == kOldTime || message.kind == kMembers || message.kind == kTime;
      message.bytes.require(is_known, "a message that model files do not have");
      message.bytes.require(single[message.kind] == nullptr, "a message that comes twice");
      single[message.kind] = &message;
    }
    if (single[kLinkInfo] != nullptr) {
      // What stands for it may still name the tree that it had before.
      check_link_info(single[kLinkInfo]->bytes);
      single[kLinkInfo]->bytes.require(single[kMembers] == nullptr && single[kLayout] == nullptr,
                                       "group");
      for (const std::uint64_t link : links) check_object(link, nullptr, depth + 1, false);
      return;
    }
    const Hdf5Bytes nothing(std::span<const std::byte>(), image_.where());
    nothing.require(links.empty(), "a link outside a group");
    if (single[kMembers] != nullptr) {
      Hdf5Bytes bytes = single[kMembers]->bytes;
      bytes.require(single[kLayout] == nullptr && single[kDatatype] == nullptr, "group");
      check_group(bytes, cached, depth);
      return;
    }
    nothing.require(!is_root && cached == nullptr && single[kLayout] != nullptr &&
                        single[kDataspace] != nullptr && single[kDatatype] != nullptr,
                    "an object that is neither group nor array");
    check_array(single);
  }

  void check_group(Hdf5Bytes bytes, const Members* cached, int depth) {
    Members members;
    members.tree = bytes.number(8, "group");
    members.heap = bytes.number(8, "group");
    bytes.require(cached == nullptr || *cached == members, "group");
    const Hdf5Bytes names = check_names(members.heap);
    check_tree(members.tree, names, depth, -1);
  }

  /// The bytes of a group's names; all that is free among them is a chain with an end.
  Hdf5Bytes check_names(std::uint64_t address) {
    Hdf5Bytes head = image_.once(address, "names");
    head.signature("HEAP");
    head.require(head.number(4, "names") == 0, "names");
    const std::uint64_t size = head.number(8, "names");
    const std::uint64_t first_free = head.number(8, "names");
    const std::uint64_t data = head.number(8, "names");
    const Hdf5Bytes names = image_.once(data, "names").part(size, "names");
    constexpr std::uint64_t kEnd = 1;
    std::set<std::uint64_t> seen;
    for (std::uint64_t free = first_free; free != kEnd && free != kUndefinedAddress;) {
      Hdf5Bytes block = names;
      block.require(free % 8 == 0 && seen.insert(free).second, "names");
      block.take(free, "names");
      const std::uint64_t next = block.number(8, "names");
      const std::uint64_t bytes = block.number(8, "names");
      block.require(bytes >= 16 && bytes <= block.left() + 16, "names");
      free = next;
    }
    return names;
  }

  static void require_name(Hdf5Bytes names, std::uint64_t offset) {
    constexpr std::size_t kLongest = 1024;
    names.take(offset, "name");
    const auto rest = names.rest();
    for (std::size_t i = 0; i < rest.size() && i <= kLongest; ++i) {
      if (rest[i] == std::byte{0}) return;
    }
    names.fail("a name without an end, or of more than 1024 bytes");
  }

  /// A node of a group's tree; `level` is what the node above wants, -1: any.
  void check_tree(std::uint64_t address, const Hdf5Bytes& names, int depth, int level) {
    Hdf5Bytes node = tree_node(address, 0, node_entries_, 8, level);
    const int this_level = level_;
    const std::uint64_t count = node.number(2, "tree");
    node.require(count <= node_entries_, "tree");
    check_siblings(node);
    for (std::uint64_t i = 0; i < count; ++i) {
      require_name(names, node.number(8, "tree"));
      const std::uint64_t child = node.number(8, "tree");
      if (this_level > 0) {
        check_tree(child, names, depth, this_level - 1);
      } else {
        check_symbols(child, names, depth);
      }
    }
    if (count > 0) require_name(names, node.number(8, "tree"));
  }

  /// The node's bytes after its level, which level_ tells.
  Hdf5Bytes tree_node(std::uint64_t address, std::uint64_t kind, std::uint64_t entries,
                      std::uint64_t key_bytes, int level) {
    Hdf5Bytes node = image_.once(address, "tree");
    const std::uint64_t size = 24 + entries * 8 + (entries + 1) * key_bytes;
    node = node.part(size, "tree");
    node.signature("TREE");
    node.require(node.number(1, "tree") == kind, "tree");
    level_ = static_cast<int>(node.number(1, "tree"));
    node.require(level_ <= kDeepest && (level < 0 || level_ == level), "tree");
    return node;
  }

  void check_siblings(Hdf5Bytes& node) const {
    for (int side = 0; side < 2; ++side) {
      const std::uint64_t sibling = node.number(8, "tree");
      if (sibling == kUndefinedAddress) continue;
      Hdf5Bytes other = image_.from(sibling, "tree");
      other.signature("TREE");
    }
  }

  void check_symbols(std::uint64_t address, const Hdf5Bytes& names, int depth) {
    Hdf5Bytes node = image_.once(address, "symbols").part(8 + 40 * leaf_entries_, "symbols");
    node.signature("SNOD");
    node.require(node.number(1, "symbols") == 1, "symbols");
    node.number(1, "symbols");
    const std::uint64_t count = node.number(2, "symbols");
    node.require(count <= leaf_entries_, "symbols");
    for (std::uint64_t i = 0; i < count; ++i) {
      require_name(names, node.number(8, "symbols"));
      check_entry(node, depth + 1);
    }
  }

  void check_array(const Message* const* single) {
    const Hdf5Extent extent = check_dataspace(single[kDataspace]->bytes);
    Hdf5Bytes type = single[kDatatype]->bytes;
    const Hdf5Element element = check_datatype(type);
    if (single[kOldFillValue] != nullptr) check_fill_value(single[kOldFillValue]->bytes, true);
    if (single[kFillValue] != nullptr) check_fill_value(single[kFillValue]->bytes, false);
    if (single[kFilters] != nullptr) check_filters(single[kFilters]->bytes);
    Hdf5Bytes layout = single[kLayout]->bytes;
    layout.require(layout.number(1, "place") == 3, "version of a place");
    switch (layout.number(1, "place")) {
      case 0: {
        const std::uint64_t size = layout.number(2, "place");
        layout.take(size, "place");
        break;
      }
      case 1: {
        const std::uint64_t address = layout.number(8, "place");
        const std::uint64_t size = layout.number(8, "place");
        if (address != kUndefinedAddress) image_.from(address, "numbers").take(size, "numbers");
        break;
      }
      case 2:
        check_chunks(layout, extent, element.bytes, single[kFilters] != nullptr);
        break;
      default:
        layout.fail("numbers at a place that model files do not have");
    }
  }

  void check_chunks(Hdf5Bytes layout, const Hdf5Extent& extent, std::uint64_t element_bytes,
                    bool has_filters) {
    const std::uint64_t axes = layout.number(1, "pieces");
    layout.require(axes == static_cast<std::uint64_t>(extent.rank) + 1 && axes >= 2, "pieces");
    const std::uint64_t address = layout.number(8, "pieces");
    std::uint64_t bytes = 1;
    for (std::uint64_t i = 0; i < axes; ++i) {
      const std::uint64_t size = layout.number(4, "pieces");
      layout.require(size > 0 && bytes <= (std::uint64_t{1} << 31) / size, "pieces");
      layout.require(i + 1 < axes || size == element_bytes, "pieces");
      bytes *= size;
    }
    if (address != kUndefinedAddress) {
      check_chunk_tree(address, axes, has_filters ? 0 : bytes, -1);
    }
  }

  /// `bytes` of each piece; 0: any.
  void check_chunk_tree(std::uint64_t address, std::uint64_t axes, std::uint64_t bytes, int level) {
    const std::uint64_t key_bytes = 8 + 8 * axes;
    Hdf5Bytes node = tree_node(address, 1, chunk_entries_, key_bytes, level);
    const int this_level = level_;
    const std::uint64_t count = node.number(2, "pieces");
    node.require(count <= chunk_entries_, "pieces");
    check_siblings(node);
    for (std::uint64_t i = 0; i < count; ++i) {
      const std::uint64_t size = node.number(4, "pieces");
      node.take(key_bytes - 4, "pieces");
      const std::uint64_t child = node.number(8, "pieces");
      if (this_level > 0) {
        check_chunk_tree(child, axes, bytes, this_level - 1);
        continue;
      }
      node.require(bytes == 0 || size == bytes, "size of a piece");
      image_.from(child, "pieces").take(size, "pieces");
    }
  }

  Hdf5Image image_;
  std::set<std::uint64_t> text_heaps_;
  std::uint64_t leaf_entries_ = 0;
  std::uint64_t node_entries_ = 0;
  std::uint64_t chunk_entries_ = 64;
  int level_ = 0;  // of the node that was read last
};

}  // namespace

std::map<std::uint64_t, Texts> require_sound_hdf5(std::span<const std::byte> image,
                                                  const std::string& where) {
  if (image.size() < kSignature.size() ||
      std::memcmp(image.data(), kSignature.data(), kSignature.size()) != 0) {
    throw IoError(where + ": expected an HDF5 file, got something else");
  }
  Check check(image, where);
  check.run();
  return std::move(check.texts);
}

}  // namespace grouphead::io
