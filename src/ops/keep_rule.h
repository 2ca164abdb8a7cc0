#pragma once

#include "grouphead/core/random.h"
#include "kernels/random/keep_rule.h"

namespace grouphead::ops {

/// Which elements dropout of this rate, keeps.
kernels::KeepRule keep_rule(double rate, const RandomDraw& draw) noexcept;

}  // namespace grouphead::ops
