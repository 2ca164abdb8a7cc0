#pragma once

// ZIP archives in memory. The only part that knows libzip.

#include <cstddef>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/owned_bytes.h"

namespace grouphead::io {

/// An archive's members by name. Members that are stored as they are come without a copy.
class ZipFile {
 public:
  /// `name` is for messages. Bytes before and behind the archive are passed over, as Python's
  /// zipfile does. Errors: IoError for what is no archive, has two members of one name, or whose
  /// directory is damaged.
  ZipFile(OwnedBytes archive, std::string name);
  ~ZipFile();
  ZipFile(const ZipFile&) = delete;
  ZipFile& operator=(const ZipFile&) = delete;

  /// In the order of the archive.
  const std::vector<std::string>& names() const noexcept { return names_; }
  bool contains(const std::string& member) const;
  /// Bytes of the member when it is read. Errors: IoError where it is missing.
  std::size_t size_of(const std::string& member) const;
  /// The member's bytes, their checksum compared. Errors: IoError for a member that is missing,
  /// damaged, encrypted, compressed in a way that libzip does not read, whose name
  /// leads out of the archive (`../x`, `/x`), or larger than `limit` bytes, or than 64 MiB and 100
  /// times its bytes in the archive. Other members do not matter.
  OwnedBytes read(const std::string& member, std::optional<Index> limit = {}) const;
  /// Its first `count` bytes, or all where it has fewer, the checksum not compared. Errors: as
  /// read(), but for sizes.
  std::string front(const std::string& member, std::size_t count) const;

 private:
  struct Archive;
  struct Member;

  void read_directory();
  void find_in_place();
  const Member& member(const std::string& name) const;
  std::string inflated(const std::string& name, const Member& member, std::size_t limit) const;

  OwnedBytes bytes_;
  std::string name_;
  std::unique_ptr<Archive> archive_;
  std::vector<std::string> names_;
  std::map<std::string, Member> members_;
};

/// A member to be written.
struct ZipMember {
  std::string name;
  std::string_view bytes;
};

/// An archive of members that are stored as they are, in this order, all of the year 1980: the same
/// members give the same bytes. Errors: IoError.
void write_zip(const std::filesystem::path& path, const std::vector<ZipMember>& members);

}  // namespace grouphead::io
