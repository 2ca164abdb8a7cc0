#pragma once

// One query of the reference kernels.

#include <cmath>
#include <limits>

#include "kernels/attention/problem.h"

namespace grouphead::kernels {

template <class F>
constexpr F kReferenceLog2E = static_cast<F>(1.44269504088896340736);

/// What one query sees, and what is added to its products.
template <class F>
class ReferenceQuery {
 public:
  ReferenceQuery(const AttentionProblem<F>& p, Index bn, Index r) noexcept
      : p_(p), b_(bn / p.Hkv), n_(bn % p.Hkv), r_(r), begin_(p.begin(r)), limit_(p.limit(r)) {
    fully_masked_ = p.fully_masked.data != nullptr && *p.grid_row(p.fully_masked, b_, n_, r) != 0;
  }
  /// The keys of [begin, end) that causality and window let it see.
  Range within(Index begin, Index end) const noexcept {
    return fully_masked_ ? Range{begin, end} : Range{max(begin, begin_), min(end, limit_)};
  }
  /// Sees nothing, and attends to every key alike.
  bool fully_masked() const noexcept { return fully_masked_; }
  bool attends(Index s) const noexcept {
    if (fully_masked_) return true;
    if (s < begin_ || s >= limit_) return false;
    for (Index i = 0; i < p_.num_masks; ++i) {
      if (p_.grid_row(p_.masks[i], b_, n_, r_)[s * p_.masks[i].key] == 0) return false;
    }
    return p_.bias.data == nullptr || bias(s) != -std::numeric_limits<F>::infinity();
  }
  /// In base 2, from scaled_product(). A finite bias hides nothing, though in base 2 it may be
  /// beyond the range.
  F logit(F product, Index s) const noexcept {
    if (fully_masked_) return 0;
    if (p_.softcap > 0) product = cap() * std::tanh(product / cap());
    if (p_.slopes != nullptr) {
      const Index distance = r_ / p_.group() + p_.causal_offset - s;
      product -=
          kReferenceLog2E<F> * p_.slopes[p_.head(n_, r_)] * std::abs(static_cast<F>(distance));
    }
    if (p_.bias.data == nullptr) return product;
    constexpr F kLowest = std::numeric_limits<F>::lowest();
    const F sum = product + kReferenceLog2E<F> * bias(s);
    return sum < kLowest ? kLowest : sum;  // NaN stays
  }
  /// The derivative of logit() by the product.
  F slope(F product) const noexcept {
    if (!(p_.softcap > 0)) return 1;
    const F bent = std::tanh(product / cap());
    return 1 - bent * bent;
  }
  /// What dropout multiplies a probability with.
  F kept(Index s) const noexcept {
    if (!p_.dropout.active) return 1;
    const Index element = p_.element(p_.statistic(b_, n_, r_), s);
    return p_.dropout.rule.keeps(static_cast<std::uint64_t>(element)) ? p_.dropout.scale : F{0};
  }

 private:
  F cap() const noexcept { return p_.softcap * kReferenceLog2E<F>; }  // in base 2
  F bias(Index s) const noexcept { return p_.grid_row(p_.bias, b_, n_, r_)[s * p_.bias.key]; }

  const AttentionProblem<F>& p_;
  Index b_, n_, r_, begin_, limit_;
  bool fully_masked_;
};

}  // namespace grouphead::kernels
