// Files of KV caches. The first byte chooses the cache; the others are the file or, where the byte
// is odd, changes of one that was saved: two bytes say where, one what stands there then. A cache
// that was loaded goes on.

#include <array>

#include "fuzz.h"
#include "grouphead/attention.h"
#include "grouphead/files/kv_cache_file.h"
#include "io/file.h"
#include "temporary.h"

namespace {

namespace gh = grouphead;

constexpr gh::Index kWindow = 60;
constexpr gh::Dtype kTypes[] = {gh::Dtype::f32, gh::Dtype::bf16, gh::Dtype::u8};
constexpr int kForms = 3;  // contiguous, a ring, paged

gh::Context& context() {
  static gh::Context ctx({.num_threads = 1});
  return ctx;
}

gh::KvCache make_cache(int kind) {
  gh::KvCacheConfig config{.num_layers = 1,
                           .batch = 2,
                           .num_key_value_heads = 1,
                           .head_dim = 8,
                           .capacity = 192,
                           .dtype = kTypes[kind / kForms]};
  if (kind % kForms == 1) config.window = kWindow;
  if (kind % kForms == 2) config.num_blocks = 6;
  return {context(), config};
}

void feed(gh::KvCache& cache, gh::Index count) {
  const gh::Tensor x = gh::random_normal({2, count, 1, 8}, 1);
  gh::Tensor out(x.shape());
  gh::decode(context(), x, x, x, cache, 0, {.causal = true, .window_left = kWindow - 1}, out);
  cache.advance(count);
}

const std::string& saved(int kind) {
  static std::array<std::string, std::size(kTypes) * kForms> files;
  std::string& bytes = files[static_cast<std::size_t>(kind)];
  if (bytes.empty()) {
    gh::KvCache cache = make_cache(kind);
    feed(cache, 70);
    gh::save_kv_cache(cache, gh::fuzz::folder() / "cache.safetensors");
    bytes = gh::io::read_file(gh::fuzz::folder() / "cache.safetensors");
  }
  return bytes;
}

void read(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return;
  const int kind = data[0] / 2 % static_cast<int>(std::size(kTypes) * kForms);
  std::string bytes;
  if (data[0] % 2 == 0) {
    bytes = gh::fuzz::text_of(data + 1, size - 1);
  } else {
    bytes = saved(kind);
    for (std::size_t i = 1; i + 2 < size; i += 3) {
      bytes[(data[i] | std::size_t{data[i + 1]} << 8) % bytes.size()] =
          static_cast<char>(data[i + 2]);
    }
  }
  gh::KvCache cache = make_cache(kind);
  gh::load_kv_cache(gh::fuzz::written("cache.safetensors", bytes), cache);
  feed(cache, 2);
}

}  // namespace

GROUPHEAD_FUZZ_TARGET(read(data, size))
