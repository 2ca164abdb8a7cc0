// KvCache, and attention over it.

#include <nanobind/nanobind.h>
#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <atomic>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "contexts.h"
#include "grouphead/attention.h"
#include "grouphead/core/error.h"
#include "grouphead/files/kv_cache_file.h"
#include "module.h"
#include "options.h"

namespace grouphead::python {
namespace {

constexpr Dtype kCacheDtypes[] = {Dtype::f32, Dtype::f64, Dtype::bf16, Dtype::u8};
constexpr std::string_view kCacheDtypeNames[] = {"float32", "float64", "bfloat16", "uint8"};

Dtype cache_dtype(nb::handle dtype) {
  const std::string name = nb::cast<std::string>(nb::str(dtype));
  for (std::size_t i = 0; i < std::size(kCacheDtypes); ++i) {
    if (name == kCacheDtypeNames[i]) return kCacheDtypes[i];
  }
  throw ConfigError("[KvCache] dtype: expected float32, float64, bfloat16 or uint8, got " + name);
}

std::string_view cache_dtype_name(Dtype dtype) {
  std::size_t i = 0;
  while (kCacheDtypes[i] != dtype) ++i;
  return kCacheDtypeNames[i];
}

// A cache, and whether a thread is in one of its calls: they release the GIL.
class Cache {
 public:
  explicit Cache(const KvCacheConfig& config) : cache_(*ContextLease(), config) {}

  /// The cache for one call.
  class Use {
   public:
    explicit Use(Cache& owner) : owner_(owner) {
      if (owner.is_used_.exchange(true)) {
        throw std::runtime_error(
            "[KvCache] calls: expected one at a time, got one while another thread is in one");
      }
    }
    ~Use() { owner_.is_used_ = false; }
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;
    KvCache& operator*() const noexcept { return owner_.cache_; }
    KvCache* operator->() const noexcept { return &owner_.cache_; }

   private:
    Cache& owner_;
  };

