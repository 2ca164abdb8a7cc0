#include "grouphead/layers/activation.h"

#include "core/check.h"

namespace grouphead {
namespace {

struct Known {
  std::string_view name;
  Activation::Kind kind;
};
// The first name of a kind is the one it is written under.
constexpr Known kKnown[] = {
    {"linear", Activation::linear},
    {"relu", Activation::relu},
    {"gelu", Activation::gelu},
    {"gelu_tanh", Activation::gelu_tanh},
    {"silu", Activation::silu},
    {"swish", Activation::silu},
    {"tanh", Activation::tanh},
    {"sigmoid", Activation::sigmoid},
    {"elu", Activation::elu},
    {"selu", Activation::selu},
    {"leaky_relu", Activation::leaky_relu},
    {"softplus", Activation::softplus},
    {"exponential", Activation::exponential},
    {"softmax", Activation::softmax},
};

}  // namespace

Activation::Activation(std::string_view name) {
  std::string known;
  for (const Known& entry : kKnown) {
    if (entry.name == name) {
      kind_ = entry.kind;
      return;
    }
    known.append(known.empty() ? "" : ", ").append(entry.name);
  }
  detail::throw_config_error("activation", "name", "one of " + known, name);
}

std::string_view Activation::name() const noexcept {
  for (const Known& entry : kKnown) {
    if (entry.kind == kind_) return entry.name;
  }
  return "";
}

}  // namespace grouphead
