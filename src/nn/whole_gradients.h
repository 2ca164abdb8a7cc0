#pragma once

#include <functional>

#include "grouphead/layers/layer.h"

namespace grouphead::nn {

/// Who hears, while a backward pass runs in this thread, of parameters to whose gradients it adds
/// nothing more: a job sends these while the others are still computed. A model tells of its own
/// parameters; a layer that runs models inside may run one twice, so it begins a scope without a
/// listener around them.
class WholeGradientsScope {
 public:
  using Listener = std::function<void(const Parameter&)>;

  explicit WholeGradientsScope(const Listener* listener) noexcept;
  ~WholeGradientsScope();
  WholeGradientsScope(const WholeGradientsScope&) = delete;
  WholeGradientsScope& operator=(const WholeGradientsScope&) = delete;

 private:
  const Listener* before_;
};

/// That of the innermost scope of this thread; null: nobody.
const WholeGradientsScope::Listener* whole_gradients_listener() noexcept;

/// Tells it of the parameters that `append(list)` puts into a ParameterList.
template <class Append>
void tell_whole_gradients(Append&& append) {
  const auto* const listener = whole_gradients_listener();
  if (listener == nullptr) return;
  ParameterList whole;
  append(whole);
  for (const NamedParameter& named : whole) (*listener)(*named.parameter);
}

}  // namespace grouphead::nn
