// Losses whose rows are no vectors of their own: a sequence of logits, or one embedding of a set.
// Both compute in double. Sources: Graves et al. 2006, "Connectionist temporal classification", in
// the form of keras.ops.ctc_loss; Sun et al. 2020, arXiv:2002.10857.

#include <vector>

#include "ops/loss_rows.h"

namespace grouphead::ops {
namespace {

constexpr double kNever = -1e5;  // Keras's logarithm of what must not be

double log_add(double a, double b) noexcept {
  const double high = std::max(a, b);
  return high + std::log1p(std::exp(std::min(a, b) - high));
}

// ---- Connectionist temporal classification -----------------------------------------------------

/// One sample: T rows of logits against N labels. After step t, `blank(t, n)` is the logarithm of
/// the probability of all ways through the first n labels that end in a blank or at the start, and
/// `label(t, n)` of those that end in label n.
class CtcSample {
 public:
  template <class F>
  CtcSample(const F* logits, Index steps, Index classes, const std::int32_t* labels, Index width)
      : steps_(steps), classes_(classes), labels_(labels), width_(width) {
    for (Index i = 0; i < width; ++i) num_labels_ += labels[i] != 0 ? 1 : 0;
    log_p_.reserve(static_cast<std::size_t>(steps * classes));
    for (Index t = 0; t < steps; ++t) add_log_softmax(logits + t * classes);
    blank_.assign(static_cast<std::size_t>((steps + 1) * (num_labels_ + 1)), kNever);
    label_.assign(static_cast<std::size_t>((steps + 1) * num_labels_), kNever);
    blank(0, 0) = 0;
    for (Index t = 0; t < steps; ++t) step(t);
  }

  double value() const { return -(num_labels_ == 0 ? blank(steps_, 0) : ends()); }

  /// d = weight times the gradient, [T, C].
  template <class F>
  void gradient(double weight, F* d) {
    std::vector<double> d_blank(static_cast<std::size_t>(num_labels_ + 1), 0);
    std::vector<double> d_label(static_cast<std::size_t>(num_labels_), 0);
    const auto n = static_cast<std::size_t>(num_labels_);
    d_blank[n] = -weight;
    if (n > 0) {
      d_label[n - 1] = -weight * std::exp(label(steps_, num_labels_ - 1) - ends());
      d_blank[n] = -weight * std::exp(blank(steps_, num_labels_) - ends());
    }
    std::vector<double> d_log_p(static_cast<std::size_t>(classes_));
    for (Index t = steps_ - 1; t >= 0; --t) {
      std::fill(d_log_p.begin(), d_log_p.end(), 0);
      step_back(t, d_blank, d_label, d_log_p);
      double sum = 0;
      for (const double one : d_log_p) sum += one;
      for (Index c = 0; c < classes_; ++c) {
        d[t * classes_ + c] =
            static_cast<F>(d_log_p[static_cast<std::size_t>(c)] - std::exp(log_p(t, c)) * sum);
      }
    }
  }

 private:
  double& blank(Index t, Index n) {
    return blank_[static_cast<std::size_t>(t * (num_labels_ + 1) + n)];
  }
  double& label(Index t, Index n) { return label_[static_cast<std::size_t>(t * num_labels_ + n)]; }
  double blank(Index t, Index n) const {
    return blank_[static_cast<std::size_t>(t * (num_labels_ + 1) + n)];
  }
  double label(Index t, Index n) const {
    return label_[static_cast<std::size_t>(t * num_labels_ + n)];
  }
  double log_p(Index t, Index c) const {
    return log_p_[static_cast<std::size_t>(t * classes_ + c)];
  }
  double ends() const {
    return log_add(blank(steps_, num_labels_), label(steps_, num_labels_ - 1));
  }
  bool repeats(Index n) const { return n + 1 < width_ && labels_[n] == labels_[n + 1]; }
  /// From a label to the next one without a blank, and with one: what is allowed costs nothing.
  double straight(Index n) const { return repeats(n) ? kNever : 0; }
  double by_blank(Index n) const { return repeats(n) ? 0 : kNever; }

  template <class F>
  void add_log_softmax(const F* logits) {
    const double highest = static_cast<double>(*std::max_element(logits, logits + classes_));
    double sum = 0;
    for (Index c = 0; c < classes_; ++c) sum += std::exp(static_cast<double>(logits[c]) - highest);
    const double shift = highest + std::log(sum);
    for (Index c = 0; c < classes_; ++c) log_p_.push_back(static_cast<double>(logits[c]) - shift);
  }

