#include "nn/nested_config.h"

#include "core/check.h"
#include "grouphead/layers/serialization.h"

namespace grouphead::nn {
namespace {

constexpr int kDeepest = 16;

}  // namespace

std::shared_ptr<Layer> nested_layer(std::string_view wrapper, std::string_view key,
                                    const ConfigValue& envelope) {
  if (!envelope.is_object()) {
    core::throw_config_error(wrapper, key, "a layer", envelope.to_string());
  }
  int depth = 0;
  for (const ConfigValue* inner = &envelope; inner->is_object();
       inner = &(*inner)["config"]["layer"]) {
    if (++depth > kDeepest) {
      core::throw_config_error(
          wrapper, key, "at most " + std::to_string(kDeepest) + " layers in each other", "more");
    }
  }
  return layer_from_config(envelope);
}

}  // namespace grouphead::nn
