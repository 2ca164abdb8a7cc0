#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "grouphead/core/tensor.h"

#pragma GCC visibility push(default)
namespace grouphead {

/// Instruction-set levels, slowest first. `ref` is the plain C++ reference of every kernel;
/// `neon` and `sve256` (SVE with vectors of 256 bits, never the default) are those of 64-bit ARM;
/// `avx3_bf16` and `avx3_amx` are avx3 with attention of bf16 operands by vdpbf16ps, and by AMX.
/// Linux lends a process AMX's registers when it asks; the first Context of that level asks.
enum class Isa : int { ref, neon, sve256, sse4, avx2, avx3, avx3_bf16, avx3_amx };

/// `ref`, `neon`, `sve256`, `sse4`, `avx2`, `avx3`, `avx3_bf16`, `avx3_amx`.
std::string_view name_of(Isa isa) noexcept;
/// Errors: ConfigError that lists the known names.
Isa isa_from_name(std::string_view name);
/// What this processor and build can run, slowest first; never empty.
std::span<const Isa> available_isas() noexcept;

/// Keras's config.enable_flash_attention() (automatic) and disable_flash_attention() (off). There
/// is one set of exact kernels, which both run: no result depends on it.
enum class FlashAttention : int { automatic, off };

/// Threads of yours that a Context runs on: a thread pool, a oneTBB arena, one task after the
/// other. Threads: run() is called by one thread at a time for each Context.
class Executor {
 public:
  virtual ~Executor() = default;
  /// Tasks that run at the same time, 1 or more; always the same.
  virtual int num_threads() const noexcept = 0;
  /// Calls task(data, i) once for each i in [0, count), on any threads and in any order, and
  /// returns when all have returned; count <= num_threads(). What this thread wrote before is
  /// visible to the tasks, and what they wrote to this thread afterwards. Tasks do not throw, and
  /// need not run at the same time.
  virtual void run(int count, void (*task)(void* data, int i), void* data) = 0;
};

/// Memory of yours for a Context's tensors and workspaces. Threads: both functions may be called
/// from several at a time.
class Allocator {
 public:
  virtual ~Allocator() = default;
  /// `alignment` is a power of two. Errors: std::bad_alloc, never a null pointer.
  virtual void* allocate(std::size_t bytes, std::size_t alignment) = 0;
  virtual void deallocate(void* memory, std::size_t bytes, std::size_t alignment) noexcept = 0;
};

struct ContextOptions {
  /// 0: one per core, or the executor's; clamped to oneTBB's limit, or the executor's.
  int num_threads = 0;
  std::optional<Isa> isa{};  ///< absent: the fastest available; not avx3_bf16 where vdpbf16ps
                             ///< is slower than f32, as on Intel's cores
  FlashAttention flash_attention = FlashAttention::automatic;
  std::shared_ptr<Executor> executor{};    ///< absent: an arena of oneTBB's threads
  std::shared_ptr<Allocator> allocator{};  ///< absent: operator new, and huge pages where they help
};

/// Bytes of tensors and workspaces that a Context handed out.
struct MemoryStats {
  Index in_use_bytes = 0;
  Index peak_bytes = 0;      ///< highest in_use_bytes since reset_memory_peak()
  Index reserved_bytes = 0;  ///< held from the system, in use or kept for reuse
};

namespace core {
class ContextImpl;
}

/// Execution resources: threads, memory for reuse, and the kernels' instruction-set level.
///
/// Threads  one caller at a time; several Contexts live side by side
/// Errors   ConfigError for a level that this processor or build lacks, or threads < 0
class Context {
 public:
  explicit Context(const ContextOptions& options = {});
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  int num_threads() const noexcept;
  Isa isa() const noexcept;
  FlashAttention flash_attention() const noexcept { return flash_attention_; }

  /// Uninitialised elements from this Context's memory, given back when the last Tensor dies.
  Tensor tensor(const Shape& shape, Dtype dtype = Dtype::f32);
  Tensor zeros(const Shape& shape, Dtype dtype = Dtype::f32);

  MemoryStats memory() const noexcept;
  void reset_memory_peak() noexcept;
  /// Returns memory kept for reuse to the system.
  void release_unused_memory() noexcept;

  core::ContextImpl& impl() noexcept { return *impl_; }

 private:
  std::unique_ptr<core::ContextImpl> impl_;
  FlashAttention flash_attention_;
};

}  // namespace grouphead
#pragma GCC visibility pop
