#pragma once

#include <string>
#include <string_view>

namespace grouphead::tools {

/// Text from outside (names in files, names of files, messages with either) as a terminal may be
/// given it: bytes that steer terminals, or that are not UTF-8, as `\x1b`, marks that change the
/// direction of writing as `\u202e`. `keeps_lines`: line feeds stay, as in messages of several
/// lines.
std::string printable(std::string_view text, bool keeps_lines = false);

}  // namespace grouphead::tools
