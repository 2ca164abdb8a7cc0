#include "io/safetensors.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "grouphead/core/error.h"
#include "io/file.h"

// Format: https://github.com/huggingface/safetensors#format
//   u64 N, little-endian; N bytes of JSON; tensor data without holes.
//   { "__metadata__": {text: text}, name: {"dtype", "shape", "data_offsets": [begin, end]} }

namespace grouphead::io {
namespace {

static_assert(std::endian::native == std::endian::little, "files are little-endian");

using Json = nlohmann::json;

constexpr Index kLargestHeader = 100'000'000;  // the limit of the format's first implementation
constexpr std::string_view kMetadata = "__metadata__";

struct TypeName {
  StoredType type;
  std::string_view name;
};
using Integer = StoredType::Integer;
constexpr std::array<TypeName, 13> kTypeNames = {{{{Dtype::f32}, "F32"},
                                                  {{Dtype::f64}, "F64"},
                                                  {{Dtype::f16}, "F16"},
                                                  {{Dtype::bf16}, "BF16"},
                                                  {{Dtype::i32}, "I32"},
                                                  {{Dtype::i64}, "I64"},
                                                  {{Dtype::u8}, "U8"},
                                                  {{Dtype::boolean}, "BOOL"},
                                                  {{Dtype::i32, Integer::i8}, "I8"},
                                                  {{Dtype::i32, Integer::i16}, "I16"},
                                                  {{Dtype::i32, Integer::u16}, "U16"},
                                                  {{Dtype::i64, Integer::u32}, "U32"},
                                                  {{Dtype::i64, Integer::u64}, "U64"}}};

std::string_view file_name_of(Dtype dtype) {
  for (const TypeName& known : kTypeNames) {
    if (known.type.dtype == dtype && known.type.integer == Integer::none) return known.name;
  }
  return {};
}

[[noreturn]] void fail(const std::string& name, const std::string& what) {
  throw IoError("[safetensors] " + name + ": " + what);
}

/// What the header says of one tensor.
struct Entry {
  std::string name;
  std::string dtype;
  std::optional<std::vector<Index>> shape{};
  std::optional<std::vector<Index>> offsets{};
};

/// Takes the header's JSON event by event and refuses whatever the format does not have, so that
/// neither depth nor size beyond the format is ever built.
class HeaderHandler final : public nlohmann::json_sax<Json> {
 public:
  std::map<std::string, std::string> metadata;
  std::vector<Entry> entries;
  std::string problem;

  bool null() override { return refuse("null"); }
  bool boolean(bool) override { return refuse("a boolean"); }
  bool number_integer(number_integer_t) override { return refuse("a negative number"); }
  bool number_float(number_float_t, const string_t&) override { return refuse("a fraction"); }
  bool binary(binary_t&) override { return refuse("binary data"); }

  bool number_unsigned(number_unsigned_t value) override {
    if (numbers_ == nullptr) return refuse("a number");
    if (value > static_cast<number_unsigned_t>(std::numeric_limits<Index>::max())) {
      return refuse("a number beyond 2^63");
    }
    numbers_->push_back(static_cast<Index>(value));
    return true;
  }

  bool string(string_t& value) override {
    if (depth_ == 2 && in_metadata_) {
      if (!metadata.emplace(field_, value).second) return refuse("a second value");
      return true;
    }
    if (depth_ != 2 || field_ != "dtype") return refuse("a string");
    if (!entries.back().dtype.empty()) return refuse("a second value");
    entries.back().dtype = value;
    return true;
  }

  bool start_object(std::size_t) override {
    if (depth_ > 1 || numbers_ != nullptr) return refuse("an object");
    ++depth_;
    return true;
  }

  bool key(string_t& name) override {
    if (depth_ == 2) {
      field_ = name;
      return true;
    }
    where_ = name;
    field_.clear();
    in_metadata_ = name == kMetadata;
    if (in_metadata_ ? had_metadata_ : !names_.emplace(name, 0).second) {
      return refuse("a second value");
    }
    if (in_metadata_) {
      had_metadata_ = true;
    } else {
      entries.push_back({.name = name, .dtype = {}});
    }
    return true;
  }

  bool end_object() override {
    --depth_;
    return true;
  }

  bool start_array(std::size_t) override {
    if (depth_ != 2 || in_metadata_ || numbers_ != nullptr) return refuse("a list");
    Entry& entry = entries.back();
    std::optional<std::vector<Index>>* target = field_ == "shape"          ? &entry.shape
                                                : field_ == "data_offsets" ? &entry.offsets
                                                                           : nullptr;
    if (target == nullptr) return refuse("a list");
    if (target->has_value()) return refuse("a second value");
    numbers_ = &target->emplace();
    return true;
  }

