#include "tools/run_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "graph/graph.h"
#include "graph/input_layer.h"
#include "graph/node.h"
#include "grouphead/files/saved_model.h"
#include "grouphead/files/tensors.h"
#include "ops/convert.h"
#include "ops/strided.h"
#include "tools/signals.h"

namespace grouphead::tools {
namespace {

constexpr std::string_view kOutput = "output";

std::string output_name(std::size_t i) {
  return i == 0 ? std::string(kOutput) : fmt::format("{}.{}", kOutput, i);
}

std::string names_of(const TensorFile& file) {
  std::string names;
  for (const TensorInfo& info : file.tensors()) names += (names.empty() ? "" : ", ") + info.name;
  return names;
}

/// Keras casts what a model is given to the types of its inputs; what it would change is refused.
std::vector<Tensor> inputs_of(const Model& model, const TensorFile& tensors,
                              const std::string& file) {
  std::vector<Tensor> inputs;
  for (const Symbol& input : model.inputs()) {
    const std::string marked = "inputs." + input.name();
    if (tensors.contains(marked)) {
      inputs.push_back(tensors.read(marked, input.dtype()));
    } else if (tensors.contains(input.name())) {
      inputs.push_back(tensors.read(input.name(), input.dtype()));
    } else if (graph::input_layer_of(input)->is_optional()) {
      inputs.emplace_back();
    } else {
      throw IoError(fmt::format("[run] {}: expected {} or {}, got {}", file, marked, input.name(),
                                names_of(tensors)));
    }
  }
  return inputs;
}

// Two units in the last place: nothing can be nearer than its own roundings.
double tolerance_of(Dtype dtype) {
  if (dtype == Dtype::bf16) return 2 * 0x1p-7;
  return dtype == Dtype::f16 ? 2 * 0x1p-10 : 1e-5;
}

/// That of the coarsest type in which a layer computes, has its parameters, or makes a tensor; of
/// the models that `seen` does not have.
double tolerance_of(const Model& model, std::set<const Model*>& seen) {
  double tolerance = 0;
  const auto note = [&](Dtype dtype) {
    if (ops::is_floating(dtype)) tolerance = std::max(tolerance, tolerance_of(dtype));
  };
  for (const Symbol& input : model.inputs()) note(input.dtype());
  for (const auto& each : model.parameters()) note(each.parameter->dtype());
  for (const graph::Step& step : graph::graph_of(model).steps()) {
    note(step.layer().policy().compute());
    for (const Dtype dtype : step.node->dtypes) note(dtype);
    if (step.model != nullptr && seen.insert(step.model).second) {
      tolerance = std::max(tolerance, tolerance_of(*step.model, seen));
    }
  }
  return tolerance;
}

Tensor as(Context& ctx, const Tensor& from, Dtype dtype) {
  Tensor to(from.shape(), dtype);
  if (from.size() > 0) ops::cast(ctx, from, to);
  return to;
}

/// Integers and bools have to be equal; floating values may differ by `relative` of the largest.
testing::Comparison compare_output(Context& ctx, const RunModelResult::Output& output,
                                   const Tensor& expected, std::optional<double> atol,
                                   double relative) {
  const Tensor& got = output.tensor;
  const bool is_exact = !ops::is_floating(got.dtype());
  if (got.shape() == expected.shape() && is_exact && !ops::is_floating(expected.dtype())) {
    return testing::compare_exact(output.name, as(ctx, got, Dtype::i64),
                                  as(ctx, expected, Dtype::i64));
  }
  const Tensor want = as(ctx, expected, Dtype::f64);
  const double bound = atol.value_or(relative * std::max(1.0, testing::max_abs(want)));
  return testing::compare(output.name, as(ctx, got, Dtype::f64), want, is_exact ? 0 : bound);
}

void compare_outputs(Context& ctx, const RunModelOptions& options, const Model& model,
                     const TensorFile& tensors, RunModelResult& result) {
  std::set<const Model*> seen;
  const double relative = tolerance_of(model, seen);
  std::size_t count = 0;
  for (RunModelResult::Output& output : result.outputs) {
    const std::string name = "expect." + output.name;
    if (!tensors.contains(name)) continue;
    output.comparison = compare_output(ctx, output, tensors.read(name), options.atol, relative);
    ++count;
  }
  if (count == 0 || tensors.contains("expect." + output_name(result.outputs.size()))) {
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
  return inputs_of(model, TensorFile(file), file.string());
}

RunModelResult run_model(Context& ctx, const RunModelOptions& options) {
  const std::shared_ptr<Model> model = load_model(options.model);
  const TensorFile tensors(options.inputs);
  const std::vector<Tensor> made =
      (*model)(ctx, inputs_of(*model, tensors, options.inputs.string()));
  RunModelResult result;
  for (std::size_t i = 0; i < made.size(); ++i) {
    result.outputs.push_back({output_name(i), model->outputs()[i].name(), made[i]});
  }
  if (options.compares) compare_outputs(ctx, options, *model, tensors, result);
  if (!options.out.empty()) {
    std::map<std::string, Tensor> made_by_name;
    for (const auto& output : result.outputs) made_by_name[output.name] = output.tensor;
    const WritesFiles writes;
    write_tensors(options.out, made_by_name);
  }
  return result;
}

}  // namespace grouphead::tools
