#include "io/zip.h"

#include <zip.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>

#include "grouphead/core/error.h"
#include "io/file.h"
#include "io/limits.h"

namespace grouphead::io {
namespace {

constexpr std::size_t kEndRecord = 22;    // bytes of the record that ends an archive
constexpr std::size_t kWideLocator = 20;  // of the one before it, where the archive has wide sizes
constexpr std::size_t kWideRecord = 56;   // of the one before that

[[noreturn]] void fail(const std::string& archive, const std::string& problem) {
  throw IoError("[zip] " + archive + ": " + problem);
}

struct CloseArchive {
  void operator()(zip_t* archive) const noexcept { zip_discard(archive); }
};
using ArchivePointer = std::unique_ptr<zip_t, CloseArchive>;

struct CloseMember {
  void operator()(zip_file_t* member) const noexcept { zip_fclose(member); }
};

/// An archive over `source`, which it owns.
ArchivePointer open_archive(zip_source_t* source, int flags, const std::string& name) {
  zip_error_t error;
  zip_error_init(&error);
  zip_t* archive = source == nullptr ? nullptr : zip_open_from_source(source, flags, &error);
  const std::string problem = zip_error_strerror(&error);
  zip_error_fini(&error);
  if (archive == nullptr) {
    zip_source_free(source);
    fail(name, problem);
  }
  return ArchivePointer(archive);
}

bool leads_out(const std::string& name) {
  const std::filesystem::path path(name);
  return path.is_absolute() || std::find(path.begin(), path.end(), "..") != path.end();
}

// Little-endian numbers of a header.
std::uint64_t number_at(std::span<const std::byte> bytes, std::size_t offset, std::size_t width) {
  std::uint64_t value = 0;
  std::memcpy(&value, bytes.data() + offset, width);
  return value;
}

/// Where the archive lies whose last record stands at `end`; nothing where that is none.
std::optional<std::span<const std::byte>> archive_that_ends_at(std::span<const std::byte> bytes,
                                                               std::size_t end) {
  constexpr std::uint32_t kEntry = 0x02014b50;
  constexpr std::uint32_t kWide = 0x06064b50;
  constexpr std::uint32_t kLocator = 0x07064b50;
  std::uint64_t size = number_at(bytes, end + 12, 4);
  std::uint64_t offset = number_at(bytes, end + 16, 4);
  std::size_t records = end;
  constexpr std::size_t kBefore = kWideLocator + kWideRecord;
  if (end >= kBefore && number_at(bytes, end - kWideLocator, 4) == kLocator &&
      number_at(bytes, end - kBefore, 4) == kWide) {
    records = end - kBefore;
    size = number_at(bytes, records + 40, 8);
    offset = number_at(bytes, records + 48, 8);
  }
  if (size > records || offset > records - size) return std::nullopt;
  const std::size_t directory = records - size;
  if (size != 0 && (size < 4 || number_at(bytes, directory, 4) != kEntry)) return std::nullopt;
  const std::size_t comment = number_at(bytes, end + 20, 2);
  const std::size_t stop = std::min(bytes.size(), end + kEndRecord + comment);
  const std::size_t start = directory - offset;
  return bytes.subspan(start, stop - start);
}

/// The archive in `bytes`, without what stands before and behind it: all of them where it is not
/// found, so that libzip says why.
std::span<const std::byte> archive_in(std::span<const std::byte> bytes) {
  constexpr std::uint32_t kEnd = 0x06054b50;
  constexpr std::size_t kFurthest = kEndRecord + 0xffff;
  for (std::size_t back = kEndRecord; back <= std::min(bytes.size(), kFurthest); ++back) {
    const std::size_t end = bytes.size() - back;
    if (number_at(bytes, end, 4) != kEnd) continue;
    if (const auto archive = archive_that_ends_at(bytes, end)) return *archive;
  }
  return bytes;
}

/// What libzip calls a way of compression, for messages.
std::string method_name(int method) {
  constexpr std::pair<int, const char*> kNames[] = {{ZIP_CM_DEFLATE64, "deflate64"},
                                                    {ZIP_CM_BZIP2, "bzip2"},
                                                    {ZIP_CM_LZMA, "lzma"},
                                                    {93, "zstd"},
                                                    {95, "xz"}};
  for (const auto& [number, name] : kNames) {
    if (number == method) return name;
  }
  return "method " + std::to_string(method);
}

/// CRC-32, as archives have it.
std::uint32_t checksum(std::span<const std::byte> bytes) {
  return static_cast<std::uint32_t>(
      crc32_z(0, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size()));
}

}  // namespace

struct ZipFile::Archive {
  ArchivePointer pointer;
};

struct ZipFile::Member {
  zip_uint64_t index = 0;
  std::size_t size = 0;
  std::size_t stored_size = 0;
  std::uint32_t crc = 0;
  bool is_stored = false;
  std::string problem{};  // why it cannot be read; none: empty
  std::span<const std::byte> in_place{};
};

ZipFile::ZipFile(OwnedBytes archive, std::string name)
    : bytes_(std::move(archive)), name_(std::move(name)), archive_(std::make_unique<Archive>()) {
  if (bytes_.bytes.size() < kEndRecord) fail(name_, "expected an archive, got something else");
  bytes_.bytes = archive_in(bytes_.bytes);
  zip_source_t* source =
      zip_source_buffer_create(bytes_.bytes.data(), bytes_.bytes.size(), 0, nullptr);
  archive_->pointer = open_archive(source, ZIP_RDONLY | ZIP_CHECKCONS, name_);
  read_directory();
  find_in_place();
}

ZipFile::~ZipFile() = default;

void ZipFile::read_directory() {
  zip_t* archive = archive_->pointer.get();
  const zip_int64_t count = zip_get_num_entries(archive, 0);
  for (zip_uint64_t i = 0; i < static_cast<zip_uint64_t>(count); ++i) {
    zip_stat_t stat;
    zip_stat_init(&stat);
    constexpr zip_uint64_t kNeeded = ZIP_STAT_NAME | ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE |
                                     ZIP_STAT_CRC | ZIP_STAT_COMP_METHOD |
                                     ZIP_STAT_ENCRYPTION_METHOD;
    if (zip_stat_index(archive, i, 0, &stat) != 0 || (stat.valid & kNeeded) != kNeeded) {
      fail(name_, "damaged directory");
    }
    const std::string name = stat.name;
    Member member{.index = i,
                  .size = static_cast<std::size_t>(stat.size),
                  .stored_size = static_cast<std::size_t>(stat.comp_size),
                  .crc = stat.crc,
                  .is_stored = stat.comp_method == ZIP_CM_STORE};
    if (leads_out(name)) {
      member.problem = "a name that leads out of the archive";
    } else if (stat.encryption_method != ZIP_EM_NONE) {
      member.problem = "encrypted";
    } else if (stat.comp_size > bytes_.bytes.size() ||
               stat.size > static_cast<zip_uint64_t>(std::numeric_limits<Index>::max())) {
      member.problem = "damaged";
    } else if (zip_compression_method_supported(stat.comp_method, 0) == 0) {
      member.problem = "expected a member that is stored or compressed by deflate, got " +
                       method_name(stat.comp_method) + ", which libzip here does not read";
    }
    if (!members_.emplace(name, std::move(member)).second) {
      fail(name_, name + ": two members of this name");
    }
    names_.push_back(name);
  }
}

// Walks the members' own headers from the first byte on, as long as they stand one after the other
// without anything but sizes: so archives look that are written in one go.
void ZipFile::find_in_place() {
  constexpr std::size_t kHeader = 30;
  constexpr std::uint32_t kSignature = 0x04034b50;
  constexpr std::uint32_t kSizesFollow = 1U << 3;
  std::size_t position = 0;
  for (const std::string& name : names_) {
    Member& member = members_.at(name);
    const auto rest = bytes_.bytes.subspan(position);
    if (rest.size() < kHeader || number_at(rest, 0, 4) != kSignature) return;
    const std::size_t name_bytes = number_at(rest, 26, 2);
    const std::size_t start = kHeader + name_bytes + number_at(rest, 28, 2);
    const std::size_t stored = number_at(rest, 18, 4);
    const bool fits =
        (number_at(rest, 6, 2) & kSizesFollow) == 0 && number_at(rest, 8, 2) == 0 &&
        stored == member.size && start + stored <= rest.size() &&
        name == std::string_view(reinterpret_cast<const char*>(rest.data()) + kHeader, name_bytes);
    if (!member.is_stored || !fits) return;
    member.in_place = rest.subspan(start, stored);
    position += start + stored;
  }
}

bool ZipFile::contains(const std::string& member) const { return members_.contains(member); }

const ZipFile::Member& ZipFile::member(const std::string& name) const {
  const auto found = members_.find(name);
  if (found == members_.end()) fail(name_, name + ": no such member");
  if (!found->second.problem.empty()) fail(name_, name + ": " + found->second.problem);
  return found->second;
}

std::size_t ZipFile::size_of(const std::string& name) const { return member(name).size; }

OwnedBytes ZipFile::read(const std::string& name, std::optional<Index> limit) const {
  const Member& found = member(name);
  if (limit && found.size > static_cast<std::size_t>(*limit)) {
    fail(name_, name + ": expected at most " + std::to_string(*limit) + " bytes, got " +
                    std::to_string(found.size));
  }
  if (expands_too_far(static_cast<Index>(found.size), static_cast<Index>(found.stored_size))) {
    fail(name_, name + ": expected at most 100 bytes for each in the archive, got " +
                    std::to_string(found.size) + " from " + std::to_string(found.stored_size));
  }
  if (found.size == 0 || !found.in_place.empty()) {
    if (checksum(found.in_place) != found.crc) fail(name_, name + ": damaged: wrong checksum");
    return {found.in_place, bytes_.owner};
  }
  const auto owner = std::make_shared<std::string>(inflated(name, found, found.size + 1));
  if (owner->size() > found.size) fail(name_, name + ": more bytes than its size");
  if (owner->size() != found.size) fail(name_, name + ": ends too early");
  return {std::as_bytes(std::span(*owner)), owner};
}

std::string ZipFile::front(const std::string& name, std::size_t count) const {
  const Member& found = member(name);
  if (found.in_place.empty()) return inflated(name, found, count);
  const auto bytes = found.in_place.first(std::min(count, found.in_place.size()));
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// Its bytes up to `limit`.
std::string ZipFile::inflated(const std::string& name, const Member& member,
                              std::size_t limit) const {
  zip_t* archive = archive_->pointer.get();
  const std::unique_ptr<zip_file_t, CloseMember> opened(zip_fopen_index(archive, member.index, 0));
  if (!opened) fail(name_, name + ": " + zip_strerror(archive));
  // The claim of a size is believed as far as bytes come.
  constexpr std::size_t kPiece = std::size_t{16} << 20;
  std::string bytes;
  while (bytes.size() < limit) {
    const std::size_t before = bytes.size();
    const std::size_t wanted = std::min(kPiece, limit - before);
    bytes.resize(before + wanted);
    const zip_int64_t got = zip_fread(opened.get(), bytes.data() + before, wanted);
    if (got < 0) fail(name_, name + ": damaged");
    bytes.resize(before + static_cast<std::size_t>(got));
    if (got == 0) break;
  }
  return bytes;
}

namespace {

/// Adds the members to an archive that `source` takes.
void add_members(zip_source_t* source, const std::string& name,
                 const std::vector<ZipMember>& members) {
  ArchivePointer archive = open_archive(source, ZIP_TRUNCATE, name);
  for (const ZipMember& member : members) {
    zip_source_t* bytes =
        zip_source_buffer(archive.get(), member.bytes.data(), member.bytes.size(), 0);
    const zip_int64_t index =
        zip_file_add(archive.get(), member.name.c_str(), bytes, ZIP_FL_ENC_UTF_8);
    if (index < 0) {
      zip_source_free(bytes);
      fail(name, member.name + ": cannot be added");
    }
    const auto at = static_cast<zip_uint64_t>(index);
    constexpr zip_uint16_t kFirstDay = 1 | (1 << 5);  // of 1980
    zip_set_file_compression(archive.get(), at, ZIP_CM_STORE, 0);
    zip_file_set_dostime(archive.get(), at, 0, kFirstDay, 0);
  }
  if (zip_close(archive.get()) != 0) fail(name, zip_strerror(archive.get()));
  (void)archive.release();  // closed
}

}  // namespace

void write_zip(const std::filesystem::path& path, const std::vector<ZipMember>& members) {
  const std::string name = path.string();
  zip_source_t* made = zip_source_buffer_create(nullptr, 0, 0, nullptr);
  if (made == nullptr) fail(name, "no memory");
  zip_source_keep(made);  // once for the archive, once for reading it again
  const std::unique_ptr<zip_source_t, void (*)(zip_source_t*)> source(made, zip_source_free);
  add_members(made, name, members);
  if (zip_source_open(made) != 0) fail(name, "cannot be read again");
  write_file(path, [&](const Append& append) {
    std::vector<char> piece(std::size_t{1} << 20);
    while (true) {
      const zip_int64_t got = zip_source_read(made, piece.data(), piece.size());
      if (got < 0) fail(name, "cannot be read again");
      if (got == 0) return;
      append({piece.data(), static_cast<std::size_t>(got)});
    }
  });
  zip_source_close(made);
}

}  // namespace grouphead::io
