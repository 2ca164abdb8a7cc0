#include <memory>

#include "tools/other_file.h"
#include "tools/output.h"
#include "tools/run_model.h"
#include "tools/verbs.h"
#include "tools/verbs/options.h"

namespace grouphead::tools {
namespace {

int run_model(const tools::RunModelOptions& options, const Globals& globals) {
  if (!options.out.empty()) {
    require_other_file("run", options.out, options.model);
    require_other_file("run", options.out, options.inputs);
  }
  Context ctx({.num_threads = globals.threads});
  const tools::RunModelResult result = tools::run_model(ctx, options);
  for (const auto& output : result.outputs) {
    if (!globals.quiet) {
      print_out("{} ({})  {} {}\n", output.name, output.layer, name_of(output.tensor.dtype()),
                output.tensor.shape().to_string());
    }
    if (output.comparison) print_out("  {}\n", output.comparison->to_string());
    if (options.compares && !output.comparison) print_out("  nothing expected\n");
  }
  if (options.compares) print_out("{}\n", result.passed() ? "passed" : "FAILED");
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
      "It may be --atol; else 1e-5 max(1, largest finite value expected), with 2^-6 instead of\n"
      "1e-5 where a layer of the model uses bf16, and 2^-9 where one uses f16. Integers, bools,\n"
      "infinities and NaN have to be equal.\n"
      "Exit: 0 done and within the tolerance, 1 beyond it, 2 bad input");
  const auto options = std::make_shared<tools::RunModelOptions>();
  verb->add_option("model", options->model, "A .keras file, or a legacy whole-model .h5")
      ->required();
  verb->add_option("--inputs", options->inputs, "Tensors in .safetensors or .npz")->required();
  verb->add_option("--out", options->out, "Where the outputs go, .safetensors or .npz");
  verb->add_flag("--expect", options->compares, "Compare with what the inputs' file expects");
  add_real(*verb, "--atol", options->atol, "Largest difference that passes", kZeroOrMore);
  const auto classes = std::make_shared<ClassFiles>();
  add_classes(*verb, *classes);
  verb->callback([=, &globals, &action] {
    action = [=, &globals] {
      register_all(*classes);
      return run_model(*options, globals);
    };
  });
}

}  // namespace grouphead::tools
