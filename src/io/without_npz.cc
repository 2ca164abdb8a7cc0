// Stands in for npz.cc in a build without archives.

#include "grouphead/core/error.h"
#include "io/npz.h"

namespace grouphead::io {
namespace {

[[noreturn]] void refuse(const std::string& name) {
  throw IoError("[npz] " + name + ": this build reads and writes no archives");
}

}  // namespace

StoredTensors open_npz(const OwnedBytes& /*file*/, const std::string& name) { refuse(name); }

StoredTensors open_npz(const std::filesystem::path& path) { refuse(path.string()); }

void write_npz(const std::filesystem::path& path,
               const std::map<std::string, Tensor>& /*tensors*/) {
  refuse(path.string());
}

}  // namespace grouphead::io
