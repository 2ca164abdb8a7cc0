// Whole files of Keras: archive, configuration and weights together.

#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "fuzz.h"
#include "grouphead/files/saved_model.h"

namespace {

void read(const std::uint8_t* data, std::size_t size) {
  static const std::filesystem::path file =
      std::filesystem::temp_directory_path() /
      ("grouphead-fuzz-" + std::to_string(::getpid()) + ".keras");
  std::ofstream(file, std::ios::binary)
      .write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(size));
  grouphead::load_compiled_model(file);
}

}  // namespace

GROUPHEAD_FUZZ_TARGET(read(data, size))