 private:
  KvCache cache_;
  std::atomic<bool> is_used_ = false;
};

// How many rows each sequence has; None: all.
std::vector<Index> counts_of(nb::handle object, Place place) {
  const Array array = Array::read(object, place);
  const ConstView& x = array.view();
  std::vector<Index> counts;
  if (!x.has_value()) return counts;
  if (x.rank() != 1 || (x.dtype() != Dtype::i32 && x.dtype() != Dtype::i64)) {
    throw_type_error(place, "int32 or int64 [B]",
                     std::string(name_of(x.dtype())) + " " + x.shape().to_string());
  }
  for (Index i = 0; i < x.dim(0); ++i) {
    const Index place_of = i * x.stride(0);
    counts.push_back(x.dtype() == Dtype::i64 ? x.data<Index>()[place_of]
                                             : x.data<std::int32_t>()[place_of]);
  }
  return counts;
}

nb::object decode_step(nb::handle q, nb::handle k, nb::handle v, Cache& cache, Index layer,
                       const std::string& layout_name, nb::handle out, nb::handle counts,
                       const nb::kwargs& arguments) {
  constexpr std::string_view kName = "decode";
  const Layout layout = layout_of(kName, layout_name);
  const Heads queries = Heads::read_floating(q, {kName, "q"}, layout);
  const Heads keys = Heads::read(k, {kName, "k"}, layout);
  const Heads values = Heads::read(v, {kName, "v"}, layout);
  const Options options(kName, arguments, queries->dtype());
  const std::vector<Index> rows = counts_of(counts, {kName, "counts"});
  HeadsResult result(out, {kName, "out"}, layout, q, result_shape(*queries, *values),
                     queries->dtype());
  for (const ConstView& operand : {*queries, *keys, *values, options->mask, options->bias}) {
    result.require_apart({kName, "out"}, operand);
  }
  {
    const Cache::Use used(cache);
    const ContextLease ctx;
    const nb::gil_scoped_release unlocked;
    decode(*ctx, *queries, *keys, *values, *used, layer, *options, result.view(), rows);
  }
  return result.take();
}

void store(nb::handle k, nb::handle v, Cache& cache, Index layer, const std::string& layout_name,
           nb::handle counts) {
  constexpr std::string_view kName = "store_cached";
  const Layout layout = layout_of(kName, layout_name);
  const Heads keys = Heads::read(k, {kName, "k"}, layout);
  const Heads values = Heads::read(v, {kName, "v"}, layout);
  const std::vector<Index> rows = counts_of(counts, {kName, "counts"});
  const Cache::Use used(cache);
  const ContextLease ctx;
  const nb::gil_scoped_release unlocked;
  store_cached(*ctx, *keys, *values, *used, layer, rows);
}

nb::object attend_cached(nb::handle q, Cache& cache, Index layer, const std::string& layout_name,
                         nb::handle out, const nb::kwargs& arguments) {
  constexpr std::string_view kName = "attention_cached";
  const Layout layout = layout_of(kName, layout_name);
  const Heads queries = Heads::read_floating(q, {kName, "q"}, layout);
  const Options options(kName, arguments, queries->dtype());
  const Cache::Use used(cache);
  const KvCacheConfig& config = used->config();
  const Index value_dim = config.value_dim == 0 ? config.head_dim : config.value_dim;
  HeadsResult result(out, {kName, "out"}, layout, q,
                     {queries->dim(0), queries->dim(1), queries->dim(2), value_dim},
                     queries->dtype());
  for (const ConstView& operand : {*queries, options->mask, options->bias}) {
    result.require_apart({kName, "out"}, operand);
  }
  {
    const ContextLease ctx;
    const nb::gil_scoped_release unlocked;
    attention_cached(*ctx, *queries, *used, layer, *options, result.view());
  }
  return result.take();
}

void advance(Cache& cache, nb::handle count) {
  const Cache::Use used(cache);
  if (PyLong_Check(count.ptr())) {
    used->advance(nb::cast<Index>(count));
  } else {
    used->advance(std::span<const Index>(counts_of(count, {"KvCache", "count"})));
  }
}

void truncate(Cache& cache, Index length, std::optional<Index> sequence) {
  const Cache::Use used(cache);
  sequence ? used->truncate(*sequence, length) : used->truncate(length);
}

void fork(Cache& cache, Index from, Index to, Cache* source) {
  const Cache::Use used(cache);
  if (source == nullptr || source == &cache) {
    used->fork(from, to);
  } else {
    used->fork(*Cache::Use(*source), from, to);
  }
}

nb::object make_config(const KvCacheConfig& config) {
  nb::dict entries;
  entries["num_layers"] = config.num_layers;
  entries["batch"] = config.batch;
  entries["num_key_value_heads"] = config.num_key_value_heads;
  entries["head_dim"] = config.head_dim;
  entries["capacity"] = config.capacity;
  entries["dtype"] = nb::str(cache_dtype_name(config.dtype).data());
  entries["value_dim"] = config.value_dim;
  entries["window"] = config.window;
  entries["num_blocks"] = config.num_blocks;
  return entries;
}

constexpr const char* kCacheDoc =
    R"(Keys and values of the positions so far, in the layout that the kernels read.

Each sequence of the batch has a length of its own. decode() stores at it, and advance() counts
what was stored once every layer has run. What a sequence gets is bitwise what it gets in a
cache of its own, contiguous, ring or paged.

Args:
    head_dim: D of keys and, without value_dim, of values.
    num_layers, batch, num_key_value_heads: sizes, 1 or more.
    capacity: positions that fit in a sequence, rounded up to 16 (64 below float32); a ring
        needs none, and a paged cache without one may use all its blocks.
    dtype: "float32", "float64", or of float32 models "bfloat16" or "uint8" (8 bits, scaled).
    value_dim: Dv; 0: head_dim.
    window: a ring that keeps what a sliding window of this many positions sees. 0: all is kept.
    num_blocks: paged: blocks of 64 positions that all sequences share. 0: not paged.

Raises:
    ConfigError (a ValueError): sizes below 1, another dtype, or a ring that is paged.
    RuntimeError, from all methods: another thread is in a call with this cache.
)";

constexpr const char* kDecodeDoc =
    R"(Attention of new positions over a cache: stores k and v, then attends to all that is stored.

A prompt takes one call, then each token one. Call cache.advance(T) once every layer has run.
The options are attention()'s, but lengths and segments; positions count from the start of each
sequence, so causal_offset must be 0.

Args:
    q: queries [B, T, Hq, D], float32 or float64 as the cache takes them.
    k, v: [B, T, Hkv, D] and [B, T, Hkv, Dv], of q's type.
    cache: where to store; sequence b at positions cache.lengths[b] onwards.
    layer: which of the cache's layers.
    counts: rows of each sequence, [B]; the rows behind them are not read and give 0. None: T.
    layout, out: as in attention().

Returns:
    [B, T, Hq, Dv], of q's kind.

Raises:
    ShapeError, ConfigError: as attention(), and a cache without room; nothing is stored then.
    RuntimeError: another thread is in a call with this cache.
)";

