#pragma once

#include <string_view>

#define GROUPHEAD_VERSION_MAJOR 0
#define GROUPHEAD_VERSION_MINOR 1
#define GROUPHEAD_VERSION_PATCH 0

#define GROUPHEAD_DETAIL_TEXT(number) #number
#define GROUPHEAD_DETAIL_VERSION(major, minor, patch) \
  GROUPHEAD_DETAIL_TEXT(major) "." GROUPHEAD_DETAIL_TEXT(minor) "." GROUPHEAD_DETAIL_TEXT(patch)

/// The version of these headers as a text, "1.2.3".
#define GROUPHEAD_VERSION                                                    \
  GROUPHEAD_DETAIL_VERSION(GROUPHEAD_VERSION_MAJOR, GROUPHEAD_VERSION_MINOR, \
                           GROUPHEAD_VERSION_PATCH)
/// The same as a number that grows with each version: 10203 for 1.2.3.
#define GROUPHEAD_VERSION_NUMBER \
  (GROUPHEAD_VERSION_MAJOR * 10000 + GROUPHEAD_VERSION_MINOR * 100 + GROUPHEAD_VERSION_PATCH)

#pragma GCC visibility push(default)
namespace grouphead {

/// The version of the library that the program runs with; GROUPHEAD_VERSION is that of the headers
/// it was compiled with. Thread-safe.
std::string_view version() noexcept;
/// The same as a number, as GROUPHEAD_VERSION_NUMBER.
int version_number() noexcept;

}  // namespace grouphead
#pragma GCC visibility pop
