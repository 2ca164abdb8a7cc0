// The messages of object headers. Format: HDF5 File Format Specification, "Data Object Header
// Messages".

#include "io/hdf5_bytes.h"

namespace grouphead::io {
namespace {

constexpr std::uint64_t kMostElements = std::uint64_t{1} << 56;

std::uint64_t padded(std::uint64_t count) noexcept { return (count + 7) / 8 * 8; }

/// A name that ends inside its bytes.
void require_text(std::span<const std::byte> bytes, const Hdf5Bytes& where) {
  for (const std::byte byte : bytes) {
    if (byte == std::byte{0}) return;
  }
  where.fail("a name without an end");
}

void check_fixed_point(Hdf5Bytes& bytes, std::uint64_t size) {
  const std::uint64_t offset = bytes.number(2, "type");
  const std::uint64_t precision = bytes.number(2, "type");
  bytes.require(size == 1 || size == 2 || size == 4 || size == 8, "size of a whole number");
  bytes.require(precision > 0 && offset + precision <= 8 * size, "bits of a whole number");
}

void check_floating(Hdf5Bytes& bytes, std::uint64_t size, std::uint64_t flags) {
  const std::uint64_t offset = bytes.number(2, "type");
  const std::uint64_t precision = bytes.number(2, "type");
  const std::uint64_t exponent = bytes.number(1, "type");
  const std::uint64_t exponent_bits = bytes.number(1, "type");
  const std::uint64_t mantissa = bytes.number(1, "type");
  const std::uint64_t mantissa_bits = bytes.number(1, "type");
  bytes.number(4, "type");
  const std::uint64_t sign = (flags >> 8) & 0xff;
  bytes.require(size == 2 || size == 4 || size == 8, "size of a floating number");
  bytes.require(precision > 0 && offset + precision <= 8 * size && sign < 8 * size &&
                    exponent_bits > 0 && exponent + exponent_bits <= 8 * size &&
                    mantissa_bits > 0 && mantissa + mantissa_bits <= 8 * size,
                "bits of a floating number");
}

void check_enumeration(Hdf5Bytes& bytes, std::uint64_t size, std::uint64_t version,
                       std::uint64_t count, int depth) {
  const Hdf5Element base = check_datatype(bytes, depth + 1);
  bytes.require(count > 0 && base.bytes == size && !base.is_variable_text, "enumeration");
  for (std::uint64_t i = 0; i < count; ++i) {
    const auto rest = bytes.rest();
    require_text(rest, bytes);
    std::uint64_t length = 0;
    while (rest[length] != std::byte{0}) ++length;
    bytes.require(length > 0, "enumeration");
    bytes.take(version >= 3 ? length + 1 : padded(length + 1), "enumeration");
  }
  bytes.take(count * size, "enumeration");
}

/// What lies in a collection of texts, by number.
std::span<const std::byte> text_in(Hdf5Bytes heap, std::uint64_t index) {
  while (heap.left() >= 16) {
    const std::uint64_t number = heap.number(2, "texts");
    heap.number(6, "texts");
    const std::uint64_t size = heap.number(8, "texts");
    if (number == index && index > 0) return heap.take(size, "texts");
    if (number == 0) break;
    heap.take(padded(size), "texts");
  }
  heap.fail("a text that is nowhere");
}

/// Up to its end, or to a byte 0.
std::string text_of(std::span<const std::byte> bytes) {
  const auto* begin = reinterpret_cast<const char*>(bytes.data());
  return {begin, ::strnlen(begin, bytes.size())};
}

/// Every object of a collection, so that whoever walks it comes to its end.
Hdf5Bytes checked_heap(Hdf5Image& image, std::set<std::uint64_t>& heaps, std::uint64_t address) {
  Hdf5Bytes head = image.from(address, "texts");
  head.signature("GCOL");
  head.require(head.number(1, "texts") == 1, "texts");
  head.number(3, "texts");
  const std::uint64_t size = head.number(8, "texts");
  head.require(size >= 16 && size <= head.left() + 16, "texts");
  const Hdf5Bytes objects = head.part(size - 16, "texts");
  if (!heaps.insert(address).second) return objects;
  Hdf5Bytes rest = objects;
  std::set<std::uint64_t> numbers;
  while (rest.left() >= 16) {
    const std::uint64_t left = rest.left();
    const std::uint64_t number = rest.number(2, "texts");
    rest.number(6, "texts");
    const std::uint64_t bytes = rest.number(8, "texts");
    rest.require(numbers.insert(number).second, "texts of one number");
    if (number == 0) {
      rest.require(bytes == left, "texts");
      break;
    }
    rest.require(bytes <= left, "texts");
    rest.take(padded(bytes), "texts");
  }
  return objects;
}

}  // namespace

Hdf5Extent check_dataspace(Hdf5Bytes bytes) {
  const std::uint64_t version = bytes.number(1, "shape");
  const std::uint64_t rank = bytes.number(1, "shape");
  const std::uint64_t flags = bytes.number(1, "shape");
  const std::uint64_t kind = bytes.number(1, "shape");
  bytes.require(version == 1 || version == 2, "version of a shape");
  bytes.require(rank <= 32 && flags <= 1 && (version == 1 || kind <= 2), "shape");
  if (version == 1) bytes.number(4, "shape");
  Hdf5Extent extent{.rank = static_cast<int>(rank), .elements = 1};
  for (std::uint64_t i = 0; i < rank; ++i) {
    const std::uint64_t size = bytes.number(8, "shape");
    bytes.require(size == 0 || extent.elements <= kMostElements / size, "shape");
    extent.elements *= size;
  }
  if (flags == 1) bytes.take(8 * rank, "shape");
  if (version == 2 && kind == 2) extent.elements = 0;
  return extent;
}

Hdf5Element check_datatype(Hdf5Bytes& bytes, int depth) {
  const std::uint64_t head = bytes.number(4, "type");
  const std::uint64_t size = bytes.number(4, "type");
  const std::uint64_t version = (head >> 4) & 15;
  const std::uint64_t flags = head >> 8;
  bytes.require(version >= 1 && version <= 3 && size > 0 && size <= (1U << 30) && depth <= 2,
                "type");
  switch (head & 15) {
    case 0:
      check_fixed_point(bytes, size);
      return {.bytes = size};
    case 1:
      check_floating(bytes, size, flags);
      return {.bytes = size};
    case 3:
      return {.bytes = size, .is_text = true};
    case 5: {
      const std::uint64_t tag = flags & 0xff;
      bytes.take(padded(tag), "tag of a type");
      return {.bytes = size};
    }
    case 8:
      check_enumeration(bytes, size, version, flags & 0xffff, depth);
      return {.bytes = size};
    case 9: {
      bytes.require((flags & 15) == 1 && size == 16 && depth == 0, "lists of different lengths");
      const Hdf5Element base = check_datatype(bytes, depth + 1);
      bytes.require(base.bytes == 1, "texts");
      return {.bytes = size, .is_text = true, .is_variable_text = true};
    }
    default:
      bytes.fail("a type that model files do not have");
  }
}

Hdf5Attribute check_attribute(Hdf5Image& image, std::set<std::uint64_t>& heaps, Hdf5Bytes bytes) {
  const std::uint64_t version = bytes.number(1, "attribute");
  const std::uint64_t flags = bytes.number(1, "attribute");
  const std::uint64_t name_bytes = bytes.number(2, "attribute");
  const std::uint64_t type_bytes = bytes.number(2, "attribute");
  const std::uint64_t space_bytes = bytes.number(2, "attribute");
  bytes.require(version >= 1 && version <= 3 && (version == 1 || flags == 0), "attribute");
  if (version == 3) bytes.number(1, "attribute");
  const auto part = [&](std::uint64_t count) {
    return bytes.part(version == 1 ? padded(count) : count, "attribute").part(count, "attribute");
  };
  Hdf5Bytes name = part(name_bytes);
  require_text(name.rest(), bytes);
  Hdf5Attribute made{.name = text_of(name.rest())};
  Hdf5Bytes type = part(type_bytes);
  const Hdf5Element element = check_datatype(type);
  const Hdf5Extent extent = check_dataspace(part(space_bytes));
  bytes.require(extent.elements <= bytes.left() / element.bytes, "numbers of an attribute");
  made.is_text = element.is_text || extent.elements == 0;
  for (std::uint64_t i = 0; i < extent.elements && element.is_text; ++i) {
    if (!element.is_variable_text) {
      made.texts.push_back(text_of(bytes.take(element.bytes, "texts")));
      continue;
    }
    const std::uint64_t length = bytes.number(4, "texts");
    const std::uint64_t address = bytes.number(8, "texts");
    const std::uint64_t index = bytes.number(4, "texts");
    if (length == 0) {
      made.texts.emplace_back();
      continue;
    }
    const auto text = text_in(checked_heap(image, heaps, address), index);
    bytes.require(length <= text.size(), "texts");
    made.texts.push_back(text_of(text.first(length)));
  }
  return made;
}

std::uint64_t check_link(Hdf5Bytes bytes) {
  bytes.require(bytes.number(1, "link") == 1, "version of a link");
  const std::uint64_t flags = bytes.number(1, "link");
  bytes.require(flags < 0x20, "link");
  if ((flags & 8) != 0 && bytes.number(1, "link") != 0) {
    bytes.fail("a link to another place, which model files must not have");
  }
  if ((flags & 4) != 0) bytes.number(8, "link");  // when it was made
  if ((flags & 16) != 0) bytes.require(bytes.number(1, "link") <= 1, "letters of a link");
  const std::uint64_t length = bytes.number(std::size_t{1} << (flags & 3), "link");
  constexpr std::uint64_t kLongest = 1024;
  bytes.require(length > 0 && length <= kLongest, "name of a link");
  for (const std::byte letter : bytes.take(length, "name of a link")) {
    bytes.require(letter != std::byte{0} && letter != std::byte{'/'}, "name of a link");
  }
  return bytes.number(8, "link");
}

void check_link_info(Hdf5Bytes bytes) {
  bytes.require(bytes.number(1, "group") == 0, "version of a group");
  const std::uint64_t flags = bytes.number(1, "group");
  bytes.require(flags <= 3, "group");
  if ((flags & 1) != 0) bytes.number(8, "group");
  const bool has_heap = bytes.number(8, "group") != kUndefinedAddress;
  const bool has_tree = bytes.number(8, "group") != kUndefinedAddress;
  const bool has_order = (flags & 2) != 0 && bytes.number(8, "group") != kUndefinedAddress;
  bytes.require(!has_heap && !has_tree && !has_order,
                "a group of more than 8 members with names beyond ASCII, which is not read from "
                ".h5; .keras has such names too");
}

void check_fill_value(Hdf5Bytes bytes, bool is_old) {
  if (!is_old) {
    const std::uint64_t version = bytes.number(1, "fill value");
    bytes.require(version >= 1 && version <= 3, "fill value");
    if (version == 3) {
      const std::uint64_t flags = bytes.number(1, "fill value");
      if ((flags & 0x20) == 0) return;
    } else {
      bytes.number(2, "fill value");
      const std::uint64_t is_defined = bytes.number(1, "fill value");
      if (version == 2 && is_defined == 0) return;
    }
  }
  const std::uint64_t size = bytes.number(4, "fill value");
  if (size < 0x80000000U) bytes.take(size, "fill value");
}

void check_filters(Hdf5Bytes bytes) {
  constexpr std::uint64_t kDeflate = 1;
  constexpr std::uint64_t kShuffle = 2;
  const std::uint64_t version = bytes.number(1, "filters");
  const std::uint64_t count = bytes.number(1, "filters");
  bytes.require(version == 1 || version == 2, "filters");
  bytes.require(count <= 8, "filters");
  if (version == 1) bytes.number(6, "filters");
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint64_t filter = bytes.number(2, "filters");
    bytes.require(filter == kDeflate || filter == kShuffle,
                  "a filter other than deflate and shuffle");
    const std::uint64_t name_bytes = version == 1 ? bytes.number(2, "filters") : 0;
    bytes.number(2, "filters");
    const std::uint64_t values = bytes.number(2, "filters");
    bytes.require(name_bytes % 8 == 0, "filters");
    if (name_bytes > 0) require_text(bytes.take(name_bytes, "filters"), bytes);
    bytes.take(4 * values, "filters");
    if (version == 1 && values % 2 == 1) bytes.number(4, "filters");
  }
}

}  // namespace grouphead::io
