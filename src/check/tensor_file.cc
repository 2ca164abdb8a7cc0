#include "check/tensor_file.h"

#include "io/npz.h"
#include "io/safetensors.h"

namespace grouphead::check {

std::map<std::string, Tensor> read_tensors(const std::filesystem::path& file) {
  if (file.extension() == ".safetensors") return io::read_safetensors(file).tensors;
  if (file.extension() == ".npz") return io::read_npz(file);
  throw IoError("[read] " + file.string() + ": expected a name that ends in .safetensors or .npz");
}

}  // namespace grouphead::check
