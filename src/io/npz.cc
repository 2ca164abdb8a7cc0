#include "io/npz.h"

#include <vector>

#include "grouphead/core/error.h"
#include "io/file.h"
#include "io/npy.h"
#include "io/zip.h"

namespace grouphead::io {
namespace {

constexpr std::string_view kSuffix = ".npy";

StoredTensor describe(const std::shared_ptr<ZipFile>& archive, const std::string& member,
                      const std::string& name) {
  const std::string where = name + ": " + member;
  try {
    if (!member.ends_with(kSuffix)) {
      return {.dtype = "file",
              .shape = {static_cast<Index>(archive->size_of(member))},
              .problem = "expected a member *.npy, got another file"};
    }
    const std::string front = archive->front(member, kNpyFront);
    StoredTensor stored = describe_npy(std::as_bytes(std::span(front)), where);
    stored.read = [archive, member, where] { return read_npy(archive->read(member), where); };
    return stored;
  } catch (const IoError& error) {
    return {.dtype = "unknown", .problem = error.what()};
  }
}

}  // namespace

StoredTensors open_npz(const OwnedBytes& file, const std::string& name) {
  const auto archive = std::make_shared<ZipFile>(file, name);
  StoredTensors stored(name);
  for (const std::string& member : archive->names()) {
    if (member.ends_with('/')) continue;  // a folder
    std::string key = member;
    if (key.ends_with(kSuffix)) key.resize(key.size() - kSuffix.size());
    StoredTensor described = describe(archive, member, name);
    // An array goes before another file of its name.
    if (described.read) {
      stored.tensors.insert_or_assign(key, std::move(described));
    } else {
      stored.tensors.emplace(key, std::move(described));
    }
  }
  return stored;
}

StoredTensors open_npz(const std::filesystem::path& path) {
  const std::shared_ptr<MappedFile> file = MappedFile::open(path);
  return open_npz(OwnedBytes{file->bytes(), file}, path.string());
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
