#pragma once

// What most sources include. With GROUPHEAD_PRECOMPILED_HEADERS it is compiled once for all of
// them; each source still includes what it uses, as the other builds show.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "grouphead/grouphead.h"
