#include "io/file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

#include "grouphead/core/error.h"
#include "io/limits.h"

namespace grouphead::io {
namespace {

namespace fs = std::filesystem;

// Names of files that are being written: both around 16 random hexadecimal digits.
constexpr std::string_view kTemporaryStart = ".grouphead-";
constexpr std::string_view kTemporaryEnd = ".writing";
constexpr std::size_t kTemporaryDigits = 16;
constexpr const char* kDescriptors = "/proc/self/fd/";
constexpr Index kLargestCall = Index{1} << 30;  // Linux moves at most 2 GiB per call

[[noreturn]] void throw_system_error(std::string_view operation, const fs::path& path, int error) {
  throw IoError("[" + std::string(operation) + "] " + path.string() + ": " +
                std::generic_category().message(error));
}

/// A descriptor that closes itself; close() reports what the system says at last.
class Descriptor {
 public:
  explicit Descriptor(int descriptor) noexcept : descriptor_(descriptor) {}
  ~Descriptor() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const noexcept { return descriptor_; }
  bool close() noexcept { return ::close(std::exchange(descriptor_, -1)) == 0; }

 private:
  int descriptor_;
};

void write_all(int descriptor, std::string_view bytes, const fs::path& path) {
  while (!bytes.empty()) {
    const auto chunk = std::min<std::size_t>(bytes.size(), kLargestCall);
    const ssize_t count = ::write(descriptor, bytes.data(), chunk);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw_system_error("write", path, errno);
    bytes.remove_prefix(static_cast<std::size_t>(count));
  }
}

// Some file systems cannot flush and say EINVAL; there is nothing better to do there.
void flush(int descriptor, const fs::path& path) {
  if (::fsync(descriptor) != 0 && errno != EINVAL && errno != ENOTSUP) {
    throw_system_error("write", path, errno);
  }
}

void flush_folder(const fs::path& folder) {
  const Descriptor opened(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (opened.get() >= 0) flush(opened.get(), folder);
}

// Names of descriptors that are open already: what they write to must not be swapped away.
bool names_open_descriptor(const fs::path& path) {
  const std::string text = path.lexically_normal().string();
  return text == "/dev/stdout" || text == "/dev/stderr" || text.starts_with("/dev/fd/") ||
         text.starts_with(kDescriptors);
}

bool is_written_directly(const fs::path& path, const fs::file_status& status) {
  return (fs::exists(status) && !fs::is_regular_file(status)) || names_open_descriptor(path);
}

void write_directly(const fs::path& path, const std::function<void(const Append&)>& produce) {
  Descriptor opened(::open(path.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC));
  if (opened.get() < 0) throw_system_error("write", path, errno);
  produce([&](std::string_view bytes) { write_all(opened.get(), bytes, path); });
  if (!opened.close()) throw_system_error("write", path, errno);
}

fs::path folder_of(const fs::path& file) {
  return file.has_parent_path() ? file.parent_path() : fs::path(".");
}

/// Nobody can guess it, so nobody can be in its place beforehand.
fs::path temporary_in(const fs::path& folder) {
  std::array<unsigned char, kTemporaryDigits / 2> random{};
  if (::getrandom(random.data(), random.size(), 0) != static_cast<ssize_t>(random.size())) {
    throw_system_error("write", folder, errno);
  }
  std::string name(kTemporaryStart);
  for (const unsigned char byte : random) {
    name += "0123456789abcdef"[byte >> 4];
    name += "0123456789abcdef"[byte & 15];
  }
  return folder / name.append(kTemporaryEnd);
}

bool is_temporary(const std::string& name) {
  if (name.size() != kTemporaryStart.size() + kTemporaryDigits + kTemporaryEnd.size()) return false;
  const std::string digits = name.substr(kTemporaryStart.size(), kTemporaryDigits);
  return name.starts_with(kTemporaryStart) && name.ends_with(kTemporaryEnd) &&
         digits.find_first_not_of("0123456789abcdef") == std::string::npos;
}

/// A new file that becomes `target` all at once, or goes.
class NewFile {
 public:
  /// `shown` is the path of messages.
  NewFile(fs::path target, const fs::path& shown)
      : target_(std::move(target)), shown_(shown), descriptor_(open_in(folder_of(target_))) {
    take_mode();
  }
  ~NewFile() {
    if (!name_.empty()) ::unlink(name_.c_str());
  }
  NewFile(const NewFile&) = delete;
  NewFile& operator=(const NewFile&) = delete;

  int descriptor() const noexcept { return descriptor_.get(); }

  void replace_target() {
    flush(descriptor_.get(), shown_);
    if (name_.empty()) give_name();
    if (::rename(name_.c_str(), target_.c_str()) != 0) throw_system_error("write", shown_, errno);
    name_.clear();
    if (!descriptor_.close()) throw_system_error("write", shown_, errno);
    flush_folder(folder_of(target_));
  }

 private:
  /// Without a name, where the file system has such files.
  int open_in(const fs::path& folder) {
    constexpr mode_t kMode = 0666;
    if (::access(kDescriptors, X_OK) == 0) {  // where give_name() finds it
      const int nameless = ::open(folder.c_str(), O_WRONLY | O_TMPFILE | O_CLOEXEC, kMode);
      if (nameless >= 0) return nameless;
    }
    const fs::path name = temporary_in(folder);
    const int named = ::open(name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, kMode);
    if (named < 0) throw_system_error("write", shown_, errno);
    name_ = name;
    ::flock(named, LOCK_EX | LOCK_NB);  // says that somebody writes it
    return named;
  }

  /// For the moment until it is the target.
  void give_name() {
    const fs::path name = temporary_in(folder_of(target_));
    const std::string own = kDescriptors + std::to_string(descriptor_.get());
    if (::linkat(AT_FDCWD, own.c_str(), AT_FDCWD, name.c_str(), AT_SYMLINK_FOLLOW) != 0) {
      throw_system_error("write", shown_, errno);
    }
    name_ = name;
  }

  /// That of the file it replaces, and its owner. Who is not allowed to give a file away keeps it.
  void take_mode() {
    struct ::stat old {};
    if (::lstat(target_.c_str(), &old) != 0 || !S_ISREG(old.st_mode)) return;
    constexpr mode_t kAccess = 0777;
    constexpr auto kSame = static_cast<uid_t>(-1);
    if (::fchown(descriptor_.get(), old.st_uid, old.st_gid) != 0 &&
        ::fchown(descriptor_.get(), kSame, old.st_gid) != 0) {
      // Neither is allowed: it stays this user's.
    }
    if (::fchmod(descriptor_.get(), old.st_mode & kAccess) == 0) return;
    const int error = errno;
    if (!name_.empty()) ::unlink(name_.c_str());
    throw_system_error("write", shown_, error);
  }

  fs::path target_;
  const fs::path& shown_;
  fs::path name_;  // empty: it has none
  Descriptor descriptor_;
};

}  // namespace

InputFile::InputFile(const fs::path& path, bool is_regular)
    : path_(path),
      descriptor_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | (is_regular ? O_NONBLOCK : 0))) {
  if (descriptor_ < 0) throw_system_error("read", path, errno);
  struct ::stat status {};
  int error = ::fstat(descriptor_, &status) != 0 ? errno : 0;
  if (error == 0 && S_ISDIR(status.st_mode)) error = EISDIR;
  if (error != 0) {
    ::close(descriptor_);
    throw_system_error("read", path, error);
  }
  is_regular_ = S_ISREG(status.st_mode);
  if (is_regular && !is_regular_) {
    ::close(descriptor_);
    throw IoError("[read] " + path.string() + ": not a regular file");
  }
  size_ = is_regular_ ? static_cast<Index>(status.st_size) : 0;
}

