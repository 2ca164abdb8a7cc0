#include "tools/report/chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

namespace grouphead::tools::report {
namespace {

constexpr double kHeight = 380;
constexpr double kNarrowHeight = 260;
constexpr double kLeft = 64;
constexpr double kRight = 20;
constexpr double kTop = 40;
constexpr double kBottom = 52;
constexpr std::size_t kColours = 6;  // that the page's style names: .curve-0 ... .curve-5

struct Range {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();

  void include(double value) {
    if (!std::isfinite(value)) return;
    low = std::min(low, value);
    high = std::max(high, value);
  }
};

struct Axis {
  double low;
  double high;
  double tick;
};

// Widens a range to multiples of 1, 2 or 5 times a power of ten, about five of them.
Axis round_axis(Range range) {
  if (!(range.low <= range.high)) range = {0, 1};
  if (range.low == range.high) range.high = range.low + 1;
  const double raw = (range.high - range.low) / 5;
  const double power = std::pow(10, std::floor(std::log10(raw)));
  double tick = 10 * power;
  for (const double step : {1.0, 2.0, 5.0}) {
    if (raw <= step * power) {
      tick = step * power;
      break;
    }
  }
  return {std::floor(range.low / tick) * tick, std::ceil(range.high / tick) * tick, tick};
}

class Frame {
 public:
  Frame(const Axis& x, const Axis& y, ChartWidth width)
      : x_(x),
        y_(y),
        width_(width == ChartWidth::page ? 860 : 430),
        height_(width == ChartWidth::page ? kHeight : kNarrowHeight) {}

  double width() const { return width_; }
  double height() const { return height_; }

  double x(double value) const {
    return kLeft + (value - x_.low) / (x_.high - x_.low) * (width_ - kLeft - kRight);
  }
  double y(double value) const {
    return height_ - kBottom - (value - y_.low) / (y_.high - y_.low) * (height_ - kTop - kBottom);
  }

  std::string grid() const {
    std::string svg;
    for (double v = y_.low; v <= y_.high + y_.tick / 2; v += y_.tick) {
      svg += fmt::format(
          "<line x1='{}' y1='{:.1f}' x2='{}' y2='{:.1f}' class='grid'/>"
          "<text x='{}' y='{:.1f}' text-anchor='end'>{:.4g}</text>\n",
          kLeft, y(v), width_ - kRight, y(v), kLeft - 8, y(v) + 4, rounded(v, y_.tick));
    }
    for (double v = x_.low; v <= x_.high; v += x_.tick) {
      svg += fmt::format(
          "<line x1='{:.1f}' y1='{}' x2='{:.1f}' y2='{}' class='grid'/>"
          "<text x='{:.1f}' y='{}' text-anchor='middle'>{}</text>\n",
          x(v), kTop, x(v), height_ - kBottom, x(v), height_ - kBottom + 18, rounded(v, x_.tick));
    }
    return svg;
  }

  // Mean of the points in each column of pixels, so that a hundred thousand steps stay small.
  std::string path(const Curve& curve) const {
    std::string d;
    bool pen_down = false;
    for (std::size_t i = 0; i < curve.x.size();) {
      const double column = std::floor(x(curve.x[i]));
      double sum_x = 0;
      double sum_y = 0;
      int count = 0;
      bool open = false;  // whether the column's last point is one
      for (; i < curve.x.size() && std::floor(x(curve.x[i])) == column; ++i) {
        open = std::isfinite(curve.y[i]);
        if (!open) continue;
        sum_x += curve.x[i];
        sum_y += curve.y[i];
        ++count;
      }
      if (count > 0) {
        d += fmt::format("{}{:.1f} {:.1f}", pen_down ? " L" : " M", x(sum_x / count),
                         y(sum_y / count));
      }
      pen_down = open;
    }
    return d;
  }

 private:
  // Steps of 0.1 add up to 0.30000000000000004.
  static double rounded(double value, double tick) {
    const double digits = std::pow(10, std::ceil(-std::log10(tick)) + 1);
    const double result = std::round(value * digits) / digits;
    return result == 0 ? 0 : result;
  }

  Axis x_;
  Axis y_;
  double width_;
  double height_;
};

}  // namespace

std::string line_chart(const ChartText& text, const std::vector<Curve>& curves, ChartWidth width) {
  Range x_range;
  Range y_range;
  for (const Curve& curve : curves) {
    for (const double v : curve.x) x_range.include(v);
    for (const double v : curve.y) y_range.include(v);
  }
  Axis x_axis = round_axis(x_range);
  if (x_range.low < x_range.high) x_axis.high = x_range.high;
  const Frame frame(x_axis, round_axis(y_range), width);
  const double right = frame.width() - kRight;
  std::string svg = fmt::format(
      "<svg class='chart' viewBox='0 0 {} {}' role='img' aria-label='{}'>\n"
      "<text x='{}' y='22' class='title'>{}</text>\n{}",
      frame.width(), frame.height(), escape_html(text.title), kLeft, escape_html(text.title),
      frame.grid());
  svg += fmt::format("<text x='{}' y='{}' text-anchor='middle'>{}</text>\n", (kLeft + right) / 2,
                     frame.height() - 10, escape_html(text.x_label));
  svg +=
      fmt::format("<text transform='translate(16 {}) rotate(-90)' text-anchor='middle'>{}</text>\n",
                  (kTop + frame.height() - kBottom) / 2, escape_html(text.y_label));
  double legend = right;
  for (std::size_t i = curves.size(); i-- > 0;) {
    const std::string label = escape_html(curves[i].label);
    svg += fmt::format("<path d='{}' class='curve-{}'/>\n", frame.path(curves[i]), i % kColours);
    svg += fmt::format("<text x='{:.0f}' y='22' text-anchor='end' class='curve-{}'>{}</text>\n",
                       legend, i % kColours, label);
    legend -= 16 + 7.5 * static_cast<double>(curves[i].label.size());
  }
  return svg + "</svg>\n";
}

namespace {

// Length of the UTF-8 sequence at `at`, 0 if there is none.
std::size_t utf8_length(const std::string& text, std::size_t at) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(text[i]); };
  const std::uint8_t lead = byte(at);
  const std::size_t length = lead < 0x80                   ? 1
                             : lead >= 0xc2 && lead < 0xe0 ? 2
                             : lead >= 0xe0 && lead < 0xf0 ? 3
                             : lead >= 0xf0 && lead < 0xf5 ? 4
                                                           : 0;
  if (length == 0 || at + length > text.size()) return 0;
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(at + i) & 0xc0) != 0x80) return 0;
  }
  return length;
}

}  // namespace

std::string escape_html(const std::string& text) {
  std::string out;
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t length = utf8_length(text, i);
    const char c = text[i];
    if (length == 0 || (static_cast<std::uint8_t>(c) < 0x20 && c != '\n' && c != '\t')) {
      out += "\xef\xbf\xbd";
    } else if (c == '&') {
      out += "&amp;";
    } else if (c == '<') {
      out += "&lt;";
    } else if (c == '>') {
      out += "&gt;";
    } else if (c == '\'') {
      out += "&#39;";
    } else if (c == '"') {
      out += "&quot;";
    } else {
      out.append(text, i, length);
    }
    i += std::max<std::size_t>(length, 1);
  }
  return out;
}

}  // namespace grouphead::tools::report
