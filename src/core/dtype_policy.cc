#include "grouphead/core/dtype_policy.h"

#include "core/check.h"

namespace grouphead {
namespace {

struct Known {
  std::string_view name;
  Dtype compute;
  Dtype variable;
};
constexpr Known kKnown[] = {
    {"float32", Dtype::f32, Dtype::f32},    {"float64", Dtype::f64, Dtype::f64},
    {"bfloat16", Dtype::bf16, Dtype::bf16}, {"mixed_bfloat16", Dtype::bf16, Dtype::f32},
    {"float16", Dtype::f16, Dtype::f16},    {"mixed_float16", Dtype::f16, Dtype::f32},
};

}  // namespace

DtypePolicy::DtypePolicy(std::string_view name) {
  std::string known;
  for (const Known& policy : kKnown) {
    if (policy.name == name) {
      compute_ = policy.compute;
      variable_ = policy.variable;
      return;
    }
    known.append(known.empty() ? "" : ", ").append(policy.name);
  }
  core::throw_config_error("dtype_policy", "name", "one of " + known, name);
}

DtypePolicy::DtypePolicy(Dtype dtype) : compute_(dtype), variable_(dtype) {
  for (const Known& policy : kKnown) {
    if (policy.compute == dtype && policy.variable == dtype) return;
  }
  core::throw_config_error("dtype_policy", "dtype", "a floating type", name_of(dtype));
}

std::string_view DtypePolicy::name() const noexcept {
  for (const Known& policy : kKnown) {
    if (policy.compute == compute_ && policy.variable == variable_) return policy.name;
  }
  return "";
}

}  // namespace grouphead
