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
  /// `name` is for messages. Errors: IoError for what is no archive, is damaged or encrypted, has
  /// two members of one name, a name that leads out of the archive (`../x`, `/x`), or a member that
  /// would be more than 4 GiB and more than 100 times its bytes in the archive.
  ZipFile(OwnedBytes archive, std::string name);
  ~ZipFile();
  ZipFile(const ZipFile&) = delete;
  ZipFile& operator=(const ZipFile&) = delete;

  /// In the order of the archive.
  const std::vector<std::string>& names() const noexcept { return names_; }
  bool contains(const std::string& member) const;
  /// The member's bytes, their checksum compared. Errors: IoError for a member that is missing,
  /// damaged or larger than `limit` bytes.
  OwnedBytes read(const std::string& member, std::optional<Index> limit = {}) const;

 private:
  struct Archive;
  struct Member;

  void read_directory();
  void find_in_place();

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
