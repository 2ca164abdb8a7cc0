#include "testing/isa.h"

#include <algorithm>
#include <oneapi/dnnl/dnnl.hpp>

#include "core/check.h"

namespace grouphead::testing {
namespace {

dnnl::cpu_isa onednn_isa(Isa isa) noexcept {
  switch (isa) {
    case Isa::ref:
    case Isa::neon:
    case Isa::sve256:
    case Isa::sse4:
      return dnnl::cpu_isa::sse41;
    case Isa::avx2:
      return dnnl::cpu_isa::avx2;
    case Isa::avx3:
      return dnnl::cpu_isa::avx512_core;
    case Isa::avx3_bf16:
      return dnnl::cpu_isa::avx512_core_bf16;
    case Isa::avx3_amx:
      break;
  }
  return dnnl::cpu_isa::avx512_core_amx;
}

}  // namespace

std::string_view onednn_cap(Isa isa) noexcept {
  switch (isa) {
    case Isa::ref:
    case Isa::neon:
    case Isa::sve256:
    case Isa::sse4:
      return "SSE41";
    case Isa::avx2:
      return "AVX2";
    case Isa::avx3:
      return "AVX512_CORE";
    case Isa::avx3_bf16:
      return "AVX512_CORE_BF16";
    case Isa::avx3_amx:
      break;
  }
  return "AVX512_CORE_AMX";
}

void cap_onednn(std::span<const Problem> problems) {
  if (problems.empty()) return;
  const std::optional<Isa> isa = problems.front().isa;
  for (const Problem& problem : problems) {
    if (problem.isa != isa) {
      core::throw_config_error("problem", "isa=", "the same for all problems of one run",
                               to_string(problem));
    }
  }
  if (!isa) return;
  const dnnl::status status = dnnl::set_max_cpu_isa(onednn_isa(*isa));
  if (status != dnnl::status::success && onednn_level() != std::max(*isa, Isa::sse4)) {
    core::throw_config_error("problem", "isa=", "the level that oneDNN runs at already",
                             grouphead::name_of(*isa));
  }
}

Isa onednn_level() {
  // Bits of the C enumeration: each level contains those of the levels below it.
  const auto bits = static_cast<unsigned>(dnnl::get_effective_cpu_isa());
  const auto contains = [bits](Isa isa) {
    const auto wanted = static_cast<unsigned>(onednn_isa(isa));
    return (bits & wanted) == wanted;
  };
  for (const Isa isa : {Isa::avx3_amx, Isa::avx3_bf16, Isa::avx3, Isa::avx2}) {
    if (contains(isa)) return isa;
  }
  return Isa::sse4;
}

}  // namespace grouphead::testing
