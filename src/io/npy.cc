#include "io/npy.h"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cstring>
#include <optional>
#include <vector>

#include "grouphead/core/error.h"
#include "io/file.h"

// Format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
//   "\x93NUMPY", version (two bytes), N (u16 in version 1, else u32), N bytes of a Python
//   dictionary {'descr': type, 'fortran_order': bool, 'shape': tuple}, elements.

namespace grouphead::io {
namespace {

static_assert(std::endian::native == std::endian::little, "files are little-endian");

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr std::size_t kLargestHeader = 10'000;  // NumPy's limit
constexpr std::size_t kAlignment = 64;          // of the elements in the file

struct TypeName {
  StoredType type;
  std::string_view name;
};
using Integer = StoredType::Integer;
// All but bf16, which NumPy does not have.
constexpr std::array<TypeName, 12> kTypeNames = {{{{Dtype::f32}, "<f4"},
                                                  {{Dtype::f64}, "<f8"},
                                                  {{Dtype::f16}, "<f2"},
                                                  {{Dtype::i32}, "<i4"},
                                                  {{Dtype::i64}, "<i8"},
                                                  {{Dtype::u8}, "|u1"},
                                                  {{Dtype::boolean}, "|b1"},
                                                  {{Dtype::i32, Integer::i8}, "|i1"},
                                                  {{Dtype::i32, Integer::i16}, "<i2"},
                                                  {{Dtype::i32, Integer::u16}, "<u2"},
                                                  {{Dtype::i64, Integer::u32}, "<u4"},
                                                  {{Dtype::i64, Integer::u64}, "<u8"}}};

[[noreturn]] void fail(const std::string& name, const std::string& what) {
  throw IoError("[npy] " + name + ": " + what);
}

struct Header {
  std::string type{};
  bool is_fortran = false;
  std::vector<Index> shape{};
};

/// Reads the one kind of Python dictionary that the format has.
class HeaderReader {
 public:
  HeaderReader(std::string_view text, const std::string& name) : rest_(text), name_(name) {}

  Header read() {
    expect('{');
    while (!take('}')) {
      read_entry(quoted());
      if (take(',')) continue;
      expect('}');
      break;
    }
    skip_spaces();
    if (!rest_.empty() || num_entries_ != 3) refuse();
    return std::move(header_);
  }

 private:
  [[noreturn]] void refuse() const {
    fail(name_, "header: expected a dictionary of descr, fortran_order and shape");
  }

  void read_entry(std::string_view key) {
    expect(':');
    // Each once: three of these are all of them.
    if (key == "descr" && header_.type.empty()) {
      read_type();
    } else if (key == "fortran_order" && !has_order_) {
      header_.is_fortran = boolean();
      has_order_ = true;
    } else if (key == "shape" && !has_shape_) {
      read_shape();
      has_shape_ = true;
    } else {
      refuse();
    }
    ++num_entries_;
  }

  void read_type() {
    skip_spaces();
    if (rest_.starts_with('[') || rest_.starts_with('(')) {
      header_.type = fields();
      return;
    }
    header_.type = quoted();
    if (header_.type.empty()) refuse();
  }

  void read_shape() {
    expect('(');
    while (!take(')')) {
      header_.shape.push_back(integer());
      if (take(',')) continue;
      expect(')');
      break;
    }
  }

  void skip_spaces() {
    const std::size_t begin = rest_.find_first_not_of(" \t\r\n");
    rest_.remove_prefix(std::min(begin, rest_.size()));
  }
  bool take(char c) {
    skip_spaces();
    if (!rest_.starts_with(c)) return false;
    rest_.remove_prefix(1);
    return true;
  }
  void expect(char c) {
    if (!take(c)) refuse();
  }
  bool take_word(std::string_view word) {
    skip_spaces();
    if (!rest_.starts_with(word)) return false;
    rest_.remove_prefix(word.size());
    return true;
  }

