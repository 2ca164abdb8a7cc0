#include "io/json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "io/file.h"
#include "support.h"

namespace grouphead::io {
namespace {

using ::testing::HasSubstr;
using testing_support::error_of;

ConfigValue parsed(std::string_view text) { return parse_json(text, "text"); }
std::string refusal_of_json(std::string_view text) {
  return error_of<IoError>([&] { parsed(text); });
}

TEST(Json, HoldsEveryKindOfValue) {
  const ConfigValue value =
      parsed(R"({"a": null, "b": [true, -3, 2.5, 1e2, 7.0], "c": {"z": "q\u00e9\n", "y": 0}})");
  EXPECT_TRUE(value["a"].is_null());
  const ConfigValue::List& list = value["b"].as_list("b");
  EXPECT_TRUE(list[0].as_bool("0"));
  EXPECT_TRUE(list[1].is_integer());
  EXPECT_EQ(list[1].as_integer("1"), -3);
  EXPECT_EQ(list[2], ConfigValue(2.5));
  EXPECT_FALSE(list[3].is_integer());
  EXPECT_EQ(list[3].as_number("3"), 100);
  EXPECT_FALSE(list[4].is_integer());
  EXPECT_EQ(value["c"].as_object("c")[0].first, "z");
  EXPECT_EQ(value["c"]["z"].as_string("z"), "q\xc3\xa9\n");
}

TEST(Json, PythonsWordsAreNumbersOutsideOfStringsOnly) {
  const ConfigValue value =
      parsed(R"(["NaN \" -Infinity", 1.5, NaN, 3, -Infinity, 2e0, Infinity, -0.5])");
  const ConfigValue::List& list = value.as_list("list");
  EXPECT_EQ(list[0].as_string("0"), "NaN \" -Infinity");
  EXPECT_EQ(list[1], ConfigValue(1.5));
  EXPECT_TRUE(std::isnan(list[2].as_number("2")));
  EXPECT_EQ(list[3], ConfigValue(3));
  EXPECT_EQ(list[4], ConfigValue(-HUGE_VAL));
  EXPECT_EQ(list[5], ConfigValue(2.0));
  EXPECT_EQ(list[6], ConfigValue(HUGE_VAL));
  EXPECT_EQ(list[7], ConfigValue(-0.5));
}

// The texts are those of Python 3.11's json.dumps.
TEST(Json, TextsArePythons) {
  for (const char* text :
       {"null", "true", "[]", "{}", "-12", "0.1", "1.0", "100000.0", "1e+16", "1e-05", "-0.0",
        "0.0001", "123456789012345.0", "1.7976931348623157e+308", "5e-324", "NaN", "-Infinity",
        R"({"b": [1, 2.0, "x"], "a": {"k": null}})", R"("q\u00e9\n\"\\\u0001")"}) {
    EXPECT_EQ(json_text(parsed(text)), text);
  }
  EXPECT_EQ(json_text(parsed(R"({"a": [1, {}], "b": {"c": []}})"), 1),
            "{\n \"a\": [\n  1,\n  {}\n ],\n \"b\": {\n  \"c\": []\n }\n}");
  EXPECT_THAT(error_of<IoError>([] { json_text(ConfigValue("\xff")); }), HasSubstr("UTF-8"));
}

TEST(Json, FilesOfKerasComeBackUnchanged) {
  const std::string folder = GROUPHEAD_SOURCE_DIR "/tests/golden/keras/";
  for (const char* file : {"cases.json", "errors.json"}) {
    const ConfigValue value = parse_json(read_file(folder + file), file);
    EXPECT_TRUE(json_text(value, 1) == read_file(folder + file)) << file;
  }
}

TEST(Json, BadTextsAreRefused) {
  for (const char* text :
       {"", "{", "[1,]", "{\"a\" 1}", "nul", "01", "1 2", "\"a", "[Nan]", "-NaN", "--Infinity",
        "1Infinity", "tNaN", "\"\\ud800\"", "\"\x01\"", "\"\xff\"", "'a'", "{1: 2}", "1e999"}) {
    EXPECT_THAT(refusal_of_json(text), HasSubstr("[json] text: expected JSON, got")) << text;
  }
  EXPECT_THAT(refusal_of_json(R"({"a": 1, "b": 2, "a": 3})"), HasSubstr("the key 'a' twice"));
  EXPECT_THAT(refusal_of_json("9223372036854775808"), HasSubstr("beyond 64 bits"));
  EXPECT_THAT(refusal_of_json("123456789012345678901234567890"), HasSubstr("beyond 64 bits"));
}

TEST(Json, DepthAndSizeHaveLimits) {
  const auto nested = [](int depth) {
    return std::string(static_cast<std::size_t>(depth), '[') +
           std::string(static_cast<std::size_t>(depth), ']');
  };
  EXPECT_EQ(refusal_of_json(nested(256)), "no error");
  EXPECT_THAT(refusal_of_json(nested(257)), HasSubstr("more than 256 levels"));
  EXPECT_THAT(refusal_of_json(nested(1'000'000)), HasSubstr("more than 256 levels"));
  EXPECT_THAT(error_of<IoError>([] { parse_json("[1]", "text", {.bytes = 2}); }),
              HasSubstr("at most 2 bytes"));
  EXPECT_THAT(error_of<IoError>([] { parse_json("[[], [], []]", "text", {.values = 3}); }),
              HasSubstr("more than 3 values"));
  // Of a file: what it holds, and a text that is compressed in it.
  EXPECT_LT(JsonLimits::of_file(76'000).values, std::size_t{1} << 22);
  EXPECT_GE(JsonLimits::of_file(std::size_t{84} << 20).bytes, std::size_t{84} << 20);
}

TEST(Json, StringsForPeopleMayHoldAnyBytes) {
  EXPECT_EQ(json_text(ConfigValue("a\xff"), -1, OtherBytes::replaced), "\"a\\ufffd\"");
}

}  // namespace
}  // namespace grouphead::io
