// Saving is atomic: a process killed in the middle leaves the file before or the one after.

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <random>
#include <set>

#include "io/file.h"
#include "io/npy.h"
#include "io/safetensors.h"
#include "training_support.h"

namespace grouphead::io {
namespace {

using KilledSave = testing_support::FolderTest;

constexpr Index kSize = 1 << 16;

// Every element is the number of the save.
Tensor numbers(std::int32_t number) {
  Tensor tensor({kSize}, Dtype::i32);
  std::fill_n(tensor.data<std::int32_t>(), kSize, number);
  return tensor;
}

/// The number that all elements have. Fails the test where they differ.
std::int32_t number_of(const Tensor& tensor) {
  const auto* elements = tensor.data<std::int32_t>();
  EXPECT_EQ(tensor.shape(), Shape({kSize}));
  EXPECT_EQ(std::count(elements, elements + kSize, elements[0]), kSize);
  return elements[0];
}

/// A child that saves one number after the other until it is killed.
pid_t start_saving(std::int32_t first, const std::function<void(std::int32_t)>& save) {
  const pid_t pid = ::fork();
  if (pid != 0) return pid;
  try {
    for (std::int32_t number = first;; ++number) save(number);
  } catch (...) {
    ::_exit(1);
  }
}

/// Kills a saving process `count` times; returns how many different files it left.
std::size_t kill_saves(int count, const std::function<void(std::int32_t)>& save,
                       const std::function<std::int32_t()>& read) {
  std::mt19937 random(1);
  std::set<std::int32_t> seen;
  save(0);
  for (int round = 0; round < count; ++round) {
    const pid_t pid = start_saving(1000 * round, save);
    ::usleep(static_cast<useconds_t>(random() % 8000));
    ::kill(pid, SIGKILL);
    int status = 0;
    ::waitpid(pid, &status, 0);
    EXPECT_TRUE(WIFSIGNALED(status));
    seen.insert(read());
  }
  return seen.size();
}

TEST_F(KilledSave, LeavesAReadableFile) {
  const std::size_t safetensors = kill_saves(
      100,
      [&](std::int32_t number) {
        Safetensors contents;
        contents.tensors["x"] = numbers(number);
        write_safetensors(path("x.safetensors"), contents);
      },
      [&] { return number_of(read_safetensors(path("x.safetensors")).at("x")); });
  const std::size_t npy = kill_saves(
      100, [&](std::int32_t number) { write_npy(path("x.npy"), numbers(number)); },
      [&] { return number_of(read_npy(path("x.npy"))); });
  EXPECT_GT(safetensors + npy, 2U);  // some saves came to their end
  remove_leftovers(folder_);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder_), {}), 2);
}

}  // namespace
}  // namespace grouphead::io
