// error: use of deleted function|call to deleted constructor|call to implicitly-deleted
#include <grouphead/core/kv_cache.h>

#include <utility>

// Copies would share memory, but not the length.
grouphead::KvCache other(grouphead::KvCache& cache) {
#ifdef CONTROL
  return std::move(cache);
#else
  return cache;
#endif
}
