#pragma once

#include <filesystem>

#include "grouphead/core/kv_cache.h"

#pragma GCC visibility push(default)
namespace grouphead {

/// Writes what a cache holds of all sequences to a `.safetensors` file, at once: a prompt that many
/// programs start from, for example. Its size is that of the positions stored, not of the cache.
/// Errors: IoError; an old file stays.
void save_kv_cache(const KvCache& cache, const std::filesystem::path& file);

/// Replaces what a cache holds by what save_kv_cache() wrote. The cache has the file's layers,
/// heads, dims, dtype and batch, and room for its lengths; it may be of another form: contiguous, a
/// ring or paged. What follows is bitwise what would have followed there.
///
/// Errors: IoError for a file that is missing, damaged or not believed, or that does not fit the
/// cache. Then the cache stays as it was.
void load_kv_cache(const std::filesystem::path& file, KvCache& cache);

}  // namespace grouphead
#pragma GCC visibility pop
