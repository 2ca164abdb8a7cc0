#include "io/zip.h"

#include <zip.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "grouphead/core/error.h"
#include "io/file.h"

namespace grouphead::io {
namespace {

// Keras's limits for members that would fill the memory.
constexpr zip_uint64_t kLargeMember = zip_uint64_t{4} << 30;
constexpr zip_uint64_t kLargestExpansion = 100;

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
  return path.is_absolute() || name.find('\\') != std::string::npos ||
         std::find(path.begin(), path.end(), "..") != path.end();
}

// Little-endian numbers of a header.
std::uint32_t number_at(std::span<const std::byte> bytes, std::size_t offset, std::size_t width) {
  std::uint32_t value = 0;
  std::memcpy(&value, bytes.data() + offset, width);
  return value;
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
  std::uint32_t crc = 0;
  bool is_stored = false;
  std::span<const std::byte> in_place{};
};

ZipFile::ZipFile(OwnedBytes archive, std::string name)
    : bytes_(std::move(archive)), name_(std::move(name)), archive_(std::make_unique<Archive>()) {
  constexpr std::size_t kEnd = 22;  // bytes of the record that ends an archive
  if (bytes_.bytes.size() < kEnd) fail(name_, "expected an archive, got something else");
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
    const std::string member = stat.name;
    if (leads_out(member)) fail(name_, member + ": a name that leads out of the archive");
    if (stat.encryption_method != ZIP_EM_NONE) fail(name_, member + ": encrypted");
    if (stat.comp_size > bytes_.bytes.size()) fail(name_, member + ": damaged");
    if (stat.size > kLargeMember && stat.size / kLargestExpansion > stat.comp_size) {
      fail(name_, member + ": expected at most 100 bytes for each in the archive, got " +
                      std::to_string(stat.size) + " from " + std::to_string(stat.comp_size));
    }
    const bool is_new = members_
                            .emplace(member, Member{.index = i,
                                                    .size = static_cast<std::size_t>(stat.size),
                                                    .crc = stat.crc,
                                                    .is_stored = stat.comp_method == ZIP_CM_STORE})
                            .second;
    if (!is_new) fail(name_, member + ": two members of this name");
    names_.push_back(member);
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

OwnedBytes ZipFile::read(const std::string& name, std::optional<Index> limit) const {
  const auto found = members_.find(name);
  if (found == members_.end()) fail(name_, name + ": no such member");
  const Member& member = found->second;
  if (limit && member.size > static_cast<std::size_t>(*limit)) {
    fail(name_, name + ": expected at most " + std::to_string(*limit) + " bytes, got " +
                    std::to_string(member.size));
  }
  if (member.size == 0 || !member.in_place.empty()) {
    if (checksum(member.in_place) != member.crc) fail(name_, name + ": damaged: wrong checksum");
    return {member.in_place, bytes_.owner};
  }
  const std::unique_ptr<zip_file_t, CloseMember> opened(
      zip_fopen_index(archive_->pointer.get(), member.index, 0));
  if (!opened) fail(name_, name + ": cannot be opened");
  // The claim of a size is believed as far as bytes come.
  constexpr std::size_t kPiece = std::size_t{16} << 20;
  auto owner = std::make_shared<std::string>();
  while (true) {
    const std::size_t before = owner->size();
    const std::size_t wanted = std::min(kPiece, member.size + 1 - before);
    owner->resize(before + wanted);
    const zip_int64_t got = zip_fread(opened.get(), owner->data() + before, wanted);
    if (got < 0) fail(name_, name + ": damaged");
    owner->resize(before + static_cast<std::size_t>(got));
    if (owner->size() > member.size) fail(name_, name + ": more bytes than its size");
    if (got == 0) break;
  }
  if (owner->size() != member.size) fail(name_, name + ": ends too early");
  return {std::as_bytes(std::span(*owner)), owner};
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
