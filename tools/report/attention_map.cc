#include "tools/report/attention_map.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "core/check.h"
#include "tools/report/base64.h"
#include "tools/report/chart.h"

namespace grouphead::tools::report {
namespace {

constexpr int kShades = 256;

void append_number(std::string& bytes, std::uint32_t value, int width) {
  for (int i = 0; i < width; ++i) bytes += static_cast<char>((value >> (8 * i)) & 0xff);
}

// White to dark blue.
void append_palette(std::string& bytes) {
  for (int i = 0; i < kShades; ++i) {
    const auto toward = [i](int dark) {
      return static_cast<std::uint32_t>(255 + (dark - 255) * i / (kShades - 1));
    };
    append_number(bytes, toward(110), 1);  // blue, green, red, unused
    append_number(bytes, toward(50), 1);
    append_number(bytes, toward(20), 1);
    append_number(bytes, 0, 1);
  }
}

// An uncompressed bitmap of one byte a pixel, which every browser shows.
template <class F>
std::string bitmap(const F* shares, Index rows, Index columns) {
  constexpr std::uint32_t kHeader = 14 + 40 + 4 * kShades;
  const auto stride = static_cast<std::uint32_t>((columns + 3) / 4 * 4);
  const std::uint32_t pixels = stride * static_cast<std::uint32_t>(rows);
  std::string bytes = "BM";
  append_number(bytes, kHeader + pixels, 4);
  append_number(bytes, 0, 4);
  append_number(bytes, kHeader, 4);
  append_number(bytes, 40, 4);
  append_number(bytes, static_cast<std::uint32_t>(columns), 4);
  append_number(bytes, static_cast<std::uint32_t>(rows), 4);
  append_number(bytes, 1, 2);  // planes
  append_number(bytes, 8, 2);  // bits a pixel
  append_number(bytes, 0, 4);  // not compressed
  append_number(bytes, pixels, 4);
  for (int i = 0; i < 2; ++i) append_number(bytes, 0, 4);  // no resolution
  append_number(bytes, kShades, 4);
  append_number(bytes, 0, 4);
  append_palette(bytes);
  for (Index row = rows; row-- > 0;) {  // bottom up
    for (Index column = 0; column < columns; ++column) {
      const double share = static_cast<double>(shares[row * columns + column]);
      const double shade = std::isfinite(share) ? std::sqrt(std::clamp(share, 0.0, 1.0)) : 0;
      bytes += static_cast<char>(std::lround(shade * (kShades - 1)));
    }
    bytes.append(stride - static_cast<std::size_t>(columns), '\0');
  }
  return bytes;
}

template <class F>
std::string data_of(const F* shares, Index rows, Index columns) {
  return "data:image/bmp;base64," + base64(bitmap(shares, rows, columns));
}

std::string picture(const Tensor& scores, Index layer, Index head) {
  const Index rows = scores.dim(2);
  const Index columns = scores.dim(3);
  const Index first = head * rows * columns;
  const std::string image = scores.dtype() == Dtype::f64
                                ? data_of(scores.data<double>() + first, rows, columns)
                                : data_of(scores.data<float>() + first, rows, columns);
  return fmt::format(
      "<figure><img alt='layer {0} head {1}' src='{2}'>"
      "<figcaption>layer {0}, head {1}</figcaption></figure>\n",
      layer + 1, head + 1, image);
}

std::vector<double> mean_of_heads(const Tensor& scores) {
  const Index heads = scores.dim(1);
  const Index pairs = scores.dim(2) * scores.dim(3);
  std::vector<double> mean(static_cast<std::size_t>(pairs), 0.0);
  for (Index i = 0; i < scores.size(); ++i) {
    const double share = scores.dtype() == Dtype::f64
                             ? scores.data<double>()[i]
                             : static_cast<double>(scores.data<float>()[i]);
    mean[static_cast<std::size_t>(i % pairs)] += share / static_cast<double>(heads);
  }
  return mean;
}

/// What stands for a byte beside a map.
std::string label_of(const std::string& bytes, Index at) {
  const char c = at < static_cast<Index>(bytes.size()) ? bytes[static_cast<std::size_t>(at)] : ' ';
  if (c == '\n') return "\xe2\x86\xb5";  // a return arrow
  if (c == ' ') return "\xc2\xb7";       // a dot in the middle
  return c > ' ' && c < 127 ? escape_html(std::string(1, c)) : "?";
}

/// The mean of a layer's heads, large enough for the bytes to stand at both sides.
std::string labelled_map(const Tensor& scores, const std::string& bytes, std::size_t layer) {
  constexpr Index kCell = 11;
  constexpr Index kMargin = 34;
  const Index rows = scores.dim(2);
  const Index columns = scores.dim(3);
  std::string svg = fmt::format(
      "<div class='scroll'><svg class='map' style='width:{0}px' viewBox='0 0 {0} {1}' role='img' "
      "aria-label='layer {2}, mean of its heads'>\n"
      "<text x='{3}' y='11'>looked at</text>"
      "<text transform='translate(11 {3}) rotate(-90)' text-anchor='end'>looks</text>\n",
      kMargin + columns * kCell, kMargin + rows * kCell, layer + 1, kMargin);
  svg += fmt::format(
      "<image x='{0}' y='{0}' width='{1}' height='{2}' preserveAspectRatio='none' href='{3}'/>\n",
      kMargin, columns * kCell, rows * kCell, data_of(mean_of_heads(scores).data(), rows, columns));
  for (Index i = 0; i < columns; ++i) {
    svg += fmt::format("<text class='byte' x='{}' y='{}'>{}</text>\n",
                       kMargin + i * kCell + kCell / 2, kMargin - 5, label_of(bytes, i));
  }
  for (Index i = 0; i < rows; ++i) {
    svg += fmt::format("<text class='byte' x='{}' y='{}'>{}</text>\n", kMargin - 8,
                       kMargin + i * kCell + 9, label_of(bytes, i));
  }
  return svg + "</svg></div>\n";
}

}  // namespace

std::string attention_maps(const std::vector<Tensor>& scores, const std::string& bytes) {
  std::string html;
  for (std::size_t layer = 0; layer < scores.size(); ++layer) {
    core::require_shape("attention_maps", "scores", scores[layer], {1, -1, -1, -1});
    html += fmt::format("<h3>Layer {}</h3>\n{}<div class='maps'>\n", layer + 1,
                        labelled_map(scores[layer], bytes, layer));
    for (Index head = 0; head < scores[layer].dim(1); ++head) {
      html += picture(scores[layer], static_cast<Index>(layer), head);
    }
    html += "</div>\n";
  }
  return html;
}

}  // namespace grouphead::tools::report
