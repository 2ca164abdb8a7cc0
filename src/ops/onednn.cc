#include "ops/onednn.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <future>
#include <memory>
#include <oneapi/dnnl/dnnl.hpp>
#include <unordered_map>
#include <vector>

#include "core/context_impl.h"
#include "ops/dense_rows.h"
#include "ops/onednn_cuts.h"
#include "ops/weight_parts.h"

#if DNNL_CPU_THREADING_RUNTIME == DNNL_RUNTIME_OMP
// Of the OpenMP runtime that oneDNN runs on. Declared here because a compiler's own omp.h may be
// missing or belong to another runtime.
extern "C" int omp_get_max_threads();
extern "C" void omp_set_num_threads(int count);
#endif

namespace grouphead::ops::onednn {
namespace {

using dnnl::memory;

constexpr std::size_t kForm = PackedWeights::Impl::kForms - 1;
constexpr Index kFloatBytes = sizeof(float);
/// Rows for which the form of the weights is asked; any other number then takes the same form.
constexpr Index kFormRows = 64;
/// Columns that one unit of packing covers at most, and the elements that are worth a unit.
constexpr Index kPackColumns = 256;
constexpr Index kPackElements = Index{1} << 14;
/// What a Context keeps of compiled products; making one costs 3 to 100 us.
constexpr std::size_t kMaxProducts = 2048;

/// One OpenMP thread for oneDNN on this thread, while it makes and while it runs a primitive (the
/// number is part of what it compiles); the host's own number afterwards.
#if DNNL_CPU_THREADING_RUNTIME == DNNL_RUNTIME_OMP
class SequentialOpenMp {
 public:
  SequentialOpenMp() noexcept : host_threads_(omp_get_max_threads()) {
    if (host_threads_ != 1) omp_set_num_threads(1);
  }
  ~SequentialOpenMp() {
    if (host_threads_ != 1) omp_set_num_threads(host_threads_);
  }
  SequentialOpenMp(const SequentialOpenMp&) = delete;
  SequentialOpenMp& operator=(const SequentialOpenMp&) = delete;

 private:
  int host_threads_;
};
#else
class [[maybe_unused]] SequentialOpenMp {};
#endif

/// The CPU as oneDNN sees it: without state, so one serves the process. Never freed, because
/// Contexts with static storage may outlive any other order.
const dnnl::engine& cpu() {
  static const auto* const engine = new dnnl::engine(dnnl::engine::kind::cpu, 0);
  return *engine;
}

/// Whether oneDNN is not to be called any more. Static objects of it may be destroyed: each kind of
/// primitive, once it has made one, and with it oneDNN's own static objects, makes a static
/// ExitNote, which is then destroyed before them, and what runs later goes without oneDNN. Or an
/// allocation failed inside it, which leaves an entry in its cache that never works.
std::atomic<bool> is_gone{false};
struct ExitNote {
  ExitNote() = default;
  ExitNote(const ExitNote&) = delete;
  ExitNote& operator=(const ExitNote&) = delete;
  ~ExitNote() { is_gone = true; }
};

memory::desc strided(Index rows, Index columns, Index row_stride, Index column_stride) {
  return {{rows, columns}, memory::data_type::f32, memory::dims{row_stride, column_stride}};
}
memory::desc dense(Index rows, Index columns) { return strided(rows, columns, columns, 1); }
memory::desc any_form(Index rows, Index columns) {
  return {{rows, columns}, memory::data_type::f32, memory::format_tag::any};
}
Index bytes_of(const memory::desc& desc) { return static_cast<Index>(desc.get_size()); }

/// oneDNN reads through non-const handles.
void* handle(const void* data) { return const_cast<void*>(data); }

struct ProductKey {
  Index rows, depth, columns;
  Index stride;  // between rows of weights as they are; 0: packed
  bool bias, gelu, add;
  bool operator==(const ProductKey&) const = default;
};

struct ReorderKey {
  Index rows, columns, row_stride, column_stride;
  Index whole;  // columns of the packed matrix that this is a part of
  Index first;  // first column of the part; 0 for every part but the last
  bool operator==(const ReorderKey&) const = default;
};

struct Hash {
  static std::size_t mix(std::size_t seed, Index value) {
    return (seed ^ static_cast<std::size_t>(value)) * 0x9E3779B97F4A7C15U;
  }
  std::size_t operator()(const ProductKey& k) const {
    const int flags = (k.bias ? 1 : 0) + (k.gelu ? 2 : 0) + (k.add ? 4 : 0);
    const std::size_t h = mix(mix(mix(mix(mix(0, k.rows), k.depth), k.columns), k.stride), flags);
    return h ^ (h >> 32);
  }
  std::size_t operator()(const ReorderKey& k) const {
    std::size_t h = mix(mix(mix(0, k.rows), k.columns), k.row_stride);
    h = mix(mix(mix(h, k.column_stride), k.whole), k.first);
    return h ^ (h >> 32);
  }
};

/// A primitive and, for each thread, its arguments, made once.
template <std::size_t kArguments>
class Compiled {
 public:
  Compiled(dnnl::primitive primitive, const std::array<int, kArguments>& names,
           const std::array<memory::desc, kArguments>& descs, int num_threads)
      : primitive_(std::move(primitive)), slots_(static_cast<std::size_t>(num_threads)) {
    for (Slot& slot : slots_) {
      for (std::size_t i = 0; i < kArguments; ++i) {
        slot.memories[i] = memory(descs[i], cpu(), DNNL_MEMORY_NONE);
        slot.arguments[i] = {names[i], slot.memories[i].get()};
      }
    }
  }

