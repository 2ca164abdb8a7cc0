#include "nn/loading_scope.h"

#include <utility>

#include "core/check.h"

namespace grouphead::nn {
namespace {

thread_local LoadingScope* innermost = nullptr;

}  // namespace

LoadingScope::LoadingScope(Index elements) noexcept
    : elements_(elements), outer_(std::exchange(innermost, this)) {}

LoadingScope::~LoadingScope() { innermost = outer_; }

bool LoadingScope::is_active() noexcept { return innermost != nullptr; }

void LoadingScope::take(const Shape& shape) {
  if (innermost == nullptr) return;
  Index& left = innermost->elements_;
  if (shape.size() > left) {
    core::throw_config_error("load", "parameters",
                             "at most as many numbers as the file has arrays of",
                             "a parameter of shape " + shape.to_string());
  }
  left -= shape.size();
}

void initialize(Parameter& parameter, const Initializer& rule, const Fans& fans,
                RandomStream& random) {
  if (!LoadingScope::is_active()) rule->fill(parameter.edit(), fans, random);
}

}  // namespace grouphead::nn
