#include "io/stored_tensors.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "grouphead/core/error.h"

namespace grouphead::io {
namespace {

template <class From, class To>
Tensor widened(std::span<const std::byte> bytes, const Shape& shape, const std::string& where) {
  Tensor made(shape, kDtypeOf<To>);
  To* to = made.data<To>();
  for (Index i = 0; i < made.size(); ++i) {
    From value{};
    std::memcpy(&value, bytes.data() + static_cast<std::size_t>(i) * sizeof(From), sizeof(From));
    if constexpr (sizeof(From) == sizeof(To)) {
      if (value > static_cast<From>(std::numeric_limits<To>::max())) {
        throw IoError(where + ": expected integers below 2^63, got " + std::to_string(value));
      }
    }
    to[i] = static_cast<To>(value);
  }
  return made;
}

/// A copy with the bytes of each element in the other order.
OwnedBytes with_other_order(std::span<const std::byte> bytes, std::size_t width) {
  const auto owner = std::make_shared<std::vector<std::byte>>(bytes.begin(), bytes.end());
  for (std::size_t i = 0; i + width <= owner->size(); i += width) {
    std::reverse(owner->begin() + static_cast<std::ptrdiff_t>(i),
                 owner->begin() + static_cast<std::ptrdiff_t>(i + width));
  }
  return {*owner, owner};
}

}  // namespace

Index StoredType::width() const noexcept {
  switch (integer) {
    case Integer::none:
      break;
    case Integer::i8:
      return 1;
    case Integer::i16:
    case Integer::u16:
      return 2;
    case Integer::u32:
      return 4;
    case Integer::u64:
      return 8;
  }
  return size_of(dtype);
}

std::string StoredType::name() const {
  switch (integer) {
    case Integer::none:
      break;
    case Integer::i8:
      return "i8";
    case Integer::i16:
      return "i16";
    case Integer::u16:
      return "u16";
    case Integer::u32:
      return "u32";
    case Integer::u64:
      return "u64";
  }
  return std::string(name_of(dtype));
}

Tensor read_elements(const OwnedBytes& elements, const StoredType& type, bool swapped,
                     const Shape& shape, const std::string& where) {
  const auto width = static_cast<std::size_t>(type.width());
  const OwnedBytes bytes =
      swapped && width > 1 ? with_other_order(elements.bytes, width) : elements;
  switch (type.integer) {
    case StoredType::Integer::none:
      break;
    case StoredType::Integer::i8:
      return widened<std::int8_t, std::int32_t>(bytes.bytes, shape, where);
    case StoredType::Integer::i16:
      return widened<std::int16_t, std::int32_t>(bytes.bytes, shape, where);
    case StoredType::Integer::u16:
      return widened<std::uint16_t, std::int32_t>(bytes.bytes, shape, where);
    case StoredType::Integer::u32:
      return widened<std::uint32_t, std::int64_t>(bytes.bytes, shape, where);
    case StoredType::Integer::u64:
      return widened<std::uint64_t, std::int64_t>(bytes.bytes, shape, where);
  }
  return tensor_over(bytes, type.dtype, shape, where);
}

Tensor StoredTensors::read(const std::string& name) const {
  const auto found = tensors.find(name);
  if (found == tensors.end()) throw IoError("[read] " + file_ + ": " + name + ": no such tensor");
  const StoredTensor& stored = found->second;
  if (!stored.problem.empty()) {
    throw IoError("[read] " + file_ + ": " + name + ": " + stored.problem);
  }
  return stored.read();
}

std::map<std::string, Tensor> StoredTensors::read_all() const {
  std::map<std::string, Tensor> all;
  for (const auto& [name, stored] : tensors) all.emplace(name, read(name));
  return all;
}

}  // namespace grouphead::io
