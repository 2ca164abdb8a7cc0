#pragma once

#include <filesystem>
#include <string>

#include "grouphead/core/error.h"

namespace grouphead::tools {

/// Errors: ConfigError when what is to be written is what is read, under whatever names.
inline void require_other_file(const std::string& verb, const std::filesystem::path& target,
                               const std::filesystem::path& source) {
  std::error_code ignored;
  if (!std::filesystem::equivalent(target, source, ignored)) return;
  throw ConfigError("[" + verb + "] " + target.string() +
                    ": expected another file to write than the one to read");
}

}  // namespace grouphead::tools
