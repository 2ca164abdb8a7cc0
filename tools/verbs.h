#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "testing/problem.h"

namespace grouphead::tools {

/// Options that every verb takes.
struct Globals {
  int threads = 0;  ///< 0: one per core
  std::uint64_t seed = 0;
  bool quiet = false;
};

/// What the chosen verb does once the command line is read; returns the exit code.
using Action = std::function<int()>;

inline constexpr int kOk = 0;
inline constexpr int kCheckFailed = 1;
inline constexpr int kBadInput = 2;

// Each adds one verb to the program and sets `action` when it is chosen.
void add_attend(CLI::App& app, const Globals& globals, Action& action);
void add_bench(CLI::App& app, const Globals& globals, Action& action);
void add_check(CLI::App& app, const Globals& globals, Action& action);
void add_convert(CLI::App& app, const Globals& globals, Action& action);
void add_embed(CLI::App& app, const Globals& globals, Action& action);
void add_eval(CLI::App& app, const Globals& globals, Action& action);
void add_generate(CLI::App& app, const Globals& globals, Action& action);
void add_info(CLI::App& app, const Globals& globals, Action& action);
void add_inspect(CLI::App& app, const Globals& globals, Action& action);
void add_run(CLI::App& app, const Globals& globals, Action& action);
void add_tokenize(CLI::App& app, const Globals& globals, Action& action);
void add_train(CLI::App& app, const Globals& globals, Action& action);

/// Problem strings from a command line: words without quotes belong to the problem before them.
std::vector<std::string> joined(const std::vector<std::string>& arguments);

/// Reads problem strings, --threads and --seed standing in for words they leave out, and keeps
/// oneDNN at the level they ask for. Errors: ConfigError.
std::vector<testing::Problem> parse_problems(const std::vector<std::string>& texts,
                                             const Globals& globals);

/// Adds --threads, --seed and --quiet to a verb, and an example to its help.
void add_globals(CLI::App& verb, Globals& globals);

}  // namespace grouphead::tools