  /// What stands before label n at the beginning of a step.
  double before(Index t, Index n) const {
    return n == 0 ? blank(t, 0) : log_add(blank(t, n), label(t, n - 1) + straight(n - 1));
  }

  void step(Index t) {
    for (Index n = 0; n <= num_labels_; ++n) {
      const double stays = before(t, n) + log_p(t, 0);
      blank(t + 1, n) =
          n == 0 ? stays : log_add(stays, label(t, n - 1) + log_p(t, 0) + by_blank(n - 1));
      if (n == num_labels_) continue;
      label(t + 1, n) = log_add(before(t, n), label(t, n)) + log_p(t, labels_[n]);
    }
  }

  /// The gradients of the state after step t become those of the state before it.
  void step_back(Index t, std::vector<double>& d_blank, std::vector<double>& d_label,
                 std::vector<double>& d_log_p) const {
    std::vector<double> blank_before(d_blank.size(), 0);
    std::vector<double> label_before(d_label.size(), 0);
    for (Index n = 0; n <= num_labels_; ++n) {
      const auto at = static_cast<std::size_t>(n);
      const double start = before(t, n);
      double d_start = 0;
      const double d = d_blank[at];
      d_log_p[0] += d;
      const double stays = start + log_p(t, 0);
      d_start += d * std::exp(stays - blank(t + 1, n));
      if (n > 0) {
        const double comes = label(t, n - 1) + log_p(t, 0) + by_blank(n - 1);
        label_before[at - 1] += d * std::exp(comes - blank(t + 1, n));
      }
      if (n < num_labels_) {
        const double joint = label(t + 1, n) - log_p(t, labels_[n]);
        d_log_p[static_cast<std::size_t>(labels_[n])] += d_label[at];
        d_start += d_label[at] * std::exp(start - joint);
        label_before[at] += d_label[at] * std::exp(label(t, n) - joint);
      }
      blank_before[at] += d_start * std::exp(blank(t, n) - start);
      if (n > 0) {
        label_before[at - 1] += d_start * std::exp(label(t, n - 1) + straight(n - 1) - start);
      }
    }
    d_blank = std::move(blank_before);
    d_label = std::move(label_before);
  }

