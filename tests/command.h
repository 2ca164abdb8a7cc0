#pragma once

// Runs the program as a user does.

#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <stdexcept>
#include <string>

namespace grouphead::testing_support {

struct CommandResult {
  int exit_code = -1;
  std::string output{};  ///< both streams
};

/// `arguments` as typed in a shell, after the program's name.
inline CommandResult run_grouphead(const std::string& arguments) {
  const std::string command = GROUPHEAD_BINARY_DIR "/grouphead " + arguments + " 2>&1";
  std::FILE* pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) throw std::runtime_error("popen failed");
  CommandResult result;
  std::array<char, 4096> buffer{};
  while (std::fgets(buffer.data(), static_cast<int>(buffer.size()), pipe) != nullptr) {
    result.output += buffer.data();
  }
  const int status = pclose(pipe);
  result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return result;
}

}  // namespace grouphead::testing_support
