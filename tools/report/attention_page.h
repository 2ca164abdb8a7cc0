#pragma once

#include <string>
#include <vector>

#include "grouphead/core/tensor.h"

namespace grouphead::tools::report {

/// attention_page.html
extern const char* const kAttentionPage;

/// A page that shows which tokens of a text look at which, in every layer and head. Of each row it
/// keeps the greatest shares, as many as fit into some megabytes.
class AttentionPage {
 public:
  struct Facts {
    std::string title{};                ///< of the model
    std::vector<std::string> tokens{};  ///< as they are shown; 1 to kMostTokens
    Index num_layers = 0;
    Index num_heads = 0;
    bool is_causal = true;
  };
  static constexpr Index kMostTokens = 65535;

  explicit AttentionPage(Facts facts);
  /// Of the next layer: [1, H, T, T], f32 or f64. Errors: ShapeError.
  void add(const Tensor& scores);
  /// After all layers. Self-contained.
  std::string html() const;

 private:
  template <class F>
  void add_row(const F* shares);

  Facts facts_;
  Index kept_;  // entries of a row, at most
  std::string entries_;
  std::vector<Index> order_;
};

}  // namespace grouphead::tools::report
