#include "grouphead/files/tensors.h"

#include <algorithm>
#include <array>

#include "core/check.h"
#include "core/number_text.h"
#include "io/npz.h"
#include "io/safetensors.h"
#include "ops/convert.h"

namespace grouphead {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void refuse(const char* operation, const fs::path& file, const std::string& problem) {
  throw IoError("[" + std::string(operation) + "] " + file.string() + ": " + problem);
}

constexpr const char* kExtensions = "expected a name that ends in .safetensors or .npz";

io::StoredTensors open_tensors(const fs::path& file) {
  if (file.extension() == ".safetensors") return io::open_safetensors(file);
  if (file.extension() == ".npz") return io::open_npz(file);
  refuse("read", file, kExtensions);
}

/// The value of an element, for messages.
std::string value_text(const Tensor& tensor, Index at) {
  double value = 0;
  const Tensor one(View(const_cast<std::byte*>(static_cast<const std::byte*>(tensor.view().raw())) +
                            at * size_of(tensor.dtype()),
                        tensor.dtype(), {1}),
                   nullptr);
  if (!ops::is_floating(tensor.dtype())) {
    Index integer = 0;
    ops::convert_exactly(one, View(&integer, {1}));
    return std::to_string(integer);
  }
  ops::convert_rounded(one, Dtype::f64, View(&value, {1}));
  return core::number_text(value);
}

}  // namespace

struct TensorFile::Contents {
  fs::path file;
  io::StoredTensors stored;
  std::vector<TensorInfo> infos{};
};

TensorFile::TensorFile(const fs::path& file)
    : contents_(std::make_unique<Contents>(Contents{file, open_tensors(file)})) {
  for (const auto& [name, stored] : contents_->stored.tensors) {
    contents_->infos.push_back({name, stored.dtype, stored.shape, stored.problem});
  }
}
TensorFile::TensorFile(TensorFile&&) noexcept = default;
TensorFile& TensorFile::operator=(TensorFile&&) noexcept = default;
TensorFile::~TensorFile() = default;

const std::vector<TensorInfo>& TensorFile::tensors() const noexcept { return contents_->infos; }

const std::map<std::string, std::string>& TensorFile::metadata() const noexcept {
  return contents_->stored.metadata;
}

bool TensorFile::contains(std::string_view name) const noexcept {
  return std::any_of(contents_->infos.begin(), contents_->infos.end(),
                     [&](const TensorInfo& info) { return info.name == name; });
}

Tensor TensorFile::read(const std::string& name) const { return contents_->stored.read(name); }

Tensor TensorFile::read(const std::string& name, Dtype dtype) const {
  const Tensor stored = read(name);
  try {
    return cast_exactly(stored, dtype);
  } catch (const ShapeError& error) {
    refuse("read", contents_->file, name + ": " + error.what());
  }
}

Tensor cast_exactly(const Tensor& tensor, Dtype dtype) {
  if (!tensor.has_value()) core::throw_shape_error("cast_exactly", "tensor", "a tensor", "none");
  if (tensor.dtype() == dtype) return tensor;
  Tensor made(tensor.shape(), dtype);
  if (ops::is_floating(tensor.dtype()) && ops::is_floating(dtype)) {
    ops::convert_rounded(tensor, dtype, made);
    return made;
  }
  const Index other = ops::convert_exactly(tensor, made);
  if (other < 0) return made;
  core::throw_shape_error("cast_exactly", "values",
                          "values that " + std::string(name_of(dtype)) + " has",
                          value_text(tensor, other) + " at " + std::to_string(other) + " of " +
                              std::string(name_of(tensor.dtype())));
}

std::map<std::string, Tensor> read_tensors(const fs::path& file,
                                           const ReadTensorsOptions& options) {
  const TensorFile opened(file);
  std::map<std::string, Tensor> tensors;
  for (const TensorInfo& info : opened.tensors()) {
    if (!options.rename && !info.problem.empty()) continue;
    const std::string name = options.rename ? options.rename(info.name) : info.name;
    if (name.empty()) continue;
    Tensor tensor = opened.read(info.name);
    if (options.floating && ops::is_floating(tensor.dtype())) {
      tensor = cast_exactly(tensor, *options.floating);
    }
    if (!tensors.emplace(name, std::move(tensor)).second) {
      refuse("read", file, info.name + ": expected a new name, got a second " + name);
    }
  }
  return tensors;
}

void write_tensors(const fs::path& file, const std::map<std::string, Tensor>& tensors,
                   const std::map<std::string, std::string>& metadata) {
  if (file.extension() == ".npz") {
    if (!metadata.empty()) refuse("write", file, "expected no metadata, which .npz does not have");
    return io::write_npz(file, tensors);
  }
  if (file.extension() != ".safetensors") refuse("write", file, kExtensions);
  io::write_safetensors(file, {.metadata = metadata, .tensors = tensors});
}

}  // namespace grouphead
