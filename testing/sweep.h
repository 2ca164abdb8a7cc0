#pragma once

#include <string_view>
#include <vector>

#include "testing/problem.h"

namespace grouphead::testing {

/// One problem for each value of a size, which doubles from the lower end as far as the upper end
/// allows: `t=512..32768` gives t512, t1024, ... t32768. Sizes of the problem that are as if left
/// out follow: s with t where both are equal, hkv with hq, f with m.
/// Errors: ConfigError for another form, or a size that the operation does not have.
std::vector<Problem> sweep(const Problem& problem, std::string_view range);

}  // namespace grouphead::testing
