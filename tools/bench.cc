#include <fmt/format.h>

#include <cstdio>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "check/measure.h"
#include "io/file.h"
#include "verbs.h"

namespace grouphead::tools {
namespace {

struct BenchOptions {
  std::vector<std::string> problems;
  std::string file;
  bool as_json = false;
  check::MeasureOptions measure{};
};

/// One problem a line; empty lines and lines that start with # are left out.
std::vector<std::string> read_problems(const std::string& path) {
  std::vector<std::string> problems;
  std::istringstream lines(io::read_file(path));
  for (std::string line; std::getline(lines, line);) {
    const std::size_t begin = line.find_first_not_of(" \t\r");
    if (begin == std::string::npos || line[begin] == '#') continue;
    problems.push_back(line.substr(begin, line.find_last_not_of(" \t\r") + 1 - begin));
  }
  return problems;
}

int run_bench(const BenchOptions& options, const Globals& globals) {
  std::vector<std::string> texts = options.problems;
  if (!options.file.empty()) {
    for (std::string& text : read_problems(options.file)) texts.push_back(std::move(text));
  }
  if (texts.empty()) throw ConfigError("[bench] problems: expected at least one, got none");
  check::Limits limits;
  for (const check::Problem& problem : parse_problems(texts, globals)) {
    const check::Measurement m = check::measure(problem, options.measure, limits);
    fmt::print("{}\n", options.as_json ? to_json(m) : to_line(m));
    std::fflush(stdout);
  }
  return kOk;
}

}  // namespace

void add_bench(CLI::App& app, const Globals& globals, Action& action) {
  CLI::App* verb = app.add_subcommand("bench", "Measure problems beside the machine's own limits");
  verb->footer(
      "Example: grouphead bench --json \"decode f32 b1 s8192 hq32 hkv8 d128 thr=2\"\n"
      "         grouphead bench --file bench/problems/spine.txt\n"
      "Every round measures what the machine can do (multiply-adds in registers, reading memory),\n"
      "then the case, on the next of its inputs. The fraction is the median over the rounds of\n"
      "rate / limit: bytes of cache for decode, else multiply-adds. decode takes caches in turn\n"
      "that exceed the last-level cache together, as far as 2 GiB go. lm.generate does not count\n"
      "its prompt. `grouphead check --help` lists the words of a problem.");
  const auto options = std::make_shared<BenchOptions>();
  verb->add_option("problem", options->problems, "Problem strings");
  verb->add_option("--file", options->file, "File with one problem a line");
  verb->add_flag("--json", options->as_json, "One JSON object a line");
  verb->add_option("--rounds", options->measure.num_rounds, "Rounds, 7 or more")
      ->capture_default_str();
  verb->add_option("--min-time", options->measure.min_seconds, "Seconds of a case in each round")
      ->capture_default_str();
  verb->callback([&globals, &action, options] {
    action = [&globals, options] { return run_bench(*options, globals); };
  });
}

}  // namespace grouphead::tools