  std::string_view quoted() {
    const char quote = take('\'') ? '\'' : '"';
    if (quote == '"') expect('"');
    const std::size_t end = rest_.find(quote);
    if (end == std::string_view::npos) refuse();
    const std::string_view text = rest_.substr(0, end);
    rest_.remove_prefix(end + 1);
    return text;
  }
  /// The text of a list, to its last bracket.
  std::string fields() {
    const std::string_view begin = rest_;
    int depth = 0;
    do {
      skip_spaces();
      if (rest_.empty()) refuse();
      const char next = rest_.front();
      if (next == '\'' || next == '"') {
        quoted();
        continue;
      }
      if (next == '[' || next == '(') ++depth;
      if (next == ']' || next == ')') --depth;
      rest_.remove_prefix(1);
    } while (depth > 0);
    return std::string(begin.substr(0, begin.size() - rest_.size()));
  }
  bool boolean() {
    if (take_word("True")) return true;
    if (!take_word("False")) refuse();
    return false;
  }
  Index integer() {
    skip_spaces();
    Index value = 0;
    const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), value);
    if (error == std::errc::result_out_of_range) fail(name_, "shape: an axis beyond 2^63");
    if (error != std::errc()) refuse();
    rest_.remove_prefix(static_cast<std::size_t>(end - rest_.data()));
    take('L');  // Python 2's integers
    return value;
  }

  std::string_view rest_;
  const std::string& name_;
  Header header_;
  bool has_order_ = false;
  bool has_shape_ = false;
  int num_entries_ = 0;
};

/// Takes version, length and dictionary off the file's front.
Header take_header(std::span<const std::byte>& rest, const std::string& name) {
  const auto take = [&](void* to, std::size_t count) {
    if (rest.size() < count) fail(name, "ends in its header");
    std::memcpy(to, rest.data(), count);
    rest = rest.subspan(count);
  };
  std::array<char, 8> start{};
  take(start.data(), start.size());
  if (std::string_view(start.data(), 6) != kMagic) fail(name, "not a .npy file");
  const int version = static_cast<unsigned char>(start[6]);
  const int minor = static_cast<unsigned char>(start[7]);
  if (version < 1 || version > 3 || minor != 0) {
    fail(name, "version: expected 1.0, 2.0 or 3.0, got " + std::to_string(version) + "." +
                   std::to_string(minor));
  }
  std::uint32_t length = 0;
  take(&length, version == 1 ? 2 : 4);
  if (length > std::min(kLargestHeader, rest.size())) {
    fail(name, "expected a header of at most " +
                   std::to_string(std::min(kLargestHeader, rest.size())) + " bytes, got " +
                   std::to_string(length));
  }
  std::string text(length, '\0');
  take(text.data(), length);
  return HeaderReader(text, name).read();
}

/// The type of a header, which must be one that is read. Else `problem` says so.
std::optional<StoredType> type_of(const std::string& type, std::string& problem) {
  if (type.starts_with('[') || type.starts_with('(')) {
    problem = "descr: expected one type, got an array of fields";
    return {};
  }
  const std::string_view kind = std::string_view(type).substr(1);
  if (kind.starts_with('O')) {
    problem = "descr: arrays of Python objects are not read";
    return {};
  }
  const auto known = std::find_if(kTypeNames.begin(), kTypeNames.end(),
                                  [&](const TypeName& t) { return t.name.substr(1) == kind; });
  const bool has_order = std::string_view("<>|=").find(type[0]) != std::string_view::npos;
  if (known != kTypeNames.end() && has_order) return known->type;
  std::string names;
  for (const TypeName& t : kTypeNames) names.append(names.empty() ? "" : ", ").append(t.name);
  problem = "descr: expected one of " + names + ", got " + type;
  return {};
}

std::string rank_problem(const Header& header) {
  return "shape: expected at most 8 axes, got " + std::to_string(header.shape.size());
}

bool is_swapped(const std::string& type) { return type.starts_with('>'); }

