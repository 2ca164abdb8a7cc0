#include <memory>
#include <string>

#include "io/json.h"
#include "tools/inspection.h"
#include "tools/output.h"
#include "tools/verbs.h"
#include "tools/verbs/options.h"

namespace grouphead::tools {

void add_inspect(CLI::App& app, const Globals& /*globals*/, Action& action) {
  CLI::App* verb = app.add_subcommand("inspect", "What a file of models or tensors holds");
  verb->footer(
      "Example:\n  grouphead inspect model.keras\n  grouphead inspect weights.safetensors --json\n"
      "Layers with the shapes they make, their parameters, and the values that a KV cache holds\n"
      "for each token; then groups and tensors. A model with layers that this library does not\n"
      "have is shown too.");
  struct Options {
    std::string file;
    bool as_json = false;
    ClassFiles classes;
  };
  const auto options = std::make_shared<Options>();
  verb->add_option(
          "file", options->file,
          ".keras, .h5, .safetensors, .npz, or a folder that train wrote, or of Hugging Face")
      ->required();
  verb->add_flag("--json", options->as_json, "As one JSON object");
  add_classes(*verb, options->classes);
  verb->callback([=, &action] {
    action = [=] {
      register_all(options->classes);
      const ConfigValue found = tools::inspect(options->file);
      if (options->as_json) {
        write_out(io::json_text(found, 2, io::OtherBytes::replaced) + "\n");
      } else {
        print_out_text(tools::inspection_text(found));
      }
      return kOk;
    };
  });
}

}  // namespace grouphead::tools
