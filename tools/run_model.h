#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "grouphead/models/model.h"
#include "testing/compare.h"

namespace grouphead::tools {

struct RunModelOptions {
  std::filesystem::path model{};   ///< .keras, or a legacy .h5
  std::filesystem::path inputs{};  ///< tensors `inputs.NAME` or `NAME` for each input layer
  std::filesystem::path out{};  ///< where the outputs go: `output`, `output.1`, ...; empty: nowhere
  bool compares = false;  ///< with `expect.output`, `expect.output.1`, ... of the inputs' file
  /// How far floating outputs may be off. Absent: 1e-5 max(1, largest finite value expected), with
  /// 2^-6 instead where bf16 is anywhere in the model, and 2^-9 where f16 is. Integers, bools,
  /// infinities and NaN have to be equal.
  std::optional<double> atol{};
};

/// The outputs of a model file, and how far they are from what was expected.
struct RunModelResult {
  struct Output {
    std::string name{};   ///< `output`, `output.1`, ...
    std::string layer{};  ///< that makes it
    Tensor tensor{};
    std::optional<testing::Comparison> comparison{};  ///< absent: nothing was expected
  };
  std::vector<Output> outputs{};

  bool passed() const;
};

/// The model's inputs in their order, from a file's tensors `inputs.NAME` or `NAME`, cast to the
/// types that the model takes: see cast_exactly(). Other tensors of the file are not read. Errors:
/// IoError.
std::vector<Tensor> model_inputs(const Model& model, const std::filesystem::path& file);

/// Runs a model in inference. Inputs are cast to the types that the model takes.
/// Errors: IoError for files that cannot be read, for an input that is missing or of another kind,
/// and with `compares` where nothing is expected; ShapeError for inputs that do not fit.
RunModelResult run_model(Context& ctx, const RunModelOptions& options);

}  // namespace grouphead::tools
