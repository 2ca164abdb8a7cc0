#pragma once

#include <string>
#include <string_view>

namespace grouphead::core {

/// "a, b, c": for the part of a message that says what is known.
template <class Strings>
std::string comma_list(const Strings& strings) {
  std::string list;
  for (const std::string_view one : strings) list.append(list.empty() ? "" : ", ").append(one);
  return list;
}

}  // namespace grouphead::core