  Index steps_;
  Index classes_;
  const std::int32_t* labels_;
  Index width_;
  Index num_labels_ = 0;
  std::vector<double> log_p_;  // [T, C]
  std::vector<double> blank_;  // [T + 1, N + 1]
  std::vector<double> label_;  // [T + 1, N]
};

double weight_of(const LossRows& rows, Index row) {
  return rows.weights.has_value() ? rows.weights.data<double>()[row] : rows.scale;
}

template <class F>
void ctc(Context& ctx, const LossRows& rows) {
  const Rows size = rows_of("ctc", "prediction", rows.prediction);
  const Index labels = rows.target.dim(1);
  for_row_blocks(ctx, size, [&](Index begin, Index end) {
    for (Index r = begin; r < end; ++r) {
      CtcSample sample(rows.prediction.data<F>() + r * size.width, size.width / rows.classes,
                       rows.classes, rows.target.data<std::int32_t>() + r * labels, labels);
      rows.values.data<F>()[r] = static_cast<F>(sample.value());
      if (!rows.d_prediction.has_value()) continue;
      F* d = rows.d_prediction.data<F>() + r * size.width;
      const double weight = weight_of(rows, r);
      std::fill_n(d, size.width, F{0});
      if (weight != 0) sample.gradient(weight, d);
    }
  });
}

// ---- Circle loss -------------------------------------------------------------------------------

/// A sum of exponentials as it grows: sum = exp(highest) scaled.
struct LogSum {
  double highest = -std::numeric_limits<double>::infinity();
  double scaled = 0;
  void add(double x) {
    if (x > highest) {
      scaled = scaled * std::exp(highest - x) + 1;
      highest = x;
    } else {
      scaled += std::exp(x - highest);
    }
  }
  double value() const { return highest + std::log(scaled); }
};

/// One pair's exponent and its slope in their distance.
struct Pair {
  double exponent;
  double slope;
};
Pair pair_of(bool is_positive, double distance, const CircleOptions& options) noexcept {
  const double m = options.margin;
  if (is_positive) {
    const bool counts = m + distance > 0;
    return {counts ? -options.gamma * (m + distance) * (m - distance) : 0,
            counts ? 2 * options.gamma * distance : 0};
  }
  const double weight = 1 + m - distance;
  if (weight <= 0) return {0, 0};
  return {options.gamma * weight * (1 - m - distance), -options.gamma * (2 - 2 * distance)};
}

template <class F>
double dot(const F* a, const F* b, Index width) {
  double sum = 0;
  for (Index i = 0; i < width; ++i) sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return sum;
}

/// Row r: its loss, and in `slopes` [B] the loss's slope in each product of embeddings, where
/// wanted.
template <class F>
double circle_row(const LossRows& rows, const Rows& size, Index r, const CircleOptions& options,
                  double* slopes) {
  const auto* labels = rows.target.data<std::int32_t>();
  const F* x = rows.prediction.data<F>();
  LogSum sums[2];
  const auto for_pairs = [&](const auto& body) {
    for (Index j = 0; j < size.count; ++j) {
      const bool is_positive = labels[r] == labels[j];
      if (is_positive && r == j && options.remove_diagonal) continue;
      const double apart = 1 - dot(x + r * size.width, x + j * size.width, size.width);
      // At 0 Keras's maximum has half the slope.
      const double passes = apart > 0 ? 1 : apart == 0 ? 0.5 : 0;
      body(j, is_positive, passes, pair_of(is_positive, std::max(apart, 0.0), options));
    }
  };
  for_pairs([&](Index, bool is_positive, double, const Pair& pair) {
    sums[is_positive ? 1 : 0].add(pair.exponent);
  });
  const double z = sums[0].value() + sums[1].value();
  if (slopes != nullptr && z > -std::numeric_limits<double>::infinity()) {
    const double slope = loss_sigmoid(z);
    for_pairs([&](Index j, bool is_positive, double passes, const Pair& pair) {
      const double share = std::exp(pair.exponent - sums[is_positive ? 1 : 0].value());
      slopes[j] = -slope * share * pair.slope * passes;
    });
  }
  return std::max(z, 0.0) + std::log1p(std::exp(-std::abs(z)));
}

template <class F>
void circle(Context& ctx, const LossRows& rows, const CircleOptions& options) {
  const Rows size = rows_of("circle", "prediction", rows.prediction);
  const bool has_gradient = rows.d_prediction.has_value();
  Tensor held;  // [B, B]: the slope of the loss of row i in the product of i and j
  if (has_gradient) {
    held = ctx.tensor({size.count, size.count}, Dtype::f64);
    fill_zero(held);
  }
  double* slopes = has_gradient ? held.data<double>() : nullptr;
  for_row_blocks(ctx, size, [&](Index begin, Index end) {
    for (Index r = begin; r < end; ++r) {
      const double weight = has_gradient ? weight_of(rows, r) : 0;
      double* row = weight != 0 ? slopes + r * size.count : nullptr;
      rows.values.data<F>()[r] = static_cast<F>(circle_row<F>(rows, size, r, options, row));
      for (Index j = 0; row != nullptr && j < size.count; ++j) row[j] *= weight;
    }
  });
  if (!has_gradient) return;
  const F* x = rows.prediction.data<F>();
  for_row_blocks(ctx, size, [&](Index begin, Index end) {
    std::vector<double> sum(static_cast<std::size_t>(size.width));
    for (Index r = begin; r < end; ++r) {
      std::fill(sum.begin(), sum.end(), 0);
      for (Index j = 0; j < size.count; ++j) {
        const double slope = slopes[r * size.count + j] + slopes[j * size.count + r];
        for (Index i = 0; slope != 0 && i < size.width; ++i) {
          sum[static_cast<std::size_t>(i)] += slope * static_cast<double>(x[j * size.width + i]);
        }
      }
      F* d = rows.d_prediction.data<F>() + r * size.width;
      for (Index i = 0; i < size.width; ++i)
        d[i] = static_cast<F>(sum[static_cast<std::size_t>(i)]);
    }
  });
}

}  // namespace

void ctc_loss(Context& ctx, const LossRows& rows) {
  constexpr std::string_view kName = "ctc";
  check_loss_rows(kName, rows, rows.target.size(), Dtype::i32);
  require_indices(kName, "target", rows.target, rows.classes);
  with_float_type(kName, "prediction", rows.prediction,
                  [&](auto zero) { ctc<decltype(zero)>(ctx, rows); });
}

void circle_loss(Context& ctx, const LossRows& rows, const CircleOptions& options) {
  constexpr std::string_view kName = "circle";
  check_loss_rows(kName, rows, rows.prediction.dim(0), Dtype::i32);
  with_float_type(kName, "prediction", rows.prediction,
                  [&](auto zero) { circle<decltype(zero)>(ctx, rows, options); });
}

}  // namespace grouphead::ops
