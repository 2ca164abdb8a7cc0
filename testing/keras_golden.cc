#include "testing/keras_golden.h"

#include <fmt/format.h>

#include <algorithm>
#include <exception>

#include "io/file.h"
#include "io/json.h"
#include "testing/keras_case.h"

namespace grouphead::testing {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kInitializers = "initializers";
constexpr std::string_view kErrors = "errors";

ConfigValue entries_of(const fs::path& folder, std::string_view what) {
  const fs::path path = folder / fmt::format("{}.json", what);
  if (what != "cases" && !fs::exists(path)) return ConfigValue::List{};
  ConfigValue entries = io::parse_json(io::read_file(path), path.string())[what];
  entries.as_list(path.string());
  return entries;
}

std::string group_of(const ConfigValue& each) {
  const ConfigValue& kind = each["kind"];
  const ConfigValue& name = each[kind == ConfigValue("layer") ? "layer" : "kind"];
  return name.is_string() ? name.as_string("group") : "";
}

void run_kind(KerasCase& each) {
  struct Kind {
    std::string_view name;
    void (*run)(KerasCase&);
  };
  constexpr Kind kKinds[] = {{"constraint", run_constraint_case},
                             {"layer", run_layer_case},
                             {"model", run_model_case},
                             {"regularizer", run_regularizer_case},
                             {"training", run_training_case}};
  require_known_fields(
      each.fields(), "case",
      {"name",         "kind",          "layer",        "file",      "config",
       "dtype_policy", "compute_dtype", "weights",      "call",      "loss",
       "tags",         "notes",         "expect",       "tolerance", "float64_comparable",
       "keras_file",   "weights_file",  "model_config", "optimizer", "training_loss",
       "steps",        "outputs"});
  const std::string& kind = each["kind"].as_string("kind");
  for (const Kind& known : kKinds) {
    if (known.name == kind) return known.run(each);
  }
  throw IoError("[golden] kind: expected one that is known, got " + kind);
}

/// Runs one entry of a list; whatever goes wrong is its result.
template <class Body>
void attempt(std::vector<GoldenResult>& results, const std::string& name, const Body& body) {
  try {
    results.push_back(body());
  } catch (const std::exception& error) {
    results.push_back({false, fmt::format("{}: {}", name, error.what())});
  }
}

std::string name_or(const ConfigValue& name, std::string fallback) {
  return name.is_string() ? name.as_string("name") : std::move(fallback);
}

void run_cases(Context& ctx, const fs::path& folder, std::string_view group,
               std::vector<GoldenResult>& results) {
  const ConfigValue cases = entries_of(folder, "cases");
  for (const ConfigValue& fields : cases.as_list("cases")) {
    if (!group.empty() && group_of(fields) != group) continue;
    attempt(results, name_or(fields["name"], "case without a name"), [&] {
      KerasCase each(ctx, fields, folder);
      run_kind(each);
      return each.result();
    });
  }
}

void run_initializers(const fs::path& folder, std::vector<GoldenResult>& results) {
  const ConfigValue entries = entries_of(folder, kInitializers);
  for (const ConfigValue& entry : entries.as_list(kInitializers)) {
    const std::string name = fmt::format("{} for {}", name_or(entry["initializer"], "initializer"),
                                         name_or(entry["owner"], "nothing"));
    attempt(results, name, [&]() -> GoldenResult {
      check_initializer(entry);
      return {true, name};
    });
  }
}

void run_errors(Context& ctx, const fs::path& folder, std::vector<GoldenResult>& results) {
  const ConfigValue entries = entries_of(folder, kErrors);
  for (const ConfigValue& entry : entries.as_list(kErrors)) {
    const std::string name = name_or(entry["name"], "error without a name");
    attempt(results, name, [&]() -> GoldenResult {
      check_refusal(ctx, entry);
      return {true, name};
    });
  }
}

}  // namespace

std::vector<std::string> keras_golden_groups(const fs::path& folder) {
  std::vector<std::string> groups;
  const ConfigValue cases = entries_of(folder, "cases");
  for (const ConfigValue& each : cases.as_list("cases")) groups.push_back(group_of(each));
  for (const std::string_view what : {kInitializers, kErrors}) {
    if (!entries_of(folder, what).as_list(what).empty()) groups.emplace_back(what);
  }
  std::sort(groups.begin(), groups.end());
  groups.erase(std::unique(groups.begin(), groups.end()), groups.end());
  return groups;
}

std::vector<GoldenResult> run_keras_golden(Context& ctx, const fs::path& folder,
                                           std::string_view group) {
  std::vector<GoldenResult> results;
  run_cases(ctx, folder, group, results);
  if (group.empty() || group == kInitializers) run_initializers(folder, results);
  if (group.empty() || group == kErrors) run_errors(ctx, folder, results);
  if (results.empty()) {
    throw IoError(fmt::format("[golden] {}: expected cases, got none", folder.string()));
  }
  return results;
}

}  // namespace grouphead::testing
