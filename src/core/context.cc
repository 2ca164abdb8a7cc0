#include "grouphead/core/context.h"

#include <tbb/global_control.h>
#include <tbb/parallel_for.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <exception>
#include <mutex>

#include "core/check.h"
#include "core/context_impl.h"
#include "kernels/cpu/level.h"

#if defined(__SANITIZE_THREAD__)
#define GROUPHEAD_THREAD_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define GROUPHEAD_THREAD_SANITIZER 1
#endif
#endif
#ifdef GROUPHEAD_THREAD_SANITIZER
#include <sanitizer/tsan_interface.h>
#endif

namespace grouphead {
namespace {

/// Tell the thread sanitizer how oneTBB, which is not built with it, hands work over: what came
/// before hand_over(mark) is seen after take_over(mark).
void hand_over([[maybe_unused]] void* mark) {
#ifdef GROUPHEAD_THREAD_SANITIZER
  __tsan_release(mark);
#endif
}
void take_over([[maybe_unused]] void* mark) {
#ifdef GROUPHEAD_THREAD_SANITIZER
  __tsan_acquire(mark);
#endif
}

constexpr std::array<std::string_view, 8> kIsaNames = {"ref",  "neon", "sve256",    "sse4",
                                                       "avx2", "avx3", "avx3_bf16", "avx3_amx"};
static_assert(std::size(kernels::kLevels) == kIsaNames.size());

std::string available_names() {
  std::string names;
  for (const Isa isa : available_isas()) {
    if (!names.empty()) names += ", ";
    names += name_of(isa);
  }
  return names;
}

int checked_num_threads(const ContextOptions& options) {
  const int wanted = options.num_threads;
  if (wanted < 0) {
    core::throw_config_error("context", "num_threads", "0 or more", std::to_string(wanted));
  }
  const auto limit = options.executor != nullptr
                         ? options.executor->num_threads()
                         : static_cast<int>(tbb::global_control::active_value(
                               tbb::global_control::max_allowed_parallelism));
  if (limit < 1) {
    core::throw_config_error("context", "executor", "1 thread or more", std::to_string(limit));
  }
  return wanted == 0 ? limit : std::min(wanted, limit);
}

Isa checked_isa(std::optional<Isa> wanted) {
  if (!wanted) return static_cast<Isa>(kernels::enter_fastest_level());
  const std::span<const Isa> known = available_isas();
  if (std::find(known.begin(), known.end(), *wanted) == known.end() ||
      !kernels::enter_level(static_cast<kernels::Level>(*wanted))) {
    core::throw_config_error("context", "isa", "one of " + available_names(), name_of(*wanted));
  }
  return *wanted;
}

}  // namespace

std::string_view name_of(Isa isa) noexcept {
  const auto place = static_cast<std::size_t>(isa);
  return place < kIsaNames.size() ? kIsaNames[place] : "unknown";
}

Isa isa_from_name(std::string_view name) {
  const auto found = std::find(kIsaNames.begin(), kIsaNames.end(), name);
  if (found == kIsaNames.end()) {
    core::throw_config_error("context", "isa", "one of " + available_names(), name);
  }
  return static_cast<Isa>(found - kIsaNames.begin());
}

std::span<const Isa> available_isas() noexcept {
  struct List {
    std::array<Isa, kIsaNames.size()> isas{};
    std::size_t count = 0;
  };
  static const List list = [] {
    List found;
    for (const kernels::Level level : kernels::kLevels) {
      if (kernels::level_available(level)) found.isas[found.count++] = static_cast<Isa>(level);
    }
    return found;
  }();
  return {list.isas.data(), list.count};
}

Context::Context(const ContextOptions& options)
    : impl_(std::make_unique<core::ContextImpl>(checked_num_threads(options),
                                                checked_isa(options.isa), options)),
      flash_attention_(options.flash_attention) {}

Context::~Context() = default;

int Context::num_threads() const noexcept { return impl_->num_threads(); }
Isa Context::isa() const noexcept { return impl_->isa(); }

Tensor Context::tensor(const Shape& shape, Dtype dtype) { return {shape, dtype, impl_->pool()}; }

Tensor Context::zeros(const Shape& shape, Dtype dtype) {
  Tensor out = tensor(shape, dtype);
  fill_zero(out);
  return out;
}

MemoryStats Context::memory() const noexcept { return impl_->pool().stats(); }
void Context::reset_memory_peak() noexcept { impl_->pool().reset_peak(); }
void Context::release_unused_memory() noexcept { impl_->pool().release_unused(); }

namespace core {

ContextImpl::ContextImpl(int num_threads, Isa isa, const ContextOptions& options)
    : num_threads_(num_threads),
      isa_(isa),
      pool_(Pool::create(options.allocator)),
      scratch_(static_cast<std::size_t>(num_threads)),
      executor_(options.executor) {
  if (executor_ == nullptr) arena_.emplace(num_threads);
}

ContextImpl::~ContextImpl() {
  scratch_.clear();
  pool_->release();
}

void* ContextImpl::scratch(int slot, Index bytes) {
  Tensor& own = scratch_[static_cast<std::size_t>(slot)];
  if (own.bytes() < bytes || !own.has_value()) {
    own = Tensor();  // back to the pool before a larger one is taken
    own = Tensor({bytes}, Dtype::u8, *pool_);
  }
  return own.view().raw();
}

namespace {

// work(slot) for each slot below `workers`; what one of them throws is thrown here.
template <class Work>
void run_on(Executor& executor, int workers, const Work& work) {
  struct Call {
    const Work& work;
    std::mutex mutex{};
    std::exception_ptr error{};
  } call{work};
  const auto task = [](void* data, int slot) {
    auto& own = *static_cast<Call*>(data);
    try {
      own.work(slot);
    } catch (...) {
      const std::lock_guard lock(own.mutex);
      if (!own.error) own.error = std::current_exception();
    }
  };
  executor.run(workers, task, &call);
  if (call.error) std::rethrow_exception(call.error);
}

}  // namespace

void ContextImpl::run(Index units, void (*call)(void*, Index, int), void* body) {
  if (units <= 1 || num_threads_ == 1) {
    for (Index unit = 0; unit < units; ++unit) call(body, unit, 0);
    return;
  }
  // The counter also publishes: what the caller wrote before is seen by each unit, and what the
  // units wrote by the caller.
  std::atomic<Index> next{0};
  const auto workers = static_cast<int>(std::min<Index>(num_threads_, units));
  const auto work = [&](int slot) {
    take_over(&next);
    for (Index unit = next.fetch_add(1); unit < units; unit = next.fetch_add(1)) {
      call(body, unit, slot);
    }
  };
  hand_over(&next);
  if (executor_ != nullptr) {
    run_on(*executor_, workers, work);
  } else {
    arena_->execute([&] {
      tbb::parallel_for(
          0, workers, [&](int) { work(tbb::this_task_arena::current_thread_index()); },
          tbb::simple_partitioner());
    });
  }
  next.load();
}

}  // namespace core
}  // namespace grouphead