  /// One thread at a time for each slot; null operands are left out.
  void run(int slot, const dnnl::stream& stream, const std::array<void*, kArguments>& data) const {
    Slot& own = slots_[static_cast<std::size_t>(slot)];
    int count = 0;
    std::array<dnnl_exec_arg_t, kArguments> arguments;
    for (std::size_t i = 0; i < kArguments; ++i) {
      if (data[i] == nullptr) continue;
      if (data[i] != own.data[i]) {
        dnnl::error::wrap_c_api(dnnl_memory_set_data_handle(own.arguments[i].memory, data[i]),
                                "could not set an operand");
        own.data[i] = data[i];
      }
      arguments[static_cast<std::size_t>(count++)] = own.arguments[i];
    }
    const SequentialOpenMp sequential;
    dnnl::error::wrap_c_api(
        dnnl_primitive_execute(primitive_.get(), stream.get(), count, arguments.data()),
        "could not run a primitive");
  }

 private:
  struct Slot {
    std::array<memory, kArguments> memories;
    std::array<dnnl_exec_arg_t, kArguments> arguments;
    std::array<void*, kArguments> data{};
  };
  dnnl::primitive primitive_;
  mutable std::vector<Slot> slots_;
};

struct Product {
  Compiled<5> compiled;  // x, w, bias, y, scratch
  Index scratch_bytes;
};
using Reorder = Compiled<2>;

/// The packed form of weights [depth, columns].
struct Form {
  memory::desc whole;
  Index bytes;
  Index pack_columns;  // columns of one unit of packing
  Index pack_bytes;
};

/// How a product is cut into units, and what each of them runs.
struct Plan {
  const Form* form;  // null: weights as they are
  const Product* full;
  const Product* last;
  Index units;
  Index block;  // rows of a unit, or columns where `strips`
  bool strips;
  Index strip_bytes;  // from the weights of one strip to those of the next
};

dnnl::matmul::primitive_desc describe(const ProductKey& key, const memory::desc& w) {
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  dnnl::post_ops post;
  if (key.add) post.append_sum(1.0F);
  const memory::desc x = dense(key.rows, key.depth);
  const memory::desc y = dense(key.rows, key.columns);
  const memory::desc bias = key.bias ? dense(1, key.columns) : memory::desc();
#if DNNL_VERSION_MAJOR >= 3
  if (key.gelu) post.append_eltwise(dnnl::algorithm::eltwise_gelu_erf, 0.0F, 0.0F);
  attributes.set_post_ops(post);
  if (!key.bias) return {cpu(), x, w, y, attributes};
  return {cpu(), x, w, bias, y, attributes};
#else
  if (key.gelu) post.append_eltwise(1.0F, dnnl::algorithm::eltwise_gelu_erf, 0.0F, 0.0F);
  attributes.set_post_ops(post);
  if (!key.bias) return {dnnl::matmul::desc(x, w, y), attributes, cpu()};
  return {dnnl::matmul::desc(x, w, bias, y), attributes, cpu()};
#endif
}

memory::desc preferred_form(Index depth, Index columns) {
  const ProductKey key{kFormRows, depth, columns, 0, false, false, false};
  return describe(key, any_form(depth, columns)).weights_desc();
}

/// Everything compiled for one Context, kept with it.
class Library final : public core::Attachment {
 public:
  explicit Library(int num_threads) : num_threads_(num_threads), stream_(cpu()) {}

