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
/// `avx3_bf16` and `avx3_amx` are avx3 with attention of bf16 numbers by vdpbf16ps, and by AMX.
enum class Isa : std::uint8_t { ref, sse4, avx2, avx3, avx3_bf16, avx3_amx };

/// `ref`, `sse4`, `avx2`, `avx3`, `avx3_bf16`, `avx3_amx`.
std::string_view name_of(Isa isa) noexcept;
/// Errors: ConfigError that lists the known names.
Isa isa_from_name(std::string_view name);
/// What this processor and build can run, slowest first; never empty.
std::span<const Isa> available_isas() noexcept;

/// Keras's config.enable_flash_attention() (automatic) and disable_flash_attention() (off). There
/// is one set of exact kernels, which both run: no number depends on it.
enum class FlashAttention : std::uint8_t { automatic, off };

struct ContextOptions {
  int num_threads = 0;       ///< 0: one per core; clamped to oneTBB's limit
  std::optional<Isa> isa{};  ///< absent: the fastest available; not avx3_bf16 where vdpbf16ps
                             ///< is slower than f32, as on Intel's cores
  FlashAttention flash_attention = FlashAttention::automatic;
};

/// Bytes of tensors and workspaces that a Context handed out.
struct MemoryStats {
  Index in_use_bytes = 0;
  Index peak_bytes = 0;      ///< highest in_use_bytes since reset_memory_peak()
  Index reserved_bytes = 0;  ///< held from the system, in use or kept for reuse
};

namespace detail {
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

  detail::ContextImpl& impl() noexcept { return *impl_; }

 private:
  std::unique_ptr<detail::ContextImpl> impl_;
  FlashAttention flash_attention_;
};

}  // namespace grouphead
#pragma GCC visibility pop