InputFile::~InputFile() { ::close(descriptor_); }

Index InputFile::data_size() const noexcept {
  Index held = 0;
  for (::off_t end = 0; end < size_;) {
    const ::off_t begin = ::lseek(descriptor_, end, SEEK_DATA);
    if (begin < 0) return errno == ENXIO ? held : size_;  // no more data; cannot be told
    end = ::lseek(descriptor_, begin, SEEK_HOLE);
    if (end < 0) return size_;
    held += end - begin;
  }
  return held;
}

Index InputFile::read(void* to, Index bytes) {
  Index done = 0;
  while (done < bytes) {
    const auto chunk = static_cast<std::size_t>(std::min(bytes - done, kLargestCall));
    const ssize_t count = ::read(descriptor_, static_cast<char*>(to) + done, chunk);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw_system_error("read", path_, errno);
    if (count == 0) break;
    done += count;
  }
  return done;
}

void require_data(const fs::path& path) {
  const InputFile file = InputFile::regular(path);
  if (!expands_too_far(file.size(), 0)) return;
  if (const Index held = file.data_size(); expands_too_far(file.size(), held)) {
    throw IoError("[read] " + path.string() +
                  ": expected at most 100 bytes for each on the disk, got " +
                  std::to_string(file.size()) + " from " + std::to_string(held));
  }
}

