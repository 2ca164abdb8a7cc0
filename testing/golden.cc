#include "testing/golden.h"

#include <fmt/format.h>

#include <algorithm>

#include "grouphead/layers/rope.h"
#include "io/safetensors.h"
#include "testing/attention_golden.h"
#include "testing/compare.h"
#include "testing/edifice_case.h"
#include "testing/keras_golden.h"
#include "testing/pretrained_case.h"
#include "testing/tokenizer_golden.h"

namespace grouphead::testing {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kAlternative = "alt.";
constexpr std::string_view kOutput = ".output";
constexpr std::string_view kFrequencies = ".freqs";

[[noreturn]] void refuse(const fs::path& folder, std::string_view expected, std::string_view got) {
  throw IoError(fmt::format("[golden] {}: expected {}, got {}", folder.string(), expected, got));
}

/// Runs the cases of one file.
class FileRunner {
 public:
  FileRunner(Context& ctx, const io::Safetensors& file, std::string name,
             std::vector<GoldenResult>& results)
      : ctx_(ctx), file_(file), name_(std::move(name)), results_(results) {}

  void run() {
    for (const EdificeCase& each : edifice_cases(file_)) {
      attempt(each.tensor, [&] { run_case(each); });
    }
    for (const auto& entry : file_.tensors) {
      const std::string& tensor = entry.first;
      if (tensor == "freqs" || tensor.starts_with("freqs_")) {
        const std::string rule = tensor == "freqs" ? edifice_own_rule(file_) : tensor.substr(6);
        attempt(tensor, [&] { compare_frequencies(tensor, rule); });
      } else if (tensor.starts_with(kAlternative) && tensor.ends_with(kFrequencies)) {
        attempt(tensor, [&] { compare_frequencies(tensor, rule_of(tensor)); });
      } else if (tensor.starts_with(kAlternative) && !tensor.ends_with(kOutput)) {
        add(false, tensor + ": expected .output or .freqs of an alternative");
      }
    }
  }

 private:
  void add(bool passed, const std::string& text) {
    results_.push_back({passed, fmt::format("{} {}", name_, text)});
  }

  void add(const Comparison& result) { add(result.ok(), result.to_string()); }

  template <class Body>
  void attempt(const std::string& what, const Body& body) {
    try {
      body();
    } catch (const Error& error) {
      add(false, fmt::format("{}: {}", what, error.what()));
    }
  }

  static std::string rule_of(const std::string& tensor) {
    return tensor.substr(kAlternative.size(),
                         tensor.size() - kAlternative.size() - kFrequencies.size());
  }

  void run_case(const EdificeCase& each) {
    edifice::GqaOptions options = edifice_options(file_, each.rule);
    options.output_mode = each.output_mode;
    const auto model = edifice_model(file_, options);
    const Tensor& input = file_.at("input.state_sequence");
    const Tensor& want = file_.at(each.tensor);
    add(compare(each.tensor, (*model)(ctx_, input), want, kGoldenTolerance));
    if (each.output_mode != edifice::OutputMode::all) return;
    attempt(each.tensor + " step by step", [&] {
      add(compare(each.tensor + " step by step", step_by_step(*model, input), want,
                  kGoldenTolerance));
    });
  }

  Tensor step_by_step(const edifice::Gqa& model, const Tensor& input) {
    const Index batch = input.dim(0);
    const Index length = input.dim(1);
    KvCache cache = model.make_cache(ctx_, batch, length);
    Tensor all = ctx_.tensor({batch, length, model.options().hidden_size});
    Tensor one = ctx_.tensor({batch, 1, input.dim(2)});
    for (Index t = 0; t < length; ++t) {
      copy(input.view().slice(1, t, t + 1), one);
      copy(model.step(ctx_, one, cache), all.view().slice(1, t, t + 1));
    }
    return all;
  }

  void compare_frequencies(const std::string& tensor, const std::string& rule) {
    const edifice::GqaOptions options = edifice_options(file_, rule);
    RopeConfig config;
    if (options.position) {
      config = *options.position;
    } else if (options.yarn) {
      config = RopeConfig::edifice_yarn(options.yarn_scale, options.yarn_original_max_position);
    } else if (!options.rope) {
      throw IoError("[golden] freqs: expected a rotary rule, got " + rule);
    }
    const std::vector<double> got =
        rope_frequencies(options.hidden_size / options.num_heads, config);
    const ConstView view(got.data(), {static_cast<Index>(got.size())});
    add(compare(tensor, view, file_.at(tensor), kGoldenTolerance));
  }

  Context& ctx_;
  const io::Safetensors& file_;
  std::string name_;
  std::vector<GoldenResult>& results_;
};

std::vector<fs::path> safetensors_files(const fs::path& folder) {
  std::vector<fs::path> files;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() == ".safetensors") files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

std::vector<fs::path> pretrained_cases(const fs::path& folder) {
  std::vector<fs::path> cases;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    if (is_pretrained_case(entry.path())) cases.push_back(entry.path());
  }
  std::sort(cases.begin(), cases.end());
  return cases;
}

}  // namespace

std::vector<GoldenResult> run_golden(Context& ctx, const fs::path& folder) {
  if (!fs::is_directory(folder)) refuse(folder, "a folder", "something else or nothing");
  if (has_tokenizer_golden(folder)) return run_tokenizer_golden(folder);
  if (fs::exists(folder / "cases.json")) return run_keras_golden(ctx, folder);
  if (is_pretrained_case(folder)) return run_pretrained_case(ctx, folder);
  std::vector<GoldenResult> results;
  for (const fs::path& inner : pretrained_cases(folder)) {
    for (GoldenResult& result : run_pretrained_case(ctx, inner)) {
      results.push_back(std::move(result));
    }
  }
  for (const fs::path& path : safetensors_files(folder)) {
    const std::string name = path.filename().string();
    try {
      const io::Safetensors file = io::read_safetensors(path);
      if (!is_attention_golden(file)) {
        FileRunner(ctx, file, name, results).run();
        continue;
      }
      for (GoldenResult& result : run_attention_golden(ctx, file, name)) {
        results.push_back(std::move(result));
      }
    } catch (const Error& error) {
      results.push_back({false, fmt::format("{} {}", name, error.what())});
    }
  }
  if (results.empty()) refuse(folder, "cases in *.safetensors or in model folders", "none");
  return results;
}

}  // namespace grouphead::testing
