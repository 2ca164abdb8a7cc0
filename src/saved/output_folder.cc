#include "saved/output_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

#include "grouphead/core/error.h"
#include "io/file.h"

namespace grouphead::saved {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> entries_of(const fs::path& folder) {
  std::vector<fs::path> entries;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    entries.push_back(it->path());
  }
  std::sort(entries.begin(), entries.end());
  return entries;
}

}  // namespace

OutputFolder::OutputFolder(fs::path folder, std::string_view operation)
    : path_(std::move(folder)), operation_(operation) {
  make();
  lock();
}

OutputFolder::~OutputFolder() {
  std::error_code ignored;
  for (const fs::path& folder : made_) fs::remove(folder, ignored);
  if (locked_ >= 0) ::close(locked_);
}

void OutputFolder::make() {
  std::vector<fs::path> missing;
  std::error_code error;
  for (fs::path at = fs::absolute(path_); !fs::exists(at, error) && at.has_relative_path();
       at = at.parent_path()) {
    missing.push_back(at);
  }
  fs::create_directories(path_, error);
  if (!error && !fs::is_directory(path_)) error = std::make_error_code(std::errc::not_a_directory);
  if (error) {
    for (const fs::path& folder : missing) {
      std::error_code ignored;
      fs::remove(folder, ignored);
    }
    throw IoError("[" + operation_ + "] " + path_.string() + ": " + error.message());
  }
  made_ = std::move(missing);
}

void OutputFolder::lock() {
  locked_ = ::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  // File systems without locks let everyone in, as all did before there were locks.
  if (locked_ < 0 || ::flock(locked_, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) return;
  ::close(std::exchange(locked_, -1));
  throw IoError("[" + operation_ + "] " + path_.string() +
                ": another process is writing into this folder; wait for its end, or give another "
                "folder");
}

void OutputFolder::require_empty() const {
  io::remove_leftovers(path_);
  const std::vector<fs::path> entries = entries_of(path_);
  if (entries.empty()) return;
  std::string found = entries.front().filename().string();
  if (entries.size() > 1) found += " and " + std::to_string(entries.size() - 1) + " more";
  throw ConfigError("[" + operation_ + "] " + path_.string() +
                    ": expected a new or an empty folder, got one with " + found +
                    "; --overwrite writes there all the same, over files of the same names");
}

}  // namespace grouphead::saved