  static Library& of(Context& ctx) {
    std::unique_ptr<core::Attachment>& attachment = ctx.impl().attachment();
    if (attachment == nullptr) attachment = std::make_unique<Library>(ctx.num_threads());
    return static_cast<Library&>(*attachment);
  }

  const dnnl::stream& stream() const { return stream_; }

  /// Makes room before a call looks up what it needs, so that nothing it holds is dropped.
  void trim() {
    if (plans_.size() + products_.size() + reorders_.size() < kMaxProducts) return;
    plans_.clear();
    products_.clear();
    forms_.clear();
    reorders_.clear();
  }

  /// For a product described by `key`.
  const Plan& plan(const ProductKey& key) {
    const auto found = plans_.find(key);
    if (found != plans_.end()) return found->second;
    Plan plan{};
    if (key.stride == 0) plan.form = &form(key.depth, key.columns);
    const Index strip = strip_of(key.rows, key.depth, key.columns);  // one thread is faster without
    if (num_threads_ > 1 && plan.form != nullptr && key.rows <= kFewRows &&
        strip * 2 <= key.columns) {
      plan.strip_bytes = strip_bytes(key.depth, key.columns, strip, plan.form->bytes);
      plan.strips = plan.strip_bytes > 0;
    }
    plan.block = plan.strips ? strip : row_block_of(key.rows);
    const Index total = plan.strips ? key.columns : key.rows;
    plan.units = ceil_div(total, plan.block);
    ProductKey part = key;
    (plan.strips ? part.columns : part.rows) = plan.block;
    plan.full = &product(part);
    (plan.strips ? part.columns : part.rows) = total - (plan.units - 1) * plan.block;
    plan.last = &product(part);
    return plans_.emplace(key, plan).first->second;
  }

  const Form& form(Index depth, Index columns) {
    const ReorderKey key{depth, columns, 0, 0, 0, 0};
    const auto found = forms_.find(key);
    if (found != forms_.end()) return found->second;
    const SequentialOpenMp sequential;
    Form form{preferred_form(depth, columns), 0, columns, 0};
    form.bytes = bytes_of(form.whole);
    cut_for_packing(depth, columns, form);
    return forms_.emplace(key, std::move(form)).first->second;
  }

  const Product& product(const ProductKey& key) {
    const auto found = products_.find(key);
    if (found != products_.end()) return found->second;
    const SequentialOpenMp sequential;
    const memory::desc w = key.stride == 0 ? form(key.depth, key.columns).whole
                                           : strided(key.depth, key.columns, key.stride, 1);
    const auto desc = describe(key, w);
    const memory::desc scratch = desc.scratchpad_desc();
    Product made{
        {dnnl::matmul(desc),
         {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_BIAS, DNNL_ARG_DST, DNNL_ARG_SCRATCHPAD},
         {desc.src_desc(), w, desc.bias_desc(), desc.dst_desc(), scratch},
         num_threads_},
        bytes_of(scratch)};
    static const ExitNote note;
    return products_.emplace(key, std::move(made)).first->second;
  }

  /// From a strided matrix into part of a packed one.
  const Reorder& reorder(const ReorderKey& key) {
    const auto found = reorders_.find(key);
    if (found != reorders_.end()) return found->second;
    const SequentialOpenMp sequential;
    const memory::desc from = strided(key.rows, key.columns, key.row_stride, key.column_stride);
    const memory::desc to =
        form(key.rows, key.whole).whole.submemory_desc({key.rows, key.columns}, {0, key.first});
    const dnnl::reorder::primitive_desc desc(cpu(), from, cpu(), to);
    Reorder made(dnnl::reorder(desc), {DNNL_ARG_FROM, DNNL_ARG_TO}, {from, to}, num_threads_);
    static const ExitNote note;
    return reorders_.emplace(key, std::move(made)).first->second;
  }

