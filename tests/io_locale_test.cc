// Numbers in files and texts are the same in every locale of the host program.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <clocale>
#include <cstdlib>
#include <filesystem>
#include <locale>
#include <string>

#include "core/number_text.h"
#include "grouphead/files/model_json.h"
#include "grouphead/models/symbol.h"
#include "io/json.h"
#include "io/npy.h"
#include "saved/run_config.h"
#include "training_support.h"

namespace grouphead {
namespace {

using ::testing::HasSubstr;

/// 1.234,5 in streams.
class Commas : public std::numpunct<char> {
 protected:
  char do_decimal_point() const override { return ','; }
  char do_thousands_sep() const override { return '.'; }
  std::string do_grouping() const override { return "\3"; }
};

/// A locale of the C library whose decimal point is a comma; empty where there is none and none can
/// be made.
std::string comma_locale(const std::string& folder) {
  const auto has_comma = [](const char* name) {
    return std::setlocale(LC_ALL, name) != nullptr &&
           std::string(std::localeconv()->decimal_point) == ",";
  };
  for (const char* name : {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "de_DE"}) {
    if (has_comma(name)) return name;
  }
  const std::string made = folder + "/de_DE.UTF-8";
  const std::string command = "localedef -i de_DE -f UTF-8 " + made + " >/dev/null 2>&1";
  if (std::system(command.c_str()) == 0) {
    ::setenv("LOCPATH", folder.c_str(), 1);
    if (has_comma("de_DE.UTF-8")) return "de_DE.UTF-8";
  }
  std::setlocale(LC_ALL, "C");
  return "";
}

/// What programs see that use files and texts of numbers.
void expect_the_same_numbers() {
  const ConfigValue value = io::parse_json("[0.5, -1.25e-3, 1234567.75, 1e300, 5e-324]", "text");
  EXPECT_EQ(value.as_list("list")[0], ConfigValue(0.5));
  EXPECT_EQ(value.as_list("list")[1], ConfigValue(-0.00125));
  EXPECT_EQ(io::json_text(value), "[0.5, -0.00125, 1234567.75, 1e+300, 5e-324]");
  EXPECT_EQ(value.to_string(), "[0.5, -0.00125, 1234567.75, 1e+300, 5e-324]");
  EXPECT_EQ(core::fixed_text(1234.5, 2), "1234.50");
  EXPECT_EQ(core::general_text(1.25e-7, 3), "1.25e-07");
  EXPECT_THAT(io::npy_header(Tensor::zeros({1234567, 0}), "x"), HasSubstr("(1234567, 0)"));

  TrainerConfig config = testing_support::tiny_config();
  config.learning_rate = 0.0025;
  config.seed = ~std::uint64_t{0};
  const TrainerConfig read = saved::config_from_json(saved::to_json(config), "text");
  EXPECT_EQ(read.learning_rate, 0.0025);
  EXPECT_EQ(read.seed, config.seed);
}

TEST(Locale, OfStreamsChangesNoNumber) {
  const std::locale before = std::locale::global(std::locale(std::locale::classic(), new Commas));
  expect_the_same_numbers();
  std::locale::global(before);
}

using LocaleFolder = testing_support::FolderTest;

TEST_F(LocaleFolder, OfTheCLibraryChangesNoNumber) {
  const std::string name = comma_locale(folder_);
  if (name.empty()) GTEST_SKIP() << "no locale with a decimal comma, nor localedef's sources";
  expect_the_same_numbers();
  std::setlocale(LC_ALL, "C");
  ::unsetenv("LOCPATH");
}

TEST(Numbers, ComeFromAllOfAText) {
  using core::number_from_text;
  EXPECT_EQ(number_from_text("-1.5e3"), -1500);
  EXPECT_EQ(number_from_text("+2"), 2);
  EXPECT_EQ(number_from_text("1e999"), HUGE_VAL);
  EXPECT_EQ(number_from_text("-1e999"), -HUGE_VAL);
  EXPECT_EQ(number_from_text("1e-999"), 0);
  EXPECT_EQ(number_from_text("0." + std::string(400, '0') + "1"), 0);
  for (const char* text : {"", "1,5", "1.5x", " 1", "e5", "--1"}) {
    EXPECT_FALSE(number_from_text(text)) << text;
  }
}

}  // namespace
}  // namespace grouphead
