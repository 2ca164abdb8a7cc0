#include "grouphead/layers/activation.h"

#include "core/check.h"
#include "core/comma_list.h"

namespace grouphead {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// What a function takes besides x, with Keras's default.
struct Option {
  std::string_view name;
  double value;
};
struct Known {
  std::string_view name;
  Activation::Kind kind;
  std::array<Option, Activation::kMaxNumbers> options{};
};
// The first name of a kind is the one it is written under.
constexpr Known kKnown[] = {
    {"linear", Activation::linear},
    {"relu",
     Activation::relu,
     {{{"negative_slope", 0}, {"max_value", kInfinity}, {"threshold", 0}}}},
    {"gelu", Activation::gelu},
    {"gelu_tanh", Activation::gelu_tanh},
    {"silu", Activation::silu},
    {"swish", Activation::silu},
    {"tanh", Activation::tanh},
    {"sigmoid", Activation::sigmoid},
    {"elu", Activation::elu, {{{"alpha", 1}}}},
    {"selu", Activation::selu},
    {"leaky_relu", Activation::leaky_relu, {{{"negative_slope", 0.2}}}},
    {"softplus", Activation::softplus},
    {"exponential", Activation::exponential},
    {"softmax", Activation::softmax},
    {"celu", Activation::celu, {{{"alpha", 1}}}},
    {"hard_shrink", Activation::hard_shrink, {{{"threshold", 0.5}}}},
    {"hard_sigmoid", Activation::hard_sigmoid},
    {"hard_silu", Activation::hard_silu},
    {"hard_swish", Activation::hard_silu},
    {"hard_tanh", Activation::hard_tanh},
    {"log_sigmoid", Activation::log_sigmoid},
    {"log_softmax", Activation::log_softmax},
    {"mish", Activation::mish},
    {"relu6", Activation::relu6},
    {"soft_shrink", Activation::soft_shrink, {{{"threshold", 0.5}}}},
    {"softsign", Activation::softsign},
    {"sparse_plus", Activation::sparse_plus},
    {"sparse_sigmoid", Activation::sparse_sigmoid},
    {"sparsemax", Activation::sparsemax},
    {"squareplus", Activation::squareplus, {{{"b", 4}}}},
    {"tanh_shrink", Activation::tanh_shrink},
};

const Known& known(Activation::Kind kind) noexcept {
  for (const Known& entry : kKnown) {
    if (entry.kind == kind) return entry;
  }
  return kKnown[0];
}

Activation::Numbers defaults(Activation::Kind kind) noexcept {
  Activation::Numbers numbers{};
  const Known& entry = known(kind);
  for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] = entry.options[i].value;
  return numbers;
}

}  // namespace

Activation::Activation(Kind kind) : kind_(kind), numbers_(defaults(kind)) {}

Activation::Activation(std::string_view name) {
  std::string list;
  for (const Known& entry : kKnown) {
    if (entry.name == name) {
      *this = entry.kind;
      return;
    }
    list.append(list.empty() ? "" : ", ").append(entry.name);
  }
  core::throw_config_error("activation", "name", "one of " + list, name);
}

std::string_view Activation::name() const noexcept { return known(kind_).name; }

Activation Activation::with(std::string_view option, double value) const {
  std::vector<std::string_view> names;
  Activation changed(kind_);
  changed.numbers_ = numbers_;
  for (std::size_t i = 0; i < numbers_.size(); ++i) {
    const std::string_view name = known(kind_).options[i].name;
    if (name == option && !name.empty()) {
      changed.numbers_[i] = value;
      return changed;
    }
    if (!name.empty()) names.push_back(name);
  }
  core::throw_config_error(name(), "option", names.empty() ? "none" : core::comma_list(names),
                           option);
}

ConfigValue Activation::config() const {
  if (layer_ != nullptr) return *layer_;
  if (numbers_ != defaults(kind_)) {
    core::throw_config_error("activation", "config",
                             "a function whose name tells all, or a layer such as LeakyReLU",
                             std::string(name()) + " with other numbers");
  }
  return name();
}

}  // namespace grouphead
