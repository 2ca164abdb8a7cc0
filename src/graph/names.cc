#include "graph/names.h"

#include <set>

#include "core/check.h"
#include "core/number_text.h"

namespace grouphead::graph {
namespace {

bool is_upper(char c) noexcept { return c >= 'A' && c <= 'Z'; }
bool is_lower(char c) noexcept { return c >= 'a' && c <= 'z'; }

}  // namespace

std::string default_name(std::string_view class_name) {
  // Its Python class has another name than the one in files.
  if (class_name == "GroupQueryAttention") class_name = "GroupedQueryAttention";
  std::string name;
  for (std::size_t i = 0; i < class_name.size(); ++i) {
    const char c = class_name[i];
    const bool ends_a_word = i > 0 && is_lower(class_name[i - 1]);
    const bool starts_a_word = i + 1 < class_name.size() && is_lower(class_name[i + 1]);
    if (i > 0 && is_upper(c) && (ends_a_word || starts_a_word)) name += '_';
    name += c;
  }
  return core::lower_case(name);
}

void name_layers(std::string_view model, const std::vector<Layer*>& layers) {
  std::set<std::string> taken;
  std::vector<Layer*> unnamed;
  for (Layer* layer : layers) {
    if (layer->name() == default_name(layer->class_name())) {
      unnamed.push_back(layer);
    } else if (!taken.insert(layer->name()).second) {
      core::throw_config_error(model, "layers", "one of each name",
                               "two named '" + layer->name() + "'");
    }
  }
  for (Layer* layer : unnamed) {
    std::string name = layer->name();
    for (int k = 1; !taken.insert(name).second; ++k) name = layer->name() + "_" + std::to_string(k);
    if (name != layer->name()) layer->rename(name);
  }
}

}  // namespace grouphead::graph
