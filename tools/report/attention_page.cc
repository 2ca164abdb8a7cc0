#include "tools/report/attention_page.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <string_view>
#include <utility>

#include "core/check.h"
#include "io/json.h"
#include "tools/report/base64.h"
#include "tools/report/chart.h"

namespace grouphead::tools::report {
namespace {

constexpr Index kWhole = 65535;  // a share of 1

void append_number(std::string& bytes, Index value) {
  bytes += static_cast<char>(value & 0xff);
  bytes += static_cast<char>(value >> 8 & 0xff);
}

template <class F>
Index rounded(F share) {
  const double value = static_cast<double>(share);
  return std::isfinite(value) ? std::lround(std::clamp(value, 0.0, 1.0) * double{kWhole}) : 0;
}

/// Inside a script element nothing may look like its end.
std::string without_tags(std::string json) {
  for (std::size_t at = 0; (at = json.find('<', at)) != std::string::npos;) {
    json.replace(at, 1, "\\u003c");
  }
  return json;
}

}  // namespace

AttentionPage::AttentionPage(Facts facts) : facts_(std::move(facts)) {
  constexpr Index kMostEntries = Index{1} << 21;
  constexpr Index kFewestOfRow = 8;
  const auto count = static_cast<Index>(facts_.tokens.size());
  const Index rows = facts_.num_layers * facts_.num_heads * count;
  kept_ = std::min(count, std::max(kMostEntries / rows, kFewestOfRow));
  order_.resize(facts_.tokens.size());
}

// How many entries there are, then the key and the share of each, greatest first.
template <class F>
void AttentionPage::add_row(const F* shares) {
  std::iota(order_.begin(), order_.end(), Index{0});
  std::partial_sort(order_.begin(), order_.begin() + kept_, order_.end(), [&](Index a, Index b) {
    return std::pair(-rounded(shares[a]), a) < std::pair(-rounded(shares[b]), b);
  });
  const auto end = std::find_if(order_.begin(), order_.begin() + kept_,
                                [&](Index key) { return rounded(shares[key]) == 0; });
  append_number(entries_, end - order_.begin());
  for (auto key = order_.begin(); key != end; ++key) {
    append_number(entries_, *key);
    append_number(entries_, rounded(shares[*key]));
  }
}

void AttentionPage::add(const Tensor& scores) {
  const auto count = static_cast<Index>(facts_.tokens.size());
  core::require_shape("attention_page", "scores", scores, {1, facts_.num_heads, count, count});
  for (Index row = 0; row < facts_.num_heads * count; ++row) {
    if (scores.dtype() == Dtype::f64) {
      add_row(scores.data<double>() + row * count);
    } else {
      add_row(scores.data<float>() + row * count);
    }
  }
}

std::string AttentionPage::html() const {
  const bool is_cut = kept_ < static_cast<Index>(facts_.tokens.size());
  const ConfigValue facts =
      ConfigValue::Object{{"tokens", ConfigValue::List(facts_.tokens.begin(), facts_.tokens.end())},
                          {"layers", facts_.num_layers},
                          {"heads", facts_.num_heads},
                          {"causal", facts_.is_causal},
                          {"kept", is_cut ? ConfigValue(kept_) : ConfigValue()}};
  const std::pair<std::string_view, std::string> values[] = {
      {"title", escape_html(facts_.title)},
      {"facts", without_tags(io::json_text(facts, -1, io::OtherBytes::replaced))},
      {"entries", base64(entries_)}};
  std::string html;
  std::string_view rest = kAttentionPage;
  for (std::size_t begin; (begin = rest.find("{{")) != std::string_view::npos;) {
    const std::size_t end = rest.find("}}", begin);
    html += rest.substr(0, begin);
    for (const auto& [name, value] : values) {
      if (rest.substr(begin + 2, end - begin - 2) == name) html += value;
    }
    rest.remove_prefix(end + 2);
  }
  return html.append(rest);
}

}  // namespace grouphead::tools::report
