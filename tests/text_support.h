#pragma once

// What the tests of tokenizers share.

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "grouphead/text/tokenizer.h"
#include "io/file.h"
#include "io/json.h"

namespace grouphead::testing_support {

inline const std::filesystem::path kTokenizers = GROUPHEAD_SOURCE_DIR "/tests/golden/tokenizers";

/// An empty folder for the running test.
inline std::filesystem::path empty_folder() {
  const ::testing::TestInfo* test = ::testing::UnitTest::GetInstance()->current_test_info();
  const std::filesystem::path folder = std::filesystem::path(::testing::TempDir()) /
                                       (std::string(test->test_suite_name()) + test->name());
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  return folder;
}

inline void write_text(const std::filesystem::path& file, std::string_view text) {
  std::ofstream(file, std::ios::binary) << text;
}

/// The tokenizer of a JSON text.
inline Tokenizer tokenizer_of(std::string_view json) {
  const std::filesystem::path file = empty_folder() / "tokenizer.json";
  write_text(file, json);
  return Tokenizer::load(file);
}

/// A tokenizer whose words are `a`, `b` and `ab`, with further fields: `"normalizer": {...}`.
inline Tokenizer small_tokenizer(const std::string& fields) {
  return tokenizer_of(R"({"model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2},
                          "merges": ["a b"]})" +
                      (fields.empty() ? "" : ", " + fields) + "}");
}

inline ConfigValue json_file(const std::filesystem::path& file) {
  return io::parse_json(io::read_file(file), file.filename().string());
}

inline std::vector<std::int32_t> ids_of(const ConfigValue& list) {
  std::vector<std::int32_t> ids;
  for (const ConfigValue& id : list.as_list("ids")) {
    ids.push_back(static_cast<std::int32_t>(id.as_integer("id")));
  }
  return ids;
}

}  // namespace grouphead::testing_support
