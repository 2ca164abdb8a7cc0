// The page of `attend`.

#include "tools/report/attention_page.h"

#include <gmock/gmock.h>

#include "support.h"
#include "tools/report/base64.h"

namespace grouphead {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using tools::report::AttentionPage;

TEST(AttentionPage, HoldsSharesTokensAndSizes) {
  AttentionPage page(
      {.title = "a<b", .tokens = {"</script>", "\n"}, .num_layers = 1, .num_heads = 1});
  page.add(Tensor::from({1, 1, 2, 2}, {1, 0, 0.5, 0.5}));
  const std::string html = page.html();
  EXPECT_THAT(html, HasSubstr("<h1>Attention of a&lt;b</h1>"));
  EXPECT_THAT(html, HasSubstr(R"("tokens": ["\u003c/script>", "\n"])"));
  EXPECT_THAT(html, HasSubstr(R"("causal": true)"));
  EXPECT_THAT(html, HasSubstr(R"("kept": null)"));
  // 1 entry: key 0, 65535; 2 entries: key 0, 32768, key 1, 32768.
  EXPECT_THAT(html, HasSubstr(">AQAAAP//AgAAAACAAQAAgA==</script>"));
  EXPECT_THAT(html, Not(HasSubstr("{{")));
}

// Of a long row the greatest shares stay.
TEST(AttentionPage, LongRowsAreCut) {
  constexpr Index kLength = 600;
  constexpr Index kHeads = 32;
  AttentionPage page({.title = "long",
                      .tokens = std::vector<std::string>(kLength, "x"),
                      .num_layers = 32,
                      .num_heads = kHeads});
  Tensor scores = Tensor::zeros({1, kHeads, kLength, kLength});
  for (Index i = 0; i < scores.size(); ++i) scores.data<float>()[i] = 1.0F / kLength;
  page.add(scores);
  EXPECT_THAT(page.html(), HasSubstr(R"("kept": 8)"));
  EXPECT_LT(page.html().size(), std::size_t{1} << 20);
}

TEST(Base64, IsThatOfRfc4648) {
  using tools::report::base64;
  EXPECT_EQ(base64(""), "");
  EXPECT_EQ(base64("f"), "Zg==");
  EXPECT_EQ(base64("fo"), "Zm8=");
  EXPECT_EQ(base64("foobar"), "Zm9vYmFy");
}

}  // namespace
}  // namespace grouphead