void define_class(nb::module_& m) {
  using namespace nb::literals;  // NOLINT(google-build-using-namespace)
  nb::class_<Cache>(m, "KvCache", kCacheDoc)
      .def(
          "__init__",
          [](Cache* self, Index head_dim, Index num_layers, Index batch, Index heads,
             Index capacity, nb::handle dtype, Index value_dim, Index window, Index num_blocks) {
            new (self) Cache({.num_layers = num_layers,
                              .batch = batch,
                              .num_key_value_heads = heads,
                              .head_dim = head_dim,
                              .capacity = capacity,
                              .dtype = cache_dtype(dtype),
                              .value_dim = value_dim,
                              .window = window,
                              .num_blocks = num_blocks});
          },
          nb::kw_only(), "head_dim"_a, "num_layers"_a = 1, "batch"_a = 1,
          "num_key_value_heads"_a = 1, "capacity"_a = 0, "dtype"_a = "float32", "value_dim"_a = 0,
          "window"_a = 0, "num_blocks"_a = 0,
          nb::sig("def __init__(self, *, head_dim: int, num_layers: int = 1, batch: int = 1, "
                  "num_key_value_heads: int = 1, capacity: int = 0, dtype: str = \"float32\", "
                  "value_dim: int = 0, window: int = 0, num_blocks: int = 0) -> None"))
      .def_prop_ro(
          "config", [](Cache& c) { return make_config(Cache::Use(c)->config()); },
          "The arguments it was made with, sizes rounded up.", nb::sig("def config(self) -> dict"))
      .def_prop_ro(
          "length", [](Cache& c) { return Cache::Use(c)->length(); },
          "Positions of the longest sequence.")
      .def_prop_ro(
          "lengths",
          [](Cache& c) {
            nb::list lengths;
            for (const Index length : Cache::Use(c)->lengths()) lengths.append(length);
            return lengths;
          },
          "Positions of each sequence.", nb::sig("def lengths(self) -> list[int]"))
      .def_prop_ro(
          "capacity", [](Cache& c) { return Cache::Use(c)->capacity(); },
          "Positions that a sequence has room for.")
      .def_prop_ro(
          "bytes", [](Cache& c) { return Cache::Use(c)->bytes(); }, "Of the memory taken.")
      .def_prop_ro(
          "num_free_blocks", [](Cache& c) { return Cache::Use(c)->num_free_blocks(); },
          "Paged: blocks that no sequence has.")
      .def("advance", &advance, "count"_a,
           nb::sig("def advance(self, count: int | collections.abc.Sequence[int]) -> None"),
           "Counts `count` more positions of all sequences, or count[b] of each sequence b.\n\n"
           "Raises ShapeError where they do not fit.")
      .def("truncate", &truncate, "length"_a, "sequence"_a = nb::none(),
           "Forgets the positions from `length` on, of all sequences or of one.\n\n"
           "Raises ShapeError where there are fewer, or a ring no longer has what is needed.")
      .def("fork", &fork, "source"_a, "to"_a, "cache"_a = nb::none(),
           "Makes sequence `to` a copy of sequence `source`, of this or another cache.\n\n"
           "Within a paged cache blocks are shared until one of both stores in one. Raises\n"
           "ShapeError for a cache of other sizes or without room: then nothing changes.")
      .def(
          "reserve",
          [](Cache& c, Index capacity) { Cache::Use(c)->reserve(*ContextLease(), capacity); },
          "capacity"_a,
          "Room for `capacity` positions or more; what is stored stays.\n\n"
          "Raises ConfigError for a paged cache.")
      .def(
          "save",
          [](Cache& c, const std::filesystem::path& file) { save_kv_cache(*Cache::Use(c), file); },
          "file"_a,
          "Writes what it holds to a .safetensors file, at once. Raises IoError (an OSError).")
      .def(
          "load",
          [](Cache& c, const std::filesystem::path& file) { load_kv_cache(file, *Cache::Use(c)); },
          "file"_a,
          "Replaces what it holds by what save() wrote, from a cache of the same sizes.\n\n"
          "Raises IoError (an OSError) for a file that is missing, damaged or does not fit.");
}

}  // namespace

void define_cache(nb::module_& m) {
  using namespace nb::literals;  // NOLINT(google-build-using-namespace)
  define_class(m);
  m.def("decode", &decode_step, "q"_a, "k"_a, "v"_a, "cache"_a, nb::kw_only(), "layer"_a = 0,
        "layout"_a = "BTHD", "out"_a = nb::none(), "counts"_a = nb::none(), "options"_a,
        nb::sig(
            "def decode(q: Array, k: typing.Any, v: typing.Any, cache: KvCache, *, layer: int = 0, "
            "layout: str = \"BTHD\", out: Array | None = None, "
            "counts: typing.Any = None, " GROUPHEAD_OPTION_ARGUMENTS ") -> Array"),
        kDecodeDoc);
  m.def("store_cached", &store, "k"_a, "v"_a, "cache"_a, nb::kw_only(), "layer"_a = 0,
        "layout"_a = "BTHD", "counts"_a = nb::none(),
        nb::sig("def store_cached(k: typing.Any, v: typing.Any, cache: KvCache, *, layer: int = 0, "
                "layout: str = \"BTHD\", counts: typing.Any = None) -> None"),
        "Stores k and v as decode() does, and attends with nothing. Raises what decode() raises.");
  m.def("attention_cached", &attend_cached, "q"_a, "cache"_a, nb::kw_only(), "layer"_a = 0,
        "layout"_a = "BTHD", "out"_a = nb::none(), "options"_a,
        nb::sig("def attention_cached(q: Array, cache: KvCache, *, layer: int = 0, "
                "layout: str = \"BTHD\", out: Array | None = None, " GROUPHEAD_OPTION_ARGUMENTS
                ") -> Array"),
        "Attends to what is stored, and stores nothing: q [B, T, Hq, D] against the positions of\n"
        "each sequence, as a decoder to its encoder's keys. Raises what attention() raises.");
}

}  // namespace grouphead::python
