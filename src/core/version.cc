#include "grouphead/core/version.h"

namespace grouphead {

std::string_view version() noexcept { return GROUPHEAD_VERSION; }
int version_number() noexcept { return GROUPHEAD_VERSION_NUMBER; }

}  // namespace grouphead