/// Elements that stand with the first axis innermost, in our order.
Tensor from_fortran(const Tensor& flat, const Shape& shape) {
  Strides strides{};
  Index stride = 1;
  for (int axis = 0; axis < shape.rank(); ++axis) {
    strides[static_cast<std::size_t>(axis)] = stride;
    stride *= shape[axis];
  }
  Tensor tensor(shape, flat.dtype());
  copy(ConstView(flat.view().raw(), flat.dtype(), shape, strides), tensor);
  return tensor;
}

}  // namespace

Tensor read_npy(const OwnedBytes& file, const std::string& name) {
  std::span<const std::byte> rest = file.bytes;
  const Header header = take_header(rest, name);
  std::string problem;
  const std::optional<StoredType> type = type_of(header.type, problem);
  if (!type) fail(name, problem);
  if (header.shape.size() > kMaxRank) fail(name, rank_problem(header));
  Shape shape;
  try {
    shape = Shape(header.shape);
  } catch (const ShapeError& error) {
    fail(name, error.what());
  }
  const auto expected = static_cast<std::size_t>(shape.size() * type->width());
  if (rest.size() != expected) {
    fail(name, "expected " + std::to_string(expected) + " bytes for " + header.type + " " +
                   shape.to_string() + ", got " + std::to_string(rest.size()));
  }
  const bool is_reordered = header.is_fortran && shape.rank() > 1;
  const Tensor read = read_elements({rest, file.owner}, *type, is_swapped(header.type),
                                    is_reordered ? Shape({shape.size()}) : shape, "[npy] " + name);
  return is_reordered ? from_fortran(read, shape) : read;
}

StoredTensor describe_npy(std::span<const std::byte> front, const std::string& name) {
  const Header header = take_header(front, name);
  StoredTensor stored{.dtype = header.type, .shape = header.shape};
  const std::optional<StoredType> type = type_of(header.type, stored.problem);
  if (type) stored.dtype = type->name();
  if (type && header.shape.size() > kMaxRank) stored.problem = rank_problem(header);
  return stored;
}

Tensor read_npy(const std::filesystem::path& path) {
  const std::shared_ptr<MappedFile> file = MappedFile::open(path);
  return read_npy(OwnedBytes{file->bytes(), file}, path.string());
}

std::string npy_header(const Tensor& tensor, const std::string& name) {
  if (!tensor.has_value()) fail(name, "no tensor there");
  const auto known = std::find_if(kTypeNames.begin(), kTypeNames.end(), [&](const TypeName& t) {
    return t.type.dtype == tensor.dtype() && t.type.integer == Integer::none;
  });
  if (known == kTypeNames.end()) {
    fail(name, "NumPy's files have no type for " + std::string(name_of(tensor.dtype())));
  }
  std::string text =
      "{'descr': '" + std::string(known->name) + "', 'fortran_order': False, 'shape': (";
  for (const Index size : tensor.shape()) text += std::to_string(size) + ", ";
  if (tensor.rank() > 1) text.resize(text.size() - 2);
  if (tensor.rank() == 1) text.pop_back();
  text += "), }";
  constexpr std::size_t kBefore = kMagic.size() + 4;
  const std::size_t used = kBefore + text.size() + 1;  // with the last newline
  text.append((kAlignment - used % kAlignment) % kAlignment, ' ');
  text += '\n';
  std::string header(kMagic);
  header += {'\1', '\0'};
  header += {static_cast<char>(text.size() & 0xff), static_cast<char>(text.size() >> 8)};
  return header + text;
}

void write_npy(const std::filesystem::path& path, const Tensor& tensor) {
  const std::string header = npy_header(tensor, path.string());
  write_file(path, [&](const Append& append) {
    append(header);
    append(
        {static_cast<const char*>(tensor.view().raw()), static_cast<std::size_t>(tensor.bytes())});
  });
}

}  // namespace grouphead::io
