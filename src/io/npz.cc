#include "io/npz.h"

#include <vector>

#include "grouphead/core/error.h"
#include "io/file.h"
#include "io/npy.h"
#include "io/zip.h"

namespace grouphead::io {
namespace {

constexpr std::string_view kSuffix = ".npy";

}  // namespace

std::map<std::string, Tensor> read_npz(const OwnedBytes& file, const std::string& name) {
  const ZipFile archive(file, name);
  std::map<std::string, Tensor> tensors;
  for (const std::string& member : archive.names()) {
    if (!member.ends_with(kSuffix)) {
      throw IoError("[npz] " + name + ": " + member + ": expected members *.npy alone");
    }
    tensors.emplace(member.substr(0, member.size() - kSuffix.size()),
                    read_npy(archive.read(member), name + ": " + member));
  }
  return tensors;
}

std::map<std::string, Tensor> read_npz(const std::filesystem::path& path) {
  const std::shared_ptr<MappedFile> file = MappedFile::open(path);
  return read_npz(OwnedBytes{file->bytes(), file}, path.string());
}

void write_npz(const std::filesystem::path& path, const std::map<std::string, Tensor>& tensors) {
  std::vector<std::string> files;
  files.reserve(tensors.size());
  std::vector<ZipMember> members;
  for (const auto& [name, tensor] : tensors) {
    files.push_back(npy_header(tensor, path.string() + ": " + name));
    files.back().append(static_cast<const char*>(tensor.view().raw()),
                        static_cast<std::size_t>(tensor.bytes()));
    members.push_back({name + std::string(kSuffix), files.back()});
  }
  write_zip(path, members);
}

}  // namespace grouphead::io
