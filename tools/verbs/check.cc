#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "testing/cases.h"
#include "testing/golden.h"
#include "testing/isa.h"
#include "tools/output.h"
#include "tools/verbs.h"
#include "tools/verbs/options.h"

namespace grouphead::tools {
namespace {

struct CheckOptions {
  std::vector<std::string> problems;
  std::string golden;
  std::string isa;
};

bool check_one(const testing::Problem& problem) {
  Context ctx(testing::context_options(problem));
  print_out("{}\n", testing::to_string(problem));
  const std::unique_ptr<testing::Case> job = testing::make_case(ctx, problem, 1);
  bool passed = true;
  for (const testing::Comparison& result : job->check()) {
    print_out("  {}\n", result.to_string());
    passed = passed && result.ok();
  }
  print_out("  {} on {}, {} threads\n", passed ? "passed" : "FAILED", name_of(ctx.isa()),
            ctx.num_threads());
  return passed;
}

int check_golden(const CheckOptions& options, const Globals& globals) {
  ContextOptions context{.num_threads = globals.threads};
  if (!options.isa.empty()) context.isa = isa_from_name(options.isa);
  Context ctx(context);
  int passed = 0;
  int failed = 0;
  for (const testing::GoldenResult& result : testing::run_golden(ctx, options.golden)) {
    ++(result.passed ? passed : failed);
    if (!result.passed || !globals.quiet) {
      print_out("{} {}\n", result.passed ? "ok    " : "FAILED", result.line);
    }
  }
  print_out("{} passed, {} failed\n", passed, failed);
  return failed == 0 ? kOk : kCheckFailed;
}

int run_check(const CheckOptions& options, const Globals& globals) {
  if (options.golden.empty() == options.problems.empty()) {
    throw ConfigError("[check] arguments: expected problems or --golden DIR, got " +
                      std::string(options.golden.empty() ? "neither" : "both"));
  }
  if (!options.golden.empty()) return check_golden(options, globals);
  bool passed = true;
  for (const testing::Problem& problem : parse_problems(joined(options.problems), globals)) {
    passed = check_one(problem) && passed;
    flush_output();
  }
  return passed ? kOk : kCheckFailed;
}

}  // namespace

std::vector<std::string> joined(const std::vector<std::string>& arguments) {
  std::vector<std::string> texts;
  for (const std::string& argument : arguments) {
    const bool is_text = argument.find_first_of(" \t") != std::string::npos;
    if (texts.empty() || is_text || testing::is_operation(argument)) {
      texts.push_back(argument);
    } else {
      texts.back().append(" ").append(argument);
    }
  }
  return texts;
}

std::vector<testing::Problem> parse_problems(const std::vector<std::string>& texts,
                                             const Globals& globals) {
  if (globals.seed > static_cast<std::uint64_t>(std::numeric_limits<Index>::max())) {
    throw ConfigError("[problem] --seed: expected below 2^63 here, got " +
                      std::to_string(globals.seed));
  }
  std::vector<testing::Problem> problems;
  for (const std::string& text : texts) {
    testing::Problem problem = testing::parse_problem(text);
    if (problem.num_threads == 0) problem.num_threads = globals.threads;
    if (problem.seed == testing::Problem().seed && globals.seed != 0) {
      problem.seed = static_cast<Index>(globals.seed);
    }
    problems.push_back(problem);
  }
  testing::cap_onednn(problems);
  return problems;
}

void add_check(CLI::App& app, const Globals& globals, Action& action) {
  CLI::App* verb =
      app.add_subcommand("check", "Compare results with plain double-precision loops or files");
  verb->footer(
      "Example: grouphead check attention.fwd f32 b2 t37 s53 hq8 hkv2 d64 causal isa=avx2\n"
      "         grouphead check --golden tests/golden/keras\n"
      "         grouphead check --golden tests/golden/tokenizers\n"
      "Problems: attention.fwd and attention.fwdbwd t# hq# d# [b# s# hkv# dv# causal offset=#];\n"
      "  decode s# hq# d# [b# hkv# dv# cache=f32|bf16|int8]; gemm m# n# k#;\n"
      "  layer.gqa.fwd and layer.gqa.train t# m# hq# d# [b# s# hkv# causal],\n"
      "  layer.mha.fwd and layer.mha.train without hkv#;\n"
      "  lm.train and lm.generate [b# t# s# m# f# l# hq# hkv# v#];\n"
      "  all: [f32 f64 thr=# isa=LEVEL seed=#], attention and layers: [bf16]\n"
      "Exit: 0 within bounds, 1 above, 2 nothing to compare");
  const auto options = std::make_shared<CheckOptions>();
  verb->add_option("problem", options->problems, "A problem in words, or several in quotes each");
  CLI::Option* golden = verb->add_option(
      "--golden", options->golden,
      "Folder of golden cases: Keras's (with a cases.json), Edifice's, of attention, of "
      "transformers (with an expect.safetensors), or tokenizers (each a "
      "tokenizer.json with a cases.json)");
  verb->add_option("--isa", options->isa, "Instruction-set level of a golden run")->needs(golden);
  verb->callback([&globals, &action, options] {
    action = [&globals, options] { return run_check(*options, globals); };
  });
}

}  // namespace grouphead::tools
