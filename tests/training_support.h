#pragma once

// What the tests of training, checkpoints and generation share.

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <string>

#include "support.h"
#include "train/trainer.h"

namespace grouphead::testing_support {

/// A folder of its own for each test.
class FolderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "grouphead-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::string path(const std::string& name) const { return (folder_ / name).string(); }

  std::filesystem::path folder_;
};

/// Some lines with structure to learn, `bytes` long.
inline std::string example_text(std::size_t bytes) {
  std::string text;
  for (int i = 0; text.size() < bytes; ++i) {
    text += "line " + std::to_string(i) + ": " + std::to_string(i * i) + " is its square\n";
  }
  text.resize(bytes);
  return text;
}

inline TrainerConfig tiny_config() {
  return {.hidden_size = 16,
          .num_heads = 4,
          .num_key_value_heads = 2,
          .num_layers = 2,
          .dropout = 0.1,
          .sequence_length = 24,
          .batch_size = 4,
          .steps = 20,
          .learning_rate = 5e-3,
          .warmup_steps = 4,
          .seed = 3};
}

/// Whether all weights of two models have the same bits; names the first that has not.
inline ::testing::AssertionResult same_weights(const Layer& a, const Layer& b) {
  const auto left = a.parameters();
  const auto right = b.parameters();
  if (left.size() != right.size()) return ::testing::AssertionFailure() << "other parameters";
  for (std::size_t i = 0; i < left.size(); ++i) {
    if (!same_bits(left[i].parameter->value(), right[i].parameter->value())) {
      return ::testing::AssertionFailure() << left[i].path << " differs";
    }
  }
  return ::testing::AssertionSuccess();
}

}  // namespace grouphead::testing_support
