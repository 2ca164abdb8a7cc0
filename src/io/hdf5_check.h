#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace grouphead::io {

/// Looks at every structure of a file before the HDF5 library is given it, which crashes on some
/// that are damaged, and runs in circles on others: superblock, groups and their names, headers of
/// objects, types, attributes and their texts, places of numbers and of compressed pieces.
///
/// What can be checked is the form that Keras's files have, the oldest one: superblock version 0 or
/// 1, groups as trees of symbols. Newer forms are refused.
///
/// Errors: IoError that starts with `where` for what is not HDF5, ends too early, is damaged, or
/// has what no model file has.
///
/// Attributes are not left to the library at all: what is returned are those that are texts, by the
/// address of their object and their name.
std::map<std::uint64_t, std::map<std::string, std::vector<std::string>>> require_sound_hdf5(
    std::span<const std::byte> image, const std::string& where);

}  // namespace grouphead::io