 private:
  /// Of the weights of one strip; 0 where the form does not lay blocks of columns one after the
  /// other, which the sizes tell.
  Index strip_bytes(Index depth, Index columns, Index strip, Index whole) {
    const Index last = columns % strip;
    const Index bytes = form(depth, strip).bytes;
    const Index last_bytes = last == 0 ? 0 : form(depth, last).bytes;
    return columns / strip * bytes + last_bytes == whole ? bytes : 0;
  }

  static void cut_for_packing(Index depth, Index columns, Form& form) {
    const Index pack_columns =
        std::clamp(round_up(kPackElements / depth, kFormColumns), kFormColumns, kPackColumns);
    if (pack_columns < columns) {
      const memory::desc part = form.whole.submemory_desc({depth, pack_columns}, {0, 0});
      if (bytes_of(part) * round_up(columns, kFormColumns) == form.bytes * pack_columns) {
        form.pack_columns = pack_columns;
        form.pack_bytes = bytes_of(part);
      }
    }
  }

  int num_threads_;
  dnnl::stream stream_;
  std::unordered_map<ProductKey, Plan, Hash> plans_;
  std::unordered_map<ProductKey, Product, Hash> products_;
  std::unordered_map<ReorderKey, Reorder, Hash> reorders_;
  std::unordered_map<ReorderKey, Form, Hash> forms_;
};

std::byte* offset(const void* data, Index bytes) {
  return static_cast<std::byte*>(handle(data)) + bytes;
}

/// Packs weights, a unit at a time.
class Packer {
 public:
  Packer(Library& library, const Weights& w)
      : library_(library),
        form_(library.form(w.depth, w.columns)),
        columns_(w.columns),
        units_(ceil_div(w.columns, form_.pack_columns)),
        parts_(w, form_.pack_columns),
        last_(reorder(w.depth, (units_ - 1) * form_.pack_columns)),
        part_(units_ == 1 ? last_ : reorder(w.depth, 0)) {}

  Index units() const { return units_; }
  Index scratch_bytes() const { return parts_.scratch_bytes(); }

  void run(kernels::Level level, Index unit, int slot, void* scratch, void* to) const {
    const Index first = unit * form_.pack_columns;
    void* const from = handle(parts_.part(level, first, columns_at(first), scratch).data);
    const bool is_last = unit + 1 == units_;  // its place, with padding, is part of the reorder
    (is_last ? last_ : part_)
        .run(slot, library_.stream(), {from, offset(to, is_last ? 0 : unit * form_.pack_bytes)});
  }

 private:
  Index columns_at(Index first) const { return std::min(form_.pack_columns, columns_ - first); }
  const Reorder& reorder(Index depth, Index first) const {
    return library_.reorder(
        {depth, columns_at(first), parts_.row_stride(), parts_.column_stride(), columns_, first});
  }

