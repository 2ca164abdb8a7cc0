#pragma once

// A model's configuration in the words of Keras's constructors.

#include <string>
#include <vector>

#include "grouphead/models/model.h"

namespace grouphead::saved {

struct KerasForm {
  ConfigValue config{};
  /// What Keras's classes do not take: `'attention' (GroupQueryAttention): rope`.
  std::vector<std::string> problems{};
};

/// Options of ours become Keras's where there is an equivalent: `causal` of an attention layer is
/// `use_causal_mask` of its calls. What has none stays in the configuration and is a problem.
KerasForm keras_form(const Model& model);

}  // namespace grouphead::saved
