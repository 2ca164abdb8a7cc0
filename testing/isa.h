#pragma once

#include <span>
#include <string_view>

#include "grouphead/core/context.h"
#include "testing/problem.h"

namespace grouphead::testing {

/// The value of ONEDNN_MAX_CPU_ISA that matches a level. At `ref` no product goes to oneDNN.
std::string_view onednn_cap(Isa isa) noexcept;

/// Keeps oneDNN at the level that all these problems ask for; nothing where they ask for none. This
/// holds for the whole process. Errors: ConfigError when they ask for several levels, or when
/// oneDNN runs already at another one.
void cap_onednn(std::span<const Problem> problems);

/// The best level whose instructions oneDNN may use now. Fixes it for the process.
Isa onednn_level();

}  // namespace grouphead::testing
