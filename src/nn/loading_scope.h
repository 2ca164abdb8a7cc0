#pragma once

#include "grouphead/layers/initializers.h"
#include "grouphead/layers/layer.h"

namespace grouphead::nn {

/// While it lives, the parameters that this thread makes are about to be loaded: they have
/// no memory yet, and together have `elements` elements at most, what the file can fill. So a
/// file's claims take no memory, and initializers no time.
class LoadingScope {
 public:
  explicit LoadingScope(Index elements) noexcept;
  ~LoadingScope();
  LoadingScope(const LoadingScope&) = delete;
  LoadingScope& operator=(const LoadingScope&) = delete;

  static bool is_active() noexcept;
  /// For a parameter of this shape. Errors: ConfigError for more than there are.
  static void take(const Shape& shape);

 private:
  Index elements_;
  LoadingScope* outer_;
};

/// Gives a new parameter its first numbers, unless it is about to be loaded.
void initialize(Parameter& parameter, const Initializer& rule, const Fans& fans,
                RandomStream& random);

}  // namespace grouphead::nn
