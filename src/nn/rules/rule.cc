#include "nn/rules/rule.h"

namespace grouphead::nn {

RuleRequest requested_rule(std::string_view kind, const ConfigValue& identifier) {
  if (identifier.is_string()) return {identifier.as_string("identifier"), {}};
  if (!identifier.is_object() || !identifier["class_name"].is_string()) {
    core::throw_config_error(kind, "identifier", "a name, or an object with a class_name",
                             identifier.to_string());
  }
  return {identifier["class_name"].as_string("class_name"), identifier["config"]};
}

}  // namespace grouphead::nn
