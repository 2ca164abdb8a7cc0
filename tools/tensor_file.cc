#include "tools/tensor_file.h"

#include "io/npz.h"
#include "io/safetensors.h"

namespace grouphead::tools {
namespace {

[[noreturn]] void refuse(const char* operation, const std::filesystem::path& file) {
  throw IoError("[" + std::string(operation) + "] " + file.string() +
                ": expected a name that ends in .safetensors or .npz");
}

}  // namespace

std::map<std::string, Tensor> read_tensors(const std::filesystem::path& file) {
  if (file.extension() == ".safetensors") return io::read_safetensors(file).tensors;
  if (file.extension() == ".npz") return io::read_npz(file);
  refuse("read", file);
}

void write_tensors(const std::filesystem::path& file,
                   const std::map<std::string, Tensor>& tensors) {
  if (file.extension() == ".npz") return io::write_npz(file, tensors);
  if (file.extension() != ".safetensors") refuse("write", file);
  io::write_safetensors(file, {.metadata = {}, .tensors = tensors});
}

}  // namespace grouphead::tools
