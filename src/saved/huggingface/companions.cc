#include "saved/huggingface/companions.h"

#include <algorithm>
#include <array>

#include "grouphead/core/error.h"
#include "io/file.h"
#include "saved/huggingface/folder.h"

namespace grouphead::saved {
namespace {

namespace fs = std::filesystem;

constexpr std::array<std::string_view, 4> kEndings = {".json", ".txt", ".model", ".jinja"};
constexpr std::uintmax_t kMostBytes = 256 << 20;

bool is_companion(const std::string& name) {
  if (name == kConfigName || name.ends_with(".index.json")) return false;
  return std::any_of(kEndings.begin(), kEndings.end(),
                     [&](std::string_view ending) { return name.ends_with(ending); });
}

void add(const fs::path& folder, const std::string& name,
         std::map<std::string, std::string>& files) {
  const fs::path file = folder / name;
  std::error_code error;
  if (!fs::is_regular_file(file, error)) return;
  if (fs::file_size(file, error) > kMostBytes || error) {
    throw IoError("[load_pretrained] " + file.string() + ": expected a file of at most " +
                  std::to_string(kMostBytes) + " bytes");
  }
  files.emplace(name, io::read_file(file));
}

}  // namespace

std::map<std::string, std::string> read_companions(const fs::path& folder) {
  std::map<std::string, std::string> files;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (is_companion(name)) add(folder, name, files);
    // A module of sentence-transformers: 1_Pooling/config.json.
    const bool is_module = !name.empty() && name.front() >= '0' && name.front() <= '9';
    if (is_module) add(folder, name + "/config.json", files);
  }
  return files;
}

void write_companions(const std::map<std::string, std::string>& files, const fs::path& folder) {
  for (const auto& [name, contents] : files) {
    std::error_code error;
    fs::create_directories((folder / name).parent_path(), error);
    io::write_file(folder / name, contents);
  }
}

}  // namespace grouphead::saved
