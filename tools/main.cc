#include <exception>
#include <new>
#include <sstream>

#include "grouphead/core/version.h"
#include "tools/output.h"
#include "tools/signals.h"
#include "tools/verbs.h"
#include "tools/verbs/options.h"

namespace grouphead::tools {
namespace {

int run(int argc, char** argv) {
  CLI::App app{"Attention layers with Keras's meaning: run, train, generate, check and measure."};
  app.name("grouphead");
  app.set_version_flag("--version", "grouphead " GROUPHEAD_VERSION);
  app.require_subcommand(1);
  app.formatter(std::make_shared<HelpFormatter>());  // the verbs inherit it
  Globals globals;
  Action action;
  add_train(app, globals, action);
  add_generate(app, globals, action);
  add_convert(app, globals, action);
  add_info(app, globals, action);
  add_eval(app, globals, action);
  add_embed(app, globals, action);
  add_attend(app, globals, action);
  add_check(app, globals, action);
  add_inspect(app, globals, action);
  add_run(app, globals, action);
  add_tokenize(app, globals, action);
  add_bench(app, globals, action);
  for (CLI::App* verb : app.get_subcommands({})) {
    verb->group("Commands");
    add_globals(*verb, globals);
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& asked) {  // for help or the version
    std::ostringstream text;
    app.exit(asked, text, text);
    print_out_text(text.str());
    return kOk;
  } catch (const CLI::ParseError& error) {
    print_err("{}\n", text_of(error, app, argc, argv));
    return kBadInput;
  }
  return action();
}

int run_to_the_last_byte(int argc, char** argv) {
  const int code = run(argc, argv);
  close_output();
  return code;
}

}  // namespace

void add_globals(CLI::App& verb, Globals& globals) {
  constexpr int kMostThreads = 4096;
  add_whole(verb, "--threads", globals.threads, "Threads; 0: one per core", 0, kMostThreads);
  add_whole(verb, "--seed", globals.seed, "Seed of every random number", 0, UINT64_MAX);
  verb.add_flag("--quiet", globals.quiet, "Print results only");
}

}  // namespace grouphead::tools

int main(int argc, char** argv) {
  using namespace grouphead::tools;
  prepare_output();
  install_signal_handlers();
  try {
    return run_to_the_last_byte(argc, argv);
  } catch (const std::bad_alloc&) {
    print_err("grouphead: not enough memory\n");
  } catch (const std::exception& error) {
    print_err("grouphead: {}\n", error.what());
  }
  return kBadInput;
}
