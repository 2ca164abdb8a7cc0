#include "testing/edifice_case.h"

#include <algorithm>
#include <charconv>

namespace grouphead::testing {
namespace {

using edifice::GqaOptions;
using edifice::OutputMode;

Index number(const io::Safetensors& file, const std::string& name) {
  const auto found = file.metadata.find(name);
  if (found == file.metadata.end()) {
    throw IoError("[edifice_case] metadata: expected " + name + ", got none");
  }
  const std::string& text = found->second;
  Index value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    throw IoError("[edifice_case] " + name + ": expected an integer, got " + text);
  }
  return value;
}

YarnConfig papers_yarn(const io::Safetensors& file) {
  return {.scale = static_cast<double>(number(file, "yarn_scale")),
          .original_max_position = number(file, "yarn_original_max_position")};
}

std::optional<RopeConfig> alternative(const io::Safetensors& file, std::string_view rule) {
  if (rule == "rope_plain") return RopeConfig{};
  if (rule == "rope_interleaved") return RopeConfig{.layout = RopeLayout::interleaved};
  if (!rule.starts_with("yarn_")) return {};
  RopeConfig rope;
  rope.yarn = papers_yarn(file);
  if (rule == "yarn_paper") return rope;
  if (rule == "yarn_paper_no_mscale") {
    rope.yarn->mscale = 1.0;
    return rope;
  }
  if (rule == "yarn_index_ramp") {
    rope.yarn->ramp = YarnRamp::index;
    return rope;
  }
  return {};
}

template <class To>
void convert(const Tensor& from, To* to) {
  std::copy_n(from.data<float>(), from.size(), to);
}

void load(const Tensor& from, const std::string& name, Parameter& parameter) {
  if (from.dtype() != Dtype::f32 || from.size() != parameter.shape().size()) {
    throw IoError("[edifice_case] " + name + ": expected " + parameter.shape().to_string() +
                  " of f32, got " + from.shape().to_string() + " of " +
                  std::string(name_of(from.dtype())));
  }
  const View to = parameter.edit();
  if (to.dtype() == Dtype::f64) {
    convert(from, to.data<double>());
  } else {
    convert(from, to.data<float>());
  }
}

}  // namespace

std::string edifice_own_rule(const io::Safetensors& file) {
  const auto position = file.metadata.find("position");
  if (position != file.metadata.end()) return position->second;
  const bool has_scale = file.metadata.contains("yarn_scale");
  if (file.tensors.contains("freqs")) return has_scale ? "yarn" : "rope";
  // Without frequencies of its own a file is plain, though it may hold runs with a rule by name.
  const bool names_rules =
      std::any_of(file.tensors.begin(), file.tensors.end(), [](const auto& entry) {
        return entry.first.starts_with("expected.") && entry.first.find('_') != std::string::npos;
      });
  return has_scale && !names_rules ? "yarn" : "none";
}

std::vector<EdificeCase> edifice_cases(const io::Safetensors& file) {
  std::vector<EdificeCase> cases;
  for (const auto& [name, tensor] : file.tensors) {
    if (name.starts_with("expected.")) {
      const std::size_t underscore = name.find('_');
      const bool is_all = name.starts_with("expected.all");
      cases.push_back({.tensor = name,
                       .rule = underscore == std::string::npos ? edifice_own_rule(file)
                                                               : name.substr(underscore + 1),
                       .output_mode = is_all ? OutputMode::all : OutputMode::last_timestep});
    } else if (name.starts_with("alt.") && name.ends_with(".output")) {
      cases.push_back({.tensor = name, .rule = name.substr(4, name.size() - 4 - 7)});
    }
  }
  return cases;
}

GqaOptions edifice_options(const io::Safetensors& file, std::string_view rule) {
  GqaOptions options{.embed_dim = number(file, "embed_dim"),
                     .hidden_size = number(file, "hidden_size"),
                     .num_heads = number(file, "num_heads"),
                     .num_key_value_heads = number(file, "num_kv_heads"),
                     .num_layers = number(file, "num_layers")};
  if (rule == "none") return options;
  if (rule == "rope") {
    options.rope = true;
  } else if (rule == "yarn") {
    options.yarn = true;
    options.yarn_scale = static_cast<double>(number(file, "yarn_scale"));
    options.yarn_original_max_position = number(file, "yarn_original_max_position");
  } else {
    options.position = alternative(file, rule);
    if (!options.position) {
      throw IoError("[edifice_case] rule: expected a known one, got " + std::string(rule));
    }
  }
  return options;
}

std::unique_ptr<edifice::Gqa> edifice_model(const io::Safetensors& file,
                                            const GqaOptions& options) {
  auto model = edifice::build(options);
  for (const auto& entry : model->parameters()) {
    const std::string name = "param." + edifice::edifice_name(entry.path);
    load(file.at(name), name, *entry.parameter);
  }
  return model;
}

}  // namespace grouphead::testing
