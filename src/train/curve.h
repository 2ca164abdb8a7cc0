#pragma once

// Counts of true and false, positive and negative, at one threshold and at many.

#include <span>
#include <string_view>
#include <vector>

#include "grouphead/core/tensor.h"

namespace grouphead::train {

inline double quotient(double a, double b) noexcept { return b == 0 ? 0 : a / b; }  // divide_no_nan

struct Confusion {
  double true_positives = 0, false_positives = 0, true_negatives = 0, false_negatives = 0;

  void add(bool is_true, bool is_positive, double weight) noexcept {
    double& count = is_true ? (is_positive ? true_positives : false_negatives)
                            : (is_positive ? false_positives : true_negatives);
    count += weight;
  }
  double precision() const { return quotient(true_positives, true_positives + false_positives); }
  double recall() const { return quotient(true_positives, true_positives + false_negatives); }
  double specificity() const { return quotient(true_negatives, true_negatives + false_positives); }
  std::vector<std::span<double>> sums() {
    return {
        {&true_positives, 1}, {&false_positives, 1}, {&true_negatives, 1}, {&false_negatives, 1}};
  }
  double false_rate() const { return quotient(false_positives, false_positives + true_negatives); }
};

/// Counts at ascending thresholds.
class Curve {
 public:
  explicit Curve(std::vector<double> thresholds)
      : thresholds_(std::move(thresholds)), counts_(thresholds_.size()) {}

  void add(bool is_true, double prediction, double weight);
  /// At each threshold, predictions above it being positive.
  std::vector<Confusion> confusions() const;
  void reset();
  void append_sums(std::vector<std::span<double>>& sums);

 private:
  std::vector<double> thresholds_;
  std::vector<Confusion> counts_;  // of predictions between a threshold and the next
  double positives_ = 0;
  double negatives_ = 0;
};

/// n numbers from 0 to 1; of fewer than 2, 1/2. Errors: ConfigError for fewer than `least`, and for
/// more than a file may ask for.
std::vector<double> even_thresholds(std::string_view metric, Index n, Index least);

}  // namespace grouphead::train
