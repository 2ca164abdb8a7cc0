// Text from files as terminals are given it.

#include "tools/printable.h"

#include <gtest/gtest.h>

namespace grouphead::tools {
namespace {

TEST(Printable, PlainTextStays) {
  for (const char* text : {"", "block_1/attn", "größe", "注意力", "\xf0\x9f\x98\x80", "a b~"}) {
    EXPECT_EQ(printable(text), text);
  }
}

TEST(Printable, WhatSteersTerminalsIsShown) {
  EXPECT_EQ(printable("\x1b[2J"), "\\x1b[2J");
  EXPECT_EQ(printable("\x1b]0;title\x07"), "\\x1b]0;title\\x07");
  EXPECT_EQ(printable("a\rb\tc\x7f"), "a\\x0db\\x09c\\x7f");
  EXPECT_EQ(printable("\xc2\x9b"
                      "31m"),
            "\\x9b31m");
  EXPECT_EQ(printable("a\xe2\x80\xae"
                      "b"),
            "a\\u202eb");
  EXPECT_EQ(printable("a\nb"), "a\\x0ab");
  EXPECT_EQ(printable("a\nb", /*keeps_lines=*/true), "a\nb");
}

TEST(Printable, BytesThatAreNotUtf8AreShown) {
  EXPECT_EQ(printable("\xff\xfe"), "\\xff\\xfe");
  EXPECT_EQ(printable("\xe6\xb3"), "\\xe6\\xb3");
  EXPECT_EQ(printable("\xc0\x80"), "\\xc0\\x80");
  EXPECT_EQ(printable("\xed\xa0\x80"), "\\xed\\xa0\\x80");
  EXPECT_EQ(printable("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80");
}

}  // namespace
}  // namespace grouphead::tools
