#include <cstdio>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "io/safetensors.h"
#include "testing/measure.h"
#include "testing/sweep.h"
#include "tools/output.h"
#include "tools/signals.h"
#include "tools/text_input.h"
#include "tools/verbs.h"
#include "tools/verbs/options.h"

namespace grouphead::tools {
namespace {

struct BenchOptions {
  std::vector<std::string> problems;
  std::string file;
  std::string sweep;
  std::string record;
  bool as_json = false;
  bool in_turns = false;
  testing::MeasureOptions measure{};
};

/// One problem a line; empty lines and lines that start with # are left out.
std::vector<std::string> read_problems(const std::string& path) {
  std::vector<std::string> problems;
  std::istringstream lines(read_text(path));
  for (std::string line; std::getline(lines, line);) {
    const std::size_t begin = line.find_first_not_of(" \t\r");
    if (begin == std::string::npos || line[begin] == '#') continue;
    problems.push_back(line.substr(begin, line.find_last_not_of(" \t\r") + 1 - begin));
  }
  return problems;
}

std::vector<testing::Problem> chosen_problems(const BenchOptions& options, const Globals& globals) {
  std::vector<std::string> texts = joined(options.problems);
  if (!options.file.empty()) {
    for (std::string& text : read_problems(options.file)) texts.push_back(std::move(text));
  }
  if (texts.empty()) throw ConfigError("[bench] problems: expected at least one, got none");
  std::vector<testing::Problem> problems = parse_problems(texts, globals);
  if (options.sweep.empty()) return problems;
  std::vector<testing::Problem> swept;
  for (const testing::Problem& problem : problems) {
    for (const testing::Problem& each : testing::sweep(problem, options.sweep))
      swept.push_back(each);
  }
  return swept;
}

void record(const testing::Problem& problem, const std::string& path) {
  Context ctx(testing::context_options(problem));
  const std::unique_ptr<testing::Case> job = testing::make_case(ctx, problem, 1);
  const WritesFiles writes;
  io::write_safetensors(path, {{{"problem", testing::to_string(problem)}}, job->record()});
}

/// A line of input starts a round; in between other programs have the machine.
void take_turns(const testing::Problem& problem, const BenchOptions& options,
                testing::Limits& limits) {
  testing::Bench bench(problem, options.measure, limits);
  print_out("ready\n");
  flush_output();
  bool measured = false;
  for (int c = std::getchar(); c != EOF; c = std::getchar()) {
    if (c != '\n') continue;
    print_out("{}\n", to_json(bench.round()));
    flush_output();
    measured = true;
  }
  if (measured) print_out("{}\n", to_json(bench.result()));
}

int run_bench(const BenchOptions& options, const Globals& globals) {
  const std::vector<testing::Problem> problems = chosen_problems(options, globals);
  if ((options.in_turns || !options.record.empty()) && problems.size() != 1) {
    throw ConfigError("[bench] problems: expected one beside --turns or --record, got " +
                      std::to_string(problems.size()));
  }
  if (!options.record.empty()) {
    record(problems.front(), options.record);
    return kOk;
  }
  testing::Limits limits;
  if (options.in_turns) {
    take_turns(problems.front(), options, limits);
    return kOk;
  }
  const StopsOnSignal stops;
  for (const testing::Problem& problem : problems) {
    const testing::Measurement m =
        testing::measure(problem, options.measure, limits, stop_requested);
    print_out("{}\n", options.as_json ? to_json(m) : to_line(m));
    flush_output();
    if (!stop_requested()) continue;
    print_err("stopped after {} rounds of this problem\n", m.num_rounds);
    return exit_code_of_signal();
  }
  return kOk;
}

}  // namespace

void add_bench(CLI::App& app, const Globals& globals, Action& action) {
  CLI::App* verb = app.add_subcommand("bench", "Measure problems beside the machine's own limits");
  verb->footer(
      "Example: grouphead bench --json decode f32 b1 s8192 hq32 hkv8 d128 thr=2\n"
      "         grouphead bench --file bench/problems/spine.txt\n"
      "         grouphead bench --json attention.fwd t512 hq8 hkv2 d64 --sweep t=512..32768\n"
      "Every round measures what the machine can do (multiply-adds in registers, reading memory),\n"
      "then the case, on the next of its inputs. The fraction is the median over the rounds of\n"
      "rate / limit: bytes of cache for decode, else multiply-adds. decode takes caches in turn\n"
      "that exceed the last-level cache together, as far as 2 GiB go. lm.generate does not count\n"
      "its prompt. `grouphead check --help` lists the words of a problem.");
  const auto options = std::make_shared<BenchOptions>();
  verb->add_option("problem", options->problems, "A problem in words, or several in quotes each");
  verb->add_option("--file", options->file, "File with one problem a line");
  verb->add_option(
      "--sweep", options->sweep,
      "Take each problem with a size that doubles, as in t=512..32768. Sizes that are\n"
      "as if left out follow: s with t where both are equal, hkv with hq, dv with d");
  verb->add_option("--record", options->record,
                   "Do not measure: write inputs and results of one run to this .safetensors file");
  verb->add_flag(
      "--turns", options->in_turns,
      "Measure a round for each line of standard input, one JSON object each, and at\n"
      "its end print what --json does: for scripts that let several programs take turns");
  verb->add_flag("--json", options->as_json, "One JSON object a line");
  add_whole(*verb, "--rounds", options->measure.num_rounds, "Rounds", 7, 1'000'000);
  add_real(*verb, "--min-time", options->measure.min_seconds, "Seconds of a case in each round",
           kAboveZero);
  verb->callback([&globals, &action, options] {
    action = [&globals, options] { return run_bench(*options, globals); };
  });
}

}  // namespace grouphead::tools
