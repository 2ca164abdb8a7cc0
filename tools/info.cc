#include <fmt/format.h>

#include <fstream>
#include <memory>
#include <string>

#include "grouphead/context.h"
#include "grouphead/version.h"
#include "verbs.h"

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
  fmt::print("version  {}\ncpu      {}\nthreads  {}\nisa      {} (available:{})\n",
             GROUPHEAD_VERSION, cpu_name(), ctx.num_threads(), name_of(ctx.isa()), isas);
}

}  // namespace

void add_info(CLI::App& app, const Globals& globals, Action& action) {
  CLI::App* verb = app.add_subcommand("info", "Version, machine, and what a model costs");
  verb->footer("Example: grouphead info");
  const auto only_isas = std::make_shared<bool>(false);
  verb->add_flag("--isas", *only_isas, "Print only the available instruction-set levels");
  verb->callback([&globals, &action, only_isas] {
    action = [&globals, only_isas] {
      if (*only_isas) {
        for (const Isa isa : available_isas()) fmt::print("{}\n", name_of(isa));
      } else {
        print_machine(globals);
      }
      return kOk;
    };
  });
}

}  // namespace grouphead::tools