  Library& library_;
  const Form& form_;
  Index columns_, units_;
  WeightParts parts_;
  const Reorder& last_;
  const Reorder& part_;
};

void pack(Context& ctx, Library& library, const Weights& w, void* to) {
  const Packer packer(library, w);
  ctx.impl().parallel_for(packer.units(), [&](Index unit, int slot) {
    packer.run(static_cast<kernels::Level>(ctx.isa()), unit, slot,
               ctx.impl().scratch(slot, packer.scratch_bytes()), to);
  });
}

/// Unit = a block of rows, all columns. Rows that lie apart go through scratch, here and below:
/// oneDNN would sum them in another order.
void multiply_rows(Context& ctx, const dnnl::stream& stream, const Plan& plan, Index rows,
                   const SpacedRows& x, const Weights& w, const void* weights, const float* bias,
                   float* y) {
  ctx.impl().parallel_for(plan.units, [&](Index unit, int slot) {
    const Product& product = unit + 1 == plan.units ? *plan.last : *plan.full;
    const Index row = unit * plan.block;
    const DenseRows left(x, row, std::min(plan.block, rows - row), w.depth);
    void* const scratch = ctx.impl().scratch(slot, left.scratch_bytes() + product.scratch_bytes);
    product.compiled.run(slot, stream,
                         {handle(left.in(scratch)), handle(weights), handle(bias),
                          y + row * w.columns, offset(scratch, left.scratch_bytes())});
  });
}

/// Unit = a strip of columns, all rows. oneDNN's fast products write dense results only, so more
/// than one row goes through scratch.
void multiply_strips(Context& ctx, const dnnl::stream& stream, const Plan& plan, Index rows,
                     const SpacedRows& x, const Weights& w, const void* weights,
                     const Finish& finish, float* y) {
  const DenseRows left(x, 0, rows, w.depth);
  ctx.impl().parallel_for(plan.units, [&](Index unit, int slot) {
    const Product& product = unit + 1 == plan.units ? *plan.last : *plan.full;
    const Index column = unit * plan.block;
    const Index columns = std::min(plan.block, w.columns - column);
    const Index tile_bytes = round_up(rows * columns * kFloatBytes, 64);
    const Index own_bytes = tile_bytes + left.scratch_bytes();
    void* const scratch = ctx.impl().scratch(slot, own_bytes + product.scratch_bytes);
    float* const to = y + column;
    float* const tile = rows == 1 ? to : static_cast<float*>(scratch);
    if (rows > 1 && finish.write == Write::add) {
      copy_rows(rows, columns, to, w.columns, tile, columns);
    }
    product.compiled.run(
        slot, stream,
        {handle(left.in(offset(scratch, tile_bytes))), offset(weights, unit * plan.strip_bytes),
         handle(finish.bias == nullptr ? nullptr : finish.bias + column), tile,
         offset(scratch, own_bytes)});
    if (rows > 1) copy_rows(rows, columns, tile, columns, to, w.columns);
  });
}

/// Every error of oneDNN leaves as one of ours. False: it is not usable any more.
template <class Body>
bool translate(Body&& body) {
  try {
    body();
    return true;
  } catch (const dnnl::error& error) {
    throw Error(std::string("[linear] oneDNN: expected success, got status ") +
                std::to_string(static_cast<int>(error.status)) + ": " + error.what());
  } catch (const std::future_error&) {  // of the broken entry, before anything ran
    is_gone = true;
    return false;
  }
}

}  // namespace

bool usable(const Context& ctx) {
  static const bool kCpuHasForm = [] {
    // oneDNN reads its environment into strings, and ends the process if these find no memory.
    static_cast<void>(std::make_unique<std::array<char, 4096>>());
    const auto wanted = static_cast<unsigned>(dnnl::cpu_isa::avx512_core);
    return (static_cast<unsigned>(dnnl::get_effective_cpu_isa()) & wanted) == wanted;
  }();
  return kCpuHasForm && ctx.isa() >= Isa::avx3 && !is_gone;
}

bool multiply(Context& ctx, Index rows, const SpacedRows& x, const Weights& w, const Finish& finish,
              float* y) {
  return translate([&] {
    Library& library = Library::of(ctx);
    library.trim();
    // Few rows do not pay for packing weights that are used once.
    const bool packed = w.packed != nullptr || rows > kFewRows || w.column_stride != 1;
    const Plan& plan =
        library.plan({rows, w.depth, w.columns, packed ? 0 : w.row_stride, finish.bias != nullptr,
                      finish.epilogue == Epilogue::gelu, finish.write == Write::add});
    const void* weights = w.data;
    Tensor own;
    if (packed) {
      const auto fill = [&](void* to) { pack(ctx, library, w, to); };
      if (w.packed != nullptr) {
        weights = w.packed->impl().get(w.pass, kForm, plan.form->bytes, fill);
      } else {
        own = ctx.tensor({plan.form->bytes}, Dtype::u8);
        fill(own.view().raw());
        weights = own.view().raw();
      }
    }
    if (plan.strips) {
      multiply_strips(ctx, library.stream(), plan, rows, x, w, weights, finish, y);
    } else {
      multiply_rows(ctx, library.stream(), plan, rows, x, w, weights, finish.bias, y);
    }
  });
}

}  // namespace grouphead::ops::onednn
