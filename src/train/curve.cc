#include "train/curve.h"

#include <algorithm>
#include <string>

#include "core/check.h"

namespace grouphead::train {
namespace {

constexpr Index kMostThresholds = 1 << 20;

}  // namespace

void Curve::add(bool is_true, double prediction, double weight) {
  const auto above = static_cast<std::size_t>(
      std::lower_bound(thresholds_.begin(), thresholds_.end(), prediction) - thresholds_.begin());
  Confusion& bucket = counts_[above == 0 ? 0 : above - 1];
  (is_true ? positives_ : negatives_) += weight;
  if (above > 0) (is_true ? bucket.true_positives : bucket.false_positives) += weight;
}

std::vector<Confusion> Curve::confusions() const {
  std::vector<Confusion> all(counts_);
  for (std::size_t i = all.size(); i > 0; --i) {
    Confusion& one = all[i - 1];
    if (i < all.size()) {
      one.true_positives += all[i].true_positives;
      one.false_positives += all[i].false_positives;
    }
    one.false_negatives = positives_ - one.true_positives;
    one.true_negatives = negatives_ - one.false_positives;
  }
  return all;
}

void Curve::append_sums(std::vector<std::span<double>>& sums) {
  for (Confusion& counts : counts_) {
    for (const std::span<double> count : counts.sums()) sums.push_back(count);
  }
  sums.insert(sums.end(), {{&positives_, 1}, {&negatives_, 1}});
}

void Curve::reset() {
  std::fill(counts_.begin(), counts_.end(), Confusion{});
  positives_ = negatives_ = 0;
}

std::vector<double> even_thresholds(std::string_view metric, Index n, Index least) {
  if (n < least || n > kMostThresholds) {
    core::throw_config_error(metric, "num_thresholds",
                             std::to_string(least) + " to " + std::to_string(kMostThresholds),
                             std::to_string(n));
  }
  if (n == 1) return {0.5};
  std::vector<double> thresholds(static_cast<std::size_t>(n));
  for (std::size_t i = 0; i < thresholds.size(); ++i) {
    thresholds[i] = static_cast<double>(i) / static_cast<double>(n - 1);
  }
  return thresholds;
}

}  // namespace grouphead::train
