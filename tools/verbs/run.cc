#include <fmt/format.h>

#include <memory>

#include "tools/run_model.h"
#include "tools/verbs.h"

namespace grouphead::tools {
namespace {

int run_model(const tools::RunModelOptions& options, const Globals& globals) {
  Context ctx({.num_threads = globals.threads});
  const tools::RunModelResult result = tools::run_model(ctx, options);
  for (const auto& output : result.outputs) {
    if (!globals.quiet) {
      fmt::print("{} ({})  {} {}\n", output.name, output.layer, name_of(output.tensor.dtype()),
                 output.tensor.shape().to_string());
    }
    if (output.comparison) fmt::print("  {}\n", output.comparison->to_string());
    if (options.compares && !output.comparison) fmt::print("  nothing expected\n");
  }
  if (options.compares) fmt::print("{}\n", result.passed() ? "passed" : "FAILED");
  return result.passed() ? kOk : kCheckFailed;
}

}  // namespace

void add_run(CLI::App& app, const Globals& globals, Action& action) {
  CLI::App* verb = app.add_subcommand("run", "Run a model file of Keras on inputs from a file");
  verb->footer(
      "Example:\n"
      "  grouphead run model.keras --inputs x.safetensors --out y.safetensors\n"
      "  grouphead run model.keras --inputs x.safetensors --expect\n"
      "Inputs are the tensors inputs.NAME or NAME for each input layer. --expect compares with\n"
      "expect.output, expect.output.1, ... of the same file and prints the largest difference.\n"
      "It may be --atol; else 1e-5 max(1, largest expected), 2^-6 for bf16 and 2^-9 for f16.\n"
      "Exit: 0 done and within the tolerance, 1 beyond it, 2 bad input");
  const auto options = std::make_shared<tools::RunModelOptions>();
  verb->add_option("model", options->model, "A .keras file, or a legacy whole-model .h5")
      ->required();
  verb->add_option("--inputs", options->inputs, "Tensors in .safetensors or .npz")->required();
  verb->add_option("--out", options->out, "Where the outputs go, .safetensors or .npz");
  verb->add_flag("--expect", options->compares, "Compare with what the inputs' file expects");
  verb->add_option("--atol", options->atol, "Largest difference that passes")
      ->check(CLI::NonNegativeNumber);
  verb->callback(
      [=, &globals, &action] { action = [=, &globals] { return run_model(*options, globals); }; });
}

}  // namespace grouphead::tools
