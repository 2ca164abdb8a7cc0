#include <algorithm>
#include <fstream>
#include <memory>
#include <string>

#include "grouphead/core/context.h"
#include "grouphead/core/version.h"
#include "grouphead/layers/serialization.h"
#include "models/cost.h"
#include "saved/model_folder.h"
#include "testing/limits.h"
#include "tools/output.h"
#include "tools/verbs.h"
#include "tools/verbs/options.h"

namespace grouphead::tools {
namespace {

std::string cpu_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  }
  return "unknown";
}

void print_machine(const Globals& globals) {
  const Context ctx({.num_threads = globals.threads});
  std::string isas;
  for (const Isa isa : available_isas()) isas += fmt::format(" {}", name_of(isa));
  print_out("version  {}\ncpu      {}\nthreads  {}\nisa      {} (available:{})\n",
            GROUPHEAD_VERSION, cpu_name(), ctx.num_threads(), name_of(ctx.isa()), isas);
}

// With one thread, and with as many as asked for. The buffer is larger than the last-level cache.
void print_limits(const Globals& globals) {
  testing::Limits limits;
  print_out("{:<8} {:<9} {:>14} {:>14} {:>10} {:>12}\n", "threads", "isa", "fp32 GFLOP/s",
            "bf16 GFLOP/s", "read GB/s", "other cores");
  const int most = Context({.num_threads = globals.threads}).num_threads();
  for (const int threads : {1, most}) {
    Context ctx({.num_threads = threads});
    const testing::MachineLimits m = testing::measure_limits(ctx, limits);
    const std::string bf16 = m.bf16_gflops ? fmt::format("{:.1f}", *m.bf16_gflops) : "-";
    print_out("{:<8} {:<9} {:>14.1f} {:>14} {:>10.1f} {:>12.2f}\n", m.num_threads, name_of(m.isa),
              m.gflops, bf16, m.gb_s, m.foreign_cpu);
    if (most == 1) break;
  }
}

// `gqa_block_1/attn` of `gqa_block_1/attn/query/kernel`, `embedding` of `embedding/embeddings`.
std::string layer_of(const std::string& path) {
  const std::size_t last = path.rfind('/');
  const std::size_t first = path.find('/');
  return path.substr(0, std::min(last, path.find('/', first + 1)));
}

void print_layers(const ConstParameterList& parameters) {
  print_out("\n{:<28} {:>12}\n", "layer", "parameters");
  for (std::size_t i = 0; i < parameters.size();) {
    const std::string layer = layer_of(parameters[i].path);
    Index elements = 0;
    for (; i < parameters.size() && layer_of(parameters[i].path) == layer; ++i) {
      elements += parameters[i].parameter->shape().size();
    }
    print_out("{:<28} {:>12}\n", layer, elements);
  }
}

void print_costs(const TransformerConfig& config) {
  print_out("\nKV cache: 2 Hkv D numbers per token and layer. Score operations stay the same.\n");
  print_out("{:<16} {:>5} {:>18} {:>16} {:>8}\n", "variant", "Hkv", "numbers per layer",
            "bytes per token", "of MHA");
  for (const CacheCost& cost : cache_costs(config)) {
    const bool own = cost.num_key_value_heads == config.num_key_value_heads;
    print_out("{:<16} {:>5} {:>18} {:>16} {:>8.3g}\n", cost.variant + (own ? " (this)" : ""),
              cost.num_key_value_heads, cost.elements_per_layer, cost.bytes_per_token,
              cost.relative_to_mha);
  }
}

// The options that `train` was given, or of another model its configuration.
void print_settings(const saved::LoadedModel& loaded) {
  if (loaded.training) {
    for (const saved::Setting& setting : saved::settings_of(*loaded.training)) {
      print_out("  {:<14} {}\n", setting.name, setting.value);
    }
    return;
  }
  const ConfigValue config = loaded.model->get_config();
  for (const auto& [key, value] : config.as_object("config")) {
    print_out("  {:<26} {}\n", key, value.to_string());
  }
}

void print_model(const std::string& folder) {
  const saved::LoadedModel loaded = saved::read_model_folder(folder);
  const auto parameters = loaded.model->parameters();
  print_out("model    {} ({})\n", folder, loaded.model->class_name());
  print_settings(loaded);
  print_layers(parameters);
  print_out("{:<28} {:>12}\n", "all", count_elements(parameters));
  const std::optional<TransformerConfig> config = transformer_of(*loaded.model);
  if (!config) {
    const Index cached = cached_elements(*loaded.model);
    if (cached > 0) print_out("{:<28} {:>12}   numbers for each token\n", "KV cache", cached);
    return;
  }
  print_out("{:<28} {:>12}   kernels of the blocks, without biases and norms\n",
            "by Edifice's formula", stack_param_count_edifice(*config));
  print_costs(*config);
}

}  // namespace

void add_info(CLI::App& app, const Globals& globals, Action& action) {
  CLI::App* verb = app.add_subcommand("info", "Version, machine, and what a model costs");
  verb->footer("Example:\n  grouphead info build/quickstart\n  grouphead info --limits");
  const auto folder = std::make_shared<std::string>();
  verb->add_option("model", *folder, "Folder that train wrote");
  const auto only_isas = std::make_shared<bool>(false);
  verb->add_flag("--isas", *only_isas, "Print only the available instruction-set levels");
  const auto only_layers = std::make_shared<bool>(false);
  verb->add_flag("--layers", *only_layers, "Print only the layers that Keras's files may name");
  const auto limits = std::make_shared<bool>(false);
  verb->add_flag("--limits", *limits,
                 "Measure what this machine can do at best: multiply-adds and reading memory");
  verb->callback([&globals, &action, only_isas, only_layers, limits, folder] {
    action = [&globals, only_isas, only_layers, limits, folder] {
      if (*only_isas) {
        for (const Isa isa : available_isas()) print_out("{}\n", name_of(isa));
        return kOk;
      }
      if (*only_layers) {
        for (const std::string_view name : layer_class_names()) print_out("{}\n", name);
        return kOk;
      }
      print_machine(globals);
      if (*limits) print_limits(globals);
      if (!folder->empty()) print_model(*folder);
      return kOk;
    };
  });
}

}  // namespace grouphead::tools
