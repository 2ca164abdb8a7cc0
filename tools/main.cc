#include <fmt/format.h>

#include <cstdio>
#include <exception>
#include <new>

#include "grouphead/core/version.h"
#include "tools/verbs.h"

namespace grouphead::tools {
namespace {

int run(int argc, char** argv) {
  CLI::App app{"Attention layers with Keras's meaning: run, train, generate, check and measure."};
  app.name("grouphead");
  app.set_version_flag("--version", "grouphead " GROUPHEAD_VERSION);
  app.require_subcommand(1);
  Globals globals;
  Action action;
  add_train(app, globals, action);
  add_generate(app, globals, action);
  add_convert(app, globals, action);
  add_info(app, globals, action);
  add_check(app, globals, action);
  add_inspect(app, globals, action);
  add_run(app, globals, action);
  add_bench(app, globals, action);
  for (CLI::App* verb : app.get_subcommands({})) add_globals(*verb, globals);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kOk : kBadInput;
  }
  return action();
}

}  // namespace

void add_globals(CLI::App& verb, Globals& globals) {
  verb.add_option("--threads", globals.threads, "Threads; 0: one per core")
      ->check(CLI::NonNegativeNumber);
  verb.add_option("--seed", globals.seed, "Seed of every random number");
  verb.add_flag("--quiet", globals.quiet, "Print results only");
}

}  // namespace grouphead::tools

int main(int argc, char** argv) {
  try {
    return grouphead::tools::run(argc, argv);
  } catch (const std::bad_alloc&) {
    fmt::print(stderr, "grouphead: not enough memory\n");
  } catch (const std::exception& error) {
    fmt::print(stderr, "grouphead: {}\n", error.what());
  }
  return grouphead::tools::kBadInput;
}
