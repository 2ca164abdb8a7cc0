#include "fuzz.h"
#include "io/hdf5.h"

namespace {

void read(const std::uint8_t* data, std::size_t size) {
  const auto bytes = grouphead::fuzz::owned(data, size);
  const grouphead::io::Hdf5File file(bytes.bytes, bytes.owner, "bytes");
  for (const auto& [path, dataset] : file.datasets()) {
    try {
      grouphead::fuzz::touch(file.read(path));
    } catch (const grouphead::IoError&) {
      // The next one may be readable.
    }
  }
}

}  // namespace

GROUPHEAD_FUZZ_TARGET(read(data, size))
