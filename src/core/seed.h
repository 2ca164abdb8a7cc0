#pragma once

// Keras's seeds, which are of 32 bits.

#include <optional>

#include "grouphead/core/random.h"

namespace grouphead::core {

/// `seed` as a SeedGenerator takes it. Errors: ConfigError unless 0 <= seed < 2^32.
std::uint64_t checked_seed(Index seed);
/// The same of a configuration's seed, where there is one.
void require_seed(const std::optional<std::uint64_t>& seed);
/// A seed by the next draw of a stream: what a layer takes where the user gives none.
std::uint64_t draw_seed(RandomStream& random) noexcept;

}  // namespace grouphead::core
