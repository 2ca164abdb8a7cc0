#pragma once

#include <string_view>

#include "grouphead/context.h"

namespace grouphead::check {

/// The value of ONEDNN_MAX_CPU_ISA that matches a level. At `ref` no product goes to oneDNN.
std::string_view onednn_cap(Isa isa) noexcept;

/// Keeps oneDNN at or below a level, for the whole process.
/// Errors: ConfigError when oneDNN has run already under another cap.
void cap_onednn(Isa isa);

/// The best level whose instructions oneDNN may use now. Fixes it for the process.
Isa onednn_level();

}  // namespace grouphead::check
