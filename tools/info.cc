#include <fmt/format.h>

#include "grouphead/context.h"
#include "grouphead/version.h"
#include "verbs.h"

namespace grouphead::tools {

void add_info(CLI::App& app, const Globals& globals, Action& action) {
  CLI::App* verb = app.add_subcommand("info", "What this program and machine are");
  verb->callback([&globals, &action] {
    action = [&globals] {
      const Context ctx({.num_threads = globals.threads});
      fmt::print("grouphead {}\n", GROUPHEAD_VERSION);
      fmt::print("isa       {}\n", name_of(ctx.isa()));
      return kOk;
    };
  });
}

}  // namespace grouphead::tools
