#pragma once

// Runs the built program as a child process.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <sstream>
#include <string>
#include <vector>

namespace grouphead::testing_support {

inline std::string contents_of(const std::filesystem::path& file) {
  std::ostringstream text;
  text << std::ifstream(file, std::ios::binary).rdbuf();
  return text.str();
}

/// How a child ended: its exit code, or minus the signal that ended it.
struct Outcome {
  int code = 0;
  std::string out{};
  std::string err{};
};

/// A running `grouphead ARGUMENTS...`; its output goes to files in `folder`.
class Program {
 public:
  /// `in_child` runs just before the program starts.
  Program(const std::filesystem::path& folder, const std::vector<std::string>& arguments,
          const std::function<void()>& in_child = {})
      : out_(folder / "stdout.txt"), err_(folder / "stderr.txt") {
    static const std::string program = std::string(GROUPHEAD_BINARY_DIR) + "/grouphead";
    std::vector<char*> argv = {const_cast<char*>(program.c_str())};
    for (const std::string& argument : arguments) {
      argv.push_back(const_cast<char*>(argument.c_str()));
    }
    argv.push_back(nullptr);
    std::filesystem::remove(out_);  // of an earlier run: nobody shall take them for this one's
    std::filesystem::remove(err_);
    pid_ = ::fork();
    if (pid_ != 0) return;
    redirect(out_, STDOUT_FILENO);
    redirect(err_, STDERR_FILENO);
    if (in_child) in_child();
    ::execv(program.c_str(), argv.data());
    ::_exit(127);
  }
  ~Program() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  void send(int signal) const { ::kill(pid_, signal); }
  /// What it wrote to stderr so far.
  std::string err() const { return contents_of(err_); }
  Outcome wait() {
    int status = 0;
    ::waitpid(pid_, &status, 0);
    pid_ = -1;
    const int code = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    return {code, contents_of(out_), contents_of(err_)};
  }

 private:
  static void redirect(const std::filesystem::path& file, int descriptor) {
    const int opened = ::open(file.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0666);
    ::dup2(opened, descriptor);
  }

  std::filesystem::path out_;
  std::filesystem::path err_;
  pid_t pid_ = -1;
};

}  // namespace grouphead::testing_support
