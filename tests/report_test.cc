#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "models/cost.h"
#include "support.h"
#include "tools/report/attention_map.h"
#include "tools/report/chart.h"
#include "tools/report/training_report.h"

namespace grouphead::tools::report {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using testing_support::error_of;

TEST(CacheCosts, AreTheTableOfTheEdificePage) {
  const std::vector<CacheCost> costs = cache_costs({});
  ASSERT_EQ(costs.size(), 3);
  EXPECT_EQ(costs[0].elements_per_layer, 512);
  EXPECT_EQ(costs[1].elements_per_layer, 128);
  EXPECT_EQ(costs[2].elements_per_layer, 64);
  EXPECT_EQ(costs[0].bytes_per_token * 60, 491520);
  EXPECT_EQ(costs[1].bytes_per_token * 60, 122880);
  EXPECT_EQ(costs[2].bytes_per_token * 60, 61440);
  EXPECT_EQ(costs[1].relative_to_mha, 0.25);
  EXPECT_EQ(stack_param_count_edifice({}), 2752512);
}

TEST(CacheCosts, ListEachVariantOnce) {
  EXPECT_EQ(cache_costs({.num_key_value_heads = 1}).size(), 2);
  EXPECT_EQ(cache_costs({.num_key_value_heads = 8}).size(), 2);
  EXPECT_EQ(cache_costs({.num_heads = 1, .num_key_value_heads = 1}).size(), 1);
}

TEST(LineChart, ThinsLongCurvesAndBreaksAtMissingNumbers) {
  Curve curve{.label = "loss", .x = {}, .y = {}};
  for (int i = 0; i < 100000; ++i) {
    curve.x.push_back(i);
    curve.y.push_back(i >= 50000 && i < 51000 ? std::numeric_limits<double>::quiet_NaN() : 3.0);
  }
  const std::string svg = line_chart({.title = "t", .x_label = "x", .y_label = "y"}, {curve});
  EXPECT_LT(svg.size(), 20000U);
  const std::string path = svg.substr(svg.find("<path"));
  EXPECT_EQ(std::count(path.begin(), path.end(), 'M'), 2);
  EXPECT_THAT(svg, Not(HasSubstr("nan")));
}

TEST(LineChart, StandsWithoutAnyPoint) {
  EXPECT_THAT(line_chart({.title = "t", .x_label = "x", .y_label = "y"}, {{"none", {}, {}}}),
              Not(HasSubstr("nan")));
}

TEST(EscapeHtml, LetsNoMarkupOrBrokenTextThrough) {
  EXPECT_EQ(escape_html("<a href=\"x\">&'"), "&lt;a href=&quot;x&quot;&gt;&amp;&#39;");
  EXPECT_EQ(escape_html("\xff\x01 \xc3\xa9\n"), "\xef\xbf\xbd\xef\xbf\xbd \xc3\xa9\n");
  EXPECT_EQ(escape_html("\xe2\x82"), "\xef\xbf\xbd\xef\xbf\xbd");
}

TEST(AttentionMaps, HoldAPictureForEachHead) {
  const Tensor scores = Tensor::from({1, 2, 1, 2}, {1, 0, 0.25F, 0.75F});
  const std::string html = attention_maps({scores, scores}, "ab");
  for (const char* caption : {"layer 1, head 1", "layer 1, head 2", "layer 2, head 2"}) {
    EXPECT_THAT(html, HasSubstr(caption));
  }
  // A bitmap 2 pixels wide and 1 high, its row padded to 4 bytes: shades 255 and 0, then 128 and
  // round(255 sqrt 0.75) = 221.
  EXPECT_THAT(html, HasSubstr("data:image/bmp;base64,Qk0"));
  EXPECT_THAT(html, HasSubstr("bjIUAP8AAAA='>"));
  EXPECT_THAT(html, HasSubstr("bjIUAIDdAAA='>"));
  EXPECT_EQ(error_of<ShapeError>([] {
              attention_maps({Tensor({2, 1, 1, 1})}, "a");
            }),
            "[attention_maps] scores: expected [1, *, *, *], got [2, 1, 1, 1]");
}

TEST(TrainingReport, IsOnePageWithoutTheNetwork) {
  const TrainingPage run{.configuration = {{"text", "<b>"}},
                         .model = {},
                         .steps = {1, 2},
                         .losses = {5.5, 4.5},
                         .validation_steps = {2},
                         .validation_losses = {4.6},
                         .learning_rates = {0.001, 0.002},
                         .gradient_norms = {3, 2},
                         .tokens_per_second = 1000,
                         .seconds = 2,
                         .sample = "int main() {}",
                         .attended = "ab",
                         .attention_scores = {Tensor::from({1, 1, 2, 2}, {1, 0, 0.5, 0.5})}};
  const std::string html = training_report_html(run);
  EXPECT_THAT(html, HasSubstr("<svg"));
  EXPECT_THAT(html, HasSubstr("4.600"));
  EXPECT_THAT(html, HasSubstr("GQA (this model)"));
  EXPECT_THAT(html, HasSubstr("int main() {}"));
  EXPECT_THAT(html, HasSubstr("&lt;b&gt;"));
  EXPECT_THAT(html, HasSubstr("layer 1, head 1"));
  EXPECT_THAT(html, HasSubstr("aria-label='Learning rate'"));
  EXPECT_THAT(html, HasSubstr("aria-label='Gradient norm'"));
  EXPECT_THAT(html, HasSubstr("prefers-color-scheme: dark"));
  EXPECT_THAT(html, HasSubstr("tokens per second"));
  TrainingPage resumed = run;
  resumed.tokens_per_second = 0;
  EXPECT_THAT(training_report_html(resumed), Not(HasSubstr("tokens per second")));
  for (const char* outside : {"http", "src='/", "src=\"", "<script", "@import", "url("}) {
    EXPECT_THAT(html, Not(HasSubstr(outside)));
  }
}

}  // namespace
}  // namespace grouphead::tools::report
