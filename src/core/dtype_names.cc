#include "core/dtype_names.h"

#include <string>

#include "core/check.h"

namespace grouphead::core {
namespace {

struct Entry {
  Dtype dtype;
  std::string_view name;
};
constexpr Entry kEntries[] = {
    {Dtype::f32, "float32"}, {Dtype::f64, "float64"},  {Dtype::bf16, "bfloat16"},
    {Dtype::f16, "float16"}, {Dtype::boolean, "bool"}, {Dtype::u8, "uint8"},
    {Dtype::i32, "int32"},   {Dtype::i64, "int64"},
};

}  // namespace

std::string_view keras_name(Dtype dtype) noexcept {
  for (const Entry& entry : kEntries) {
    if (entry.dtype == dtype) return entry.name;
  }
  return "";
}

Dtype dtype_from_keras(std::string_view name) {
  std::string known;
  for (const Entry& entry : kEntries) {
    if (entry.name == name) return entry.dtype;
    known += (known.empty() ? "" : ", ") + std::string(entry.name);
  }
  throw_config_error("config", "dtype", known, name);
}

}  // namespace grouphead::core
