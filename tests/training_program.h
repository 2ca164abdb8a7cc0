#pragma once

// Tests that run `grouphead train` as a user does.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "program.h"
#include "training_support.h"

namespace grouphead::testing_support {

using Arguments = std::vector<std::string>;

/// A folder with a file `text` to train on.
class TrainingProgramTest : public FolderTest {
 protected:
  void SetUp() override {
    FolderTest::SetUp();
    put("text", example_text(20000));
  }
  std::string put(const std::string& name, const std::string& bytes) const {
    std::ofstream(path(name), std::ios::binary) << bytes;
    return path(name);
  }
  Outcome run(const Arguments& arguments, const std::function<void()>& in_child = {}) const {
    return Program(folder_, arguments, in_child).wait();
  }
  /// A tiny run into `out`; the options in `more` come last and win.
  Arguments tiny(const std::string& out, const Arguments& more = {}) const {
    Arguments all = {"train", "--text",    path("text"), "--out",   path(out), "--hidden",
                     "16",    "--layers",  "2",          "--heads", "4",       "--seq",
                     "24",    "--batch",   "4",          "--lr",    "0.005",   "--warmup",
                     "4",     "--dropout", "0.1"};
    const bool has_steps = std::find(more.begin(), more.end(), "--steps") != more.end();
    if (!has_steps) all.insert(all.end(), {"--steps", "12"});
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  void wait_for(const std::string& file) const {
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (!std::filesystem::exists(folder_ / file) && std::chrono::steady_clock::now() < give_up) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
  /// Ends with 2 and this message.
  void expect_refused(const Arguments& arguments, const std::string& message) const {
    const Outcome outcome = run(arguments);
    EXPECT_EQ(outcome.code, 2) << message;
    EXPECT_THAT(outcome.err, ::testing::HasSubstr(message));
  }
};

/// A program's descriptor, given another file before it starts.
inline std::function<void()> with(int descriptor, const char* file) {
  return [=] { ::dup2(::open(file, O_WRONLY), descriptor); };
}

}  // namespace grouphead::testing_support
