// The version and the features in macros and in the library.

#include "grouphead/core/version.h"

#include <gtest/gtest.h>

#include <string>

#include "saved/keras_files.h"

namespace grouphead {
namespace {

TEST(Version, LibraryAndHeadersAgree) {
  EXPECT_EQ(version(), GROUPHEAD_VERSION);
  EXPECT_EQ(version_number(), GROUPHEAD_VERSION_NUMBER);
}

TEST(Version, TextAndNumberAreMadeOfTheSameParts) {
  EXPECT_EQ(GROUPHEAD_VERSION, std::to_string(GROUPHEAD_VERSION_MAJOR) + "." +
                                   std::to_string(GROUPHEAD_VERSION_MINOR) + "." +
                                   std::to_string(GROUPHEAD_VERSION_PATCH));
  EXPECT_EQ(GROUPHEAD_VERSION_NUMBER / 10000, GROUPHEAD_VERSION_MAJOR);
  EXPECT_EQ(GROUPHEAD_VERSION_NUMBER / 100 % 100, GROUPHEAD_VERSION_MINOR);
  EXPECT_EQ(GROUPHEAD_VERSION_NUMBER % 100, GROUPHEAD_VERSION_PATCH);
}

TEST(Features, MacroSaysWhetherKerasFilesAreRead) {
  EXPECT_EQ(saved::has_keras_files(), GROUPHEAD_HAS_KERAS_FILES == 1);
}

}  // namespace
}  // namespace grouphead
