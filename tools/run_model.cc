#include "tools/run_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <map>

#include "graph/input_layer.h"
#include "grouphead/files/saved_model.h"
#include "ops/convert.h"
#include "tools/tensor_file.h"

namespace grouphead::tools {
namespace {

using Tensors = std::map<std::string, Tensor>;

constexpr std::string_view kOutput = "output";

std::string output_name(std::size_t i) {
  return i == 0 ? std::string(kOutput) : fmt::format("{}.{}", kOutput, i);
}

std::string names_of(const Tensors& tensors) {
  std::string names;
  for (const auto& [name, tensor] : tensors) names += (names.empty() ? "" : ", ") + name;
  return names;
}

const Tensor* find(const Tensors& tensors, const std::string& name) {
  const auto found = tensors.find(name);
  return found == tensors.end() ? nullptr : &found->second;
}

/// i64, as NumPy makes it, in the 32 bits that models take.
Tensor narrowed(const Tensor& from, const std::string& what) {
  Tensor to(from.shape(), Dtype::i32);
  const auto* x = from.data<std::int64_t>();
  for (Index i = 0; i < from.size(); ++i) {
    using Limits = std::numeric_limits<std::int32_t>;
    if (x[i] < Limits::min() || x[i] > Limits::max()) {
      throw IoError(fmt::format("{}: expected numbers of 32 bits, got {}", what, x[i]));
    }
    to.data<std::int32_t>()[i] = static_cast<std::int32_t>(x[i]);
  }
  return to;
}

Tensor as_input(const Tensor& tensor, Dtype wanted, const std::string& what) {
  if (tensor.dtype() == wanted) return tensor;
  if (ops::is_floating(tensor.dtype()) && ops::is_floating(wanted)) {
    Tensor cast(tensor.shape(), wanted);
    ops::convert_rounded(tensor, wanted, cast);
    return cast;
  }
  if (tensor.dtype() == Dtype::i64 && wanted == Dtype::i32) return narrowed(tensor, what);
  throw IoError(
      fmt::format("{}: expected {}, got {}", what, name_of(wanted), name_of(tensor.dtype())));
}

std::vector<Tensor> inputs_of(const Model& model, const Tensors& tensors, const std::string& file) {
  std::vector<Tensor> inputs;
  for (const Symbol& input : model.inputs()) {
    const Tensor* found = find(tensors, "inputs." + input.name());
    if (found == nullptr) found = find(tensors, input.name());
    if (found == nullptr && detail::input_layer_of(input)->is_optional()) {
      inputs.emplace_back();
      continue;
    }
    if (found == nullptr) {
      throw IoError(fmt::format("[run] {}: expected inputs.{} or {}, got {}", file, input.name(),
                                input.name(), names_of(tensors)));
    }
    inputs.push_back(
        as_input(*found, input.dtype(), fmt::format("[run] {}: {}", file, input.name())));
  }
  return inputs;
}

Tensor as_f64(const Tensor& from) {
  Tensor to(from.shape(), Dtype::f64);
  ops::convert_rounded(from, Dtype::f64, to);
  return to;
}

// 16-bit outputs cannot be nearer than their own roundings: two units in the last place.
double default_tolerance(Dtype dtype) {
  if (dtype == Dtype::bf16) return 2 * 0x1p-7;
  return dtype == Dtype::f16 ? 2 * 0x1p-10 : 1e-5;
}

void compare_outputs(const RunModelOptions& options, const Tensors& tensors,
                     RunModelResult& result) {
  std::size_t count = 0;
  for (RunModelResult::Output& output : result.outputs) {
    const Tensor* expected = find(tensors, "expect." + output.name);
    if (expected == nullptr) continue;
    const Tensor want = as_f64(*expected);
    const double relative = default_tolerance(output.tensor.dtype());
    const double atol = options.atol.value_or(relative * std::max(1.0, testing::max_abs(want)));
    output.comparison = testing::compare(output.name, as_f64(output.tensor), want, atol);
    ++count;
  }
  const std::string last = "expect." + output_name(result.outputs.size());
  if (count == 0 || find(tensors, last) != nullptr) {
    throw IoError(fmt::format("[run] {}: expected expect.output for {} outputs, got {}",
                              options.inputs.string(), result.outputs.size(), names_of(tensors)));
  }
}

}  // namespace

bool RunModelResult::passed() const {
  return std::all_of(outputs.begin(), outputs.end(), [](const Output& output) {
    return !output.comparison || output.comparison->ok();
  });
}

std::vector<Tensor> model_inputs(const Model& model, const std::filesystem::path& file) {
  return inputs_of(model, read_tensors(file), file.string());
}

RunModelResult run_model(Context& ctx, const RunModelOptions& options) {
  const std::shared_ptr<Model> model = load_model(options.model);
  const Tensors tensors = read_tensors(options.inputs);
  const std::vector<Tensor> made =
      (*model)(ctx, inputs_of(*model, tensors, options.inputs.string()));
  RunModelResult result;
  for (std::size_t i = 0; i < made.size(); ++i) {
    result.outputs.push_back({output_name(i), model->outputs()[i].name(), made[i]});
  }
  if (options.compares) compare_outputs(options, tensors, result);
  if (!options.out.empty()) {
    Tensors made_by_name;
    for (const auto& output : result.outputs) made_by_name[output.name] = output.tensor;
    write_tensors(options.out, made_by_name);
  }
  return result;
}

}  // namespace grouphead::tools
