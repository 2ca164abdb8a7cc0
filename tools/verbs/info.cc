#include <fmt/ranges.h>

#include <algorithm>
#include <fstream>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "grouphead/core/context.h"
#include "grouphead/core/version.h"
#include "grouphead/layers/serialization.h"
#include "models/cost.h"
#include "saved/model_folder.h"
#include "testing/limits.h"
#include "tools/hub_folder.h"
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

/// `model.layers.0` of `model.layers.0.mlp.up_proj.weight`, `model.norm` of `model.norm.weight`.
std::string part_of(const std::string& name) {
  for (std::size_t begin = 0, end; (end = name.find('.', begin)) != std::string::npos;
       begin = end + 1) {
    const std::string word = name.substr(begin, end - begin);
    if (!word.empty() && word.find_first_not_of("0123456789") == std::string::npos) {
      return name.substr(0, end);
    }
  }
  return name.substr(0, name.rfind('.'));
}

void print_hub_model(const std::string& folder) {
  const HubFolder found = read_hub_folder(folder);
  print_out("model    {} ({})\n", folder, found.family);
  if (found.model) {
    const TransformerModelConfig& m = *found.model;
    const SelfAttentionConfig& a = m.attention;
    print_out("  {:<14} {}, {}\n", "kind", m.causal ? "causal" : "bidirectional",
              m.head ? "logits" : "hidden states");
    print_out("  {:<14} {} words\n", "vocabulary", m.vocab_size);
    print_out("  {:<14} {} of width {}\n", "layers", m.num_layers, m.hidden_size);
    print_out("  {:<14} {} for queries, {} for keys and values, of width {}\n", "heads",
              a.num_heads, a.num_key_value_heads, a.head_dim);
    print_out("  {:<14} width {}", "feed-forward", m.feed_forward.width);
    if (m.feed_forward.num_experts > 0) {
      print_out(", {} experts, {} for each token", m.feed_forward.num_experts,
                m.feed_forward.experts_per_token);
    }
    print_out("\n");
  } else {
    print_out("  cannot be run: {}\n", found.problem);
  }
  std::vector<std::pair<std::string, Index>> parts;
  std::set<std::string> dtypes;
  for (const HubFolder::Entry& one : found.tensors) {
    const std::string part = part_of(one.name);
    if (parts.empty() || parts.back().first != part) parts.emplace_back(part, 0);
    parts.back().second += one.elements;
    dtypes.insert(one.dtype);
  }
  print_out("  {:<14} {}\n\n{:<28} {:>12}\n", "stored as", fmt::join(dtypes, ", "), "part",
            "parameters");
  for (const auto& [part, elements] : parts) print_out("{:<28} {:>12}\n", part, elements);
  print_out("{:<28} {:>12}\n", "all", found.elements);
  const Index cached = found.model ? cached_elements(*found.model) : 0;
  if (cached == 0) return;
  print_out("\nKV cache for each token: {} numbers, {} bytes in f32, {} in bf16\n", cached,
            cached * size_of(Dtype::f32), cached * size_of(Dtype::bf16));
}

void print_model(const std::string& folder) {
  if (saved::is_pretrained_folder(folder)) return print_hub_model(folder);
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
  verb->add_option("model", *folder, "Folder that train wrote, or of Hugging Face");
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
