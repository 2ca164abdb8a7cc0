#include "io/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

#include "grouphead/core/error.h"

namespace grouphead::io {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kTemporaryMark = ".writing-";
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
         text.starts_with("/proc/self/fd/");
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

fs::path temporary_beside(const fs::path& target) {
  static std::atomic<unsigned> count{0};
  fs::path name = target;
  name += std::string(kTemporaryMark) + std::to_string(::getpid()) + "-" +
          std::to_string(count.fetch_add(1, std::memory_order_relaxed));
  return name;
}

/// Removes the temporary unless it became the target.
struct TemporaryGuard {
  const fs::path& path;
  bool renamed = false;
  ~TemporaryGuard() {
    if (!renamed) ::unlink(path.c_str());
  }
};

}  // namespace

InputFile::InputFile(const fs::path& path)
    : path_(path), descriptor_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
  if (descriptor_ < 0) throw_system_error("read", path, errno);
  struct ::stat status {};
  int error = ::fstat(descriptor_, &status) != 0 ? errno : 0;
  if (error == 0 && S_ISDIR(status.st_mode)) error = EISDIR;
  if (error != 0) {
    ::close(descriptor_);
    throw_system_error("read", path, error);
  }
  is_regular_ = S_ISREG(status.st_mode);
  size_ = is_regular_ ? static_cast<Index>(status.st_size) : 0;
}

InputFile::~InputFile() { ::close(descriptor_); }

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

std::shared_ptr<MappedFile> MappedFile::open(const fs::path& path) {
  const InputFile file(path);
  if (!file.is_regular()) {
    throw IoError("[read] " + path.string() + ": not a regular file");
  }
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

std::string read_file(const fs::path& path) {
  InputFile file(path);
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

void write_file(const fs::path& path, const std::function<void(const Append&)>& produce) {
  std::error_code ignored;
  const fs::file_status status = fs::status(path, ignored);
  if (is_written_directly(path, status)) return write_directly(path, produce);

  // Through links: the file they lead to is replaced, not the link.
  const fs::path target = fs::exists(status) ? fs::canonical(path, ignored) : path;
  const fs::path temporary = temporary_beside(target);
  Descriptor opened(
      ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode_t{0666}));
  if (opened.get() < 0) throw_system_error("write", path, errno);
  TemporaryGuard guard{temporary};
  produce([&](std::string_view bytes) { write_all(opened.get(), bytes, path); });
  flush(opened.get(), path);
  if (!opened.close()) throw_system_error("write", path, errno);
  if (::rename(temporary.c_str(), target.c_str()) != 0) throw_system_error("write", path, errno);
  guard.renamed = true;
  flush_folder(target.has_parent_path() ? target.parent_path() : fs::path("."));
}

void write_file(const fs::path& path, std::string_view contents) {
  write_file(path, [&](const Append& append) { append(contents); });
}

void remove_leftovers(const fs::path& folder) noexcept {
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    if (it->path().filename().string().find(kTemporaryMark) != std::string::npos) {
      std::error_code ignored;
      fs::remove(it->path(), ignored);
    }
  }
}

}  // namespace grouphead::io
