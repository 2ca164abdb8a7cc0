#pragma once

#include <string>
#include <vector>

namespace grouphead::tools::report {

/// One curve: y over x, both of equal length. Points that are not finite break the line.
struct Curve {
  std::string label;
  std::vector<double> x;
  std::vector<double> y;
};

struct ChartText {
  std::string title;
  std::string x_label;
  std::string y_label;
};

/// As wide as a page; or as half of one and a phone, with text that stays readable there.
enum class ChartWidth : int { page, half };

/// A line chart as an inline SVG element: axes with round numbers, a legend, one colour per curve,
/// named `curve-0`, `curve-1`, ... in the page's style. Long curves are thinned to the chart's
/// width by the mean of each column of pixels.
std::string line_chart(const ChartText& text, const std::vector<Curve>& curves,
                       ChartWidth width = ChartWidth::page);

/// `text` with the characters that HTML reserves written out; bytes that are not UTF-8 become
/// U+FFFD.
std::string escape_html(const std::string& text);

}  // namespace grouphead::tools::report
