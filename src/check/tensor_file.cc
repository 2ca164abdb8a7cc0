#include "check/tensor_file.h"

#include "io/safetensors.h"

namespace grouphead::check {

std::map<std::string, Tensor> read_tensors(const std::filesystem::path& file) {
  if (file.extension() == ".safetensors") return io::read_safetensors(file).tensors;
  throw IoError("[read] " + file.string() + ": expected a name that ends in .safetensors");
}

}  // namespace grouphead::check