  bool end_array() override {
    numbers_ = nullptr;
    return true;
  }

  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception&) override {
    problem = "header: not JSON at byte " + std::to_string(position);
    return false;
  }

 private:
  bool refuse(std::string_view what) {
    problem = "header: ";
    if (!where_.empty()) problem += where_ + ": ";
    if (!field_.empty()) problem += field_ + ": ";
    problem += std::string(what) + " does not belong here";
    return false;
  }

  int depth_ = 0;
  bool in_metadata_ = false;
  bool had_metadata_ = false;
  std::string where_;
  std::string field_;
  std::map<std::string, int> names_;
  std::vector<Index>* numbers_ = nullptr;  // the list being read
};

/// A tensor of the file, its place and the sizes of known types checked.
struct Range {
  std::string name{};
  StoredTensor stored{};
  std::optional<StoredType> type{};
  Index begin = 0;
  Index end = 0;
};

/// Gives the range its type; `problem` where it has none that is read.
void check_type(const std::string& name, const Entry& entry, Range& range) {
  const auto known = std::find_if(kTypeNames.begin(), kTypeNames.end(),
                                  [&](const TypeName& t) { return t.name == entry.dtype; });
  if (known == kTypeNames.end()) {
    range.stored.problem = "expected a dtype that is read, got " + entry.dtype;
    return;
  }
  range.stored.dtype = known->type.name();
  if (entry.shape->size() > kMaxRank) {
    range.stored.problem = "expected at most 8 axes, got " + std::to_string(entry.shape->size());
    return;
  }
  range.type = known->type;
  Shape shape;
  try {
    shape = Shape(*entry.shape);
  } catch (const ShapeError& error) {
    fail(name, entry.name + ": " + error.what());
  }
  const Index expected = shape.size() * known->type.width();
  if (range.end - range.begin != expected) {
    fail(name, entry.name + ": expected " + std::to_string(expected) + " bytes for " + entry.dtype +
                   " " + shape.to_string() + ", got " + std::to_string(range.end - range.begin));
  }
}

Range checked_range(const std::string& name, const Entry& entry, Index data_bytes) {
  if (entry.dtype.empty() || !entry.shape || !entry.offsets || entry.offsets->size() != 2) {
    fail(name, entry.name + ": expected dtype, shape and two data_offsets");
  }
  Range range{.name = entry.name,
              .stored = {.dtype = entry.dtype, .shape = *entry.shape},
              .begin = (*entry.offsets)[0],
              .end = (*entry.offsets)[1]};
  if (range.begin > range.end || range.end > data_bytes) {
    fail(name, entry.name + ": expected a range inside " + std::to_string(data_bytes) +
                   " bytes of data, got " + std::to_string(range.begin) + " .. " +
                   std::to_string(range.end));
  }
  check_type(name, entry, range);
  return range;
}

/// In the order of the data, without overlap or hole. Errors: IoError.
std::vector<Range> checked_ranges(const std::string& name, const std::vector<Entry>& entries,
                                  Index data_bytes) {
  std::vector<Range> ranges;
  ranges.reserve(entries.size());
  for (const Entry& entry : entries) ranges.push_back(checked_range(name, entry, data_bytes));
  std::sort(ranges.begin(), ranges.end(), [](const Range& a, const Range& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
  });
  Index position = 0;
  for (const Range& range : ranges) {
    if (range.begin != position) {
      fail(name, range.name + ": expected data at byte " + std::to_string(position) + ", got " +
                     std::to_string(range.begin) + " (overlap or hole)");
    }
    position = range.end;
  }
  if (position != data_bytes) {
    fail(name, "expected " + std::to_string(position) + " bytes of data, got " +
                   std::to_string(data_bytes));
  }
  return ranges;
}

/// The JSON of the header, with spaces up to a multiple of 8 bytes.
std::string header_text(const std::string& file,
                        const std::vector<std::pair<std::string, LateTensor>>& tensors,
                        const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header[std::string(kMetadata)] = metadata;
  Index position = 0;
  for (const auto& [name, tensor] : tensors) {
    if (name == kMetadata) fail(file, name + ": not a tensor's name");
    const Index end = position + tensor.shape.size() * size_of(tensor.dtype);
    header[name] = {
        {"dtype", file_name_of(tensor.dtype)},
        {"shape", std::vector<Index>(tensor.shape.begin(), tensor.shape.end())},
        {"data_offsets", {position, end}},
    };
    position = end;
  }
  std::string text;
  try {
    text = header.dump();
  } catch (const nlohmann::json::exception&) {
    fail(file, "names and metadata must be UTF-8");
  }
  text.append((8 - text.size() % 8) % 8, ' ');
  return text;
}

// Widest elements first keeps every tensor aligned for readers that map the file.
std::vector<std::pair<std::string, LateTensor>> in_order(const std::string& file,
                                                         const Safetensors& contents) {
  std::map<std::string, LateTensor> all = contents.late;
  for (const auto& [name, tensor] : contents.tensors) {
    if (!tensor.has_value()) fail(file, name + ": no tensor there");
    all[name] = {tensor.dtype(), tensor.shape(), [one = &tensor] { return *one; }};
  }
  std::vector<std::pair<std::string, LateTensor>> tensors(all.begin(), all.end());
  std::stable_sort(tensors.begin(), tensors.end(), [](const auto& a, const auto& b) {
    return size_of(a.second.dtype) > size_of(b.second.dtype);
  });
  return tensors;
}

}  // namespace

