#include "fuzz.h"
#include "io/safetensors.h"

namespace {

void read(const std::uint8_t* data, std::size_t size) {
  namespace gh = grouphead;
  const auto contents = gh::io::read_safetensors(gh::fuzz::owned(data, size), "bytes");
  for (const auto& [name, tensor] : contents.tensors) gh::fuzz::touch(tensor);
}

}  // namespace

GROUPHEAD_FUZZ_TARGET(read(data, size))