std::shared_ptr<MappedFile> MappedFile::open(const fs::path& path) {
  const InputFile file = InputFile::regular(path);
  const auto size = static_cast<std::size_t>(file.size());
  std::span<std::byte> bytes;
  if (size > 0) {  // the system maps nothing else
    // Private, so that tensors over it may be written; without reservation, as files may be larger
    // than memory.
    void* start = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE,
                         file.descriptor(), 0);
    if (start == MAP_FAILED) throw_system_error("read", path, errno);
    bytes = {static_cast<std::byte*>(start), size};
  }
  return std::shared_ptr<MappedFile>(new MappedFile(bytes));
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) ::munmap(bytes_.data(), bytes_.size());
}

namespace {

std::string read_all(InputFile& file) {
  std::string contents;
  // One byte more than the size shows the end at once; pipes and growing files take more rounds.
  Index want = file.size() + 1;
  while (true) {
    const std::size_t before = contents.size();
    contents.resize(before + static_cast<std::size_t>(want));
    const Index got = file.read(contents.data() + before, want);
    contents.resize(before + static_cast<std::size_t>(got));
    if (got < want) return contents;
    want = std::max<Index>(want, 1 << 16);
  }
}

}  // namespace

std::string read_file(const fs::path& path) {
  InputFile file = InputFile::regular(path);
  return read_all(file);
}

std::string read_stream(const fs::path& path) {
  InputFile file(path);
  return read_all(file);
}

void write_file(const fs::path& path, const std::function<void(const Append&)>& produce,
                Links links) {
  std::error_code ignored;
  fs::path target = path;
  if (links == Links::followed) {
    const fs::file_status status = fs::status(path, ignored);
    if (is_written_directly(path, status)) return write_directly(path, produce);
    if (fs::exists(status)) target = fs::canonical(path, ignored);
  }
  NewFile file(target, path);
  produce([&](std::string_view bytes) { write_all(file.descriptor(), bytes, path); });
  file.replace_target();
}

void write_file(const fs::path& path, std::string_view contents, Links links) {
  write_file(
      path, [&](const Append& append) { append(contents); }, links);
}

void remove_leftovers(const fs::path& folder) noexcept {
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    if (!is_temporary(it->path().filename().string())) continue;
    const Descriptor opened(
        ::open(it->path().c_str(), O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC));
    struct ::stat status {};
    if (opened.get() < 0 || ::fstat(opened.get(), &status) != 0) continue;
    const bool is_own = S_ISREG(status.st_mode) && status.st_uid == ::geteuid();
    if (is_own && ::flock(opened.get(), LOCK_EX | LOCK_NB) == 0) ::unlink(it->path().c_str());
  }
}

}  // namespace grouphead::io