const Tensor& Safetensors::at(const std::string& name) const {
  const auto found = tensors.find(name);
  if (found == tensors.end()) throw IoError("[safetensors] " + name + ": no such tensor");
  return found->second;
}

StoredTensors open_safetensors(const OwnedBytes& file, const std::string& name) {
  std::span<const std::byte> rest = file.bytes;
  std::uint64_t header_bytes = 0;
  if (rest.size() < 8) fail(name, "expected at least 8 bytes, got " + std::to_string(rest.size()));
  std::memcpy(&header_bytes, rest.data(), 8);
  rest = rest.subspan(8);
  const auto limit = std::min<std::uint64_t>(rest.size(), kLargestHeader);
  if (header_bytes > limit) {
    fail(name, "expected a header of at most " + std::to_string(limit) + " bytes, got " +
                   std::to_string(header_bytes));
  }
  HeaderHandler header;
  const auto* text = reinterpret_cast<const char*>(rest.data());
  if (!Json::sax_parse(std::string_view(text, header_bytes), &header)) fail(name, header.problem);
  rest = rest.subspan(header_bytes);
  StoredTensors contents(name);
  for (Range& range : checked_ranges(name, header.entries, static_cast<Index>(rest.size()))) {
    const OwnedBytes elements{rest.subspan(static_cast<std::size_t>(range.begin),
                                           static_cast<std::size_t>(range.end - range.begin)),
                              file.owner};
    if (range.type) {
      range.stored.read = [elements, type = *range.type, shape = Shape(range.stored.shape),
                           where = "[safetensors] " + name + ": " + range.name] {
        return read_elements(elements, type, /*swapped=*/false, shape, where);
      };
    }
    contents.tensors.emplace(range.name, std::move(range.stored));
  }
  contents.metadata = std::move(header.metadata);
  return contents;
}

StoredTensors open_safetensors(const std::filesystem::path& path) {
  const std::shared_ptr<MappedFile> file = MappedFile::open(path);
  return open_safetensors(OwnedBytes{file->bytes(), file}, path.string());
}

namespace {

Safetensors all_of(const StoredTensors& stored) {
  return {.metadata = stored.metadata, .tensors = stored.read_all()};
}

}  // namespace

Safetensors read_safetensors(const OwnedBytes& file, const std::string& name) {
  return all_of(open_safetensors(file, name));
}

Safetensors read_safetensors(const std::filesystem::path& path) {
  return all_of(open_safetensors(path));
}

void write_safetensors(const std::filesystem::path& path, const Safetensors& contents,
                       Links links) {
  const auto tensors = in_order(path.string(), contents);
  const std::string header = header_text(path.string(), tensors, contents.metadata);
  const std::uint64_t header_bytes = header.size();
  const auto produce = [&](const Append& append) {
    append({reinterpret_cast<const char*>(&header_bytes), 8});
    append(header);
    for (const auto& [name, late] : tensors) {
      const Tensor tensor = late.make();
      if (!tensor.has_value() || tensor.dtype() != late.dtype || tensor.shape() != late.shape) {
        fail(path.string(), name + ": a tensor of another type or shape than was announced");
      }
      append({static_cast<const char*>(tensor.view().raw()),
              static_cast<std::size_t>(tensor.bytes())});
    }
  };
  write_file(path, produce, links);
}

}  // namespace grouphead::io
