#include "ops/batch_norm.h"

#include <cmath>
#include <vector>

#include "ops/rowwise.h"

namespace grouphead::ops {
namespace {

/// What Keras adds to the number of unmasked elements.
constexpr double kCountEpsilon = 1e-7;
/// Fewest rows of one partial sum.
constexpr Index kFewestRows = 16;

Index rows_per_sum(const Rows& rows) { return std::max(kFewestRows, rows_per_block(rows)); }

/// sums[k][c] = the sum over rows of what body(row, sums of this block [count, C]) adds.
template <class Body>
void sum_columns(Context& ctx, const Rows& rows, Index count, double* sums, Body&& body) {
  const Index block = rows_per_sum(rows);
  const Index blocks = num_blocks(rows.count, block);
  const Index width = count * rows.width;
  std::fill_n(sums, width, 0.0);
  if (blocks == 0) return;
  Tensor parts = ctx.zeros({blocks, width}, Dtype::f64);
  double* const first = parts.data<double>();
  for_blocks(ctx, rows.count, block, [&](Index begin, Index end) {
    double* const part = first + begin / block * width;
    for (Index row = begin; row < end; ++row) body(row, part);
  });
  for (Index b = 0; b < blocks; ++b) {
    for (Index i = 0; i < width; ++i) sums[i] += first[b * width + i];
  }
}

template <class F>
const F* optional_numbers(const ConstView& view) {
  return view.has_value() ? view.data<F>() : nullptr;
}

double at(const float* values, Index i, double fallback) {
  return values != nullptr ? static_cast<double>(values[i]) : fallback;
}
double at(const double* values, Index i, double fallback) {
  return values != nullptr ? values[i] : fallback;
}

/// What column_norm_* make of their vectors, for one column.
struct Column {
  double mean, rstd, stretch, shift, gamma, beta;
  double scale() const { return rstd * stretch * gamma; }
};

template <class F>
class Columns {
 public:
  Columns(std::string_view operation, const ColumnNorm& norm, Index width)
      : epsilon_(norm.epsilon),
        mean_(norm.mean.data<F>()),
        variance_(norm.variance.data<F>()),
        stretch_(optional_numbers<F>(norm.stretch)),
        shift_(optional_numbers<F>(norm.shift)),
        gamma_(optional_numbers<F>(norm.gamma)),
        beta_(optional_numbers<F>(norm.beta)) {
    for (const ConstView& vector :
         {norm.mean, norm.variance, norm.stretch, norm.shift, norm.gamma, norm.beta}) {
      if (vector.has_value()) require_elements(operation, "columns", vector, width, kDtypeOf<F>);
    }
  }

  Column operator[](Index c) const {
    return {.mean = at(mean_, c, 0),
            .rstd = 1 / std::sqrt(at(variance_, c, 0) + epsilon_),
            .stretch = at(stretch_, c, 1),
            .shift = at(shift_, c, 0),
            .gamma = at(gamma_, c, 1),
            .beta = at(beta_, c, 0)};
  }

 private:
  double epsilon_;
  const F *mean_, *variance_, *stretch_, *shift_, *gamma_, *beta_;
};

/// y = x scale + offset of rows [begin, end), by columns.
template <class F>
void apply(const Rows& rows, const F* x, const F* scale, const F* offset, Index begin, Index end,
           F* y) {
  for (Index row = begin; row < end; ++row) {
    const F* const from = x + row * rows.width;
    F* const to = y + row * rows.width;
    for (Index c = 0; c < rows.width; ++c) to[c] = from[c] * scale[c] + offset[c];
  }
}

/// d_x = d_y scale + (constant + slope (x - mean)), the second part where the mask is.
template <class F>
struct Coefficients {
  F scale, constant, slope, mean;
};

template <class F>
void add_input_gradient(const Rows& rows, const Coefficients<F>* columns, const bool* mask,
                        const F* x, const F* d_y, Index begin, Index end, F* d_x) {
  for (Index row = begin; row < end; ++row) {
    const Index first = row * rows.width;
    for (Index c = 0; c < rows.width; ++c) {
      const Coefficients<F>& by = columns[c];
      F sum = d_y[first + c] * by.scale;
      if (mask == nullptr || mask[first + c]) {
        sum += by.constant + by.slope * (x[first + c] - by.mean);
      }
      d_x[first + c] += sum;
    }
  }
}

/// sums[0] of d_y, sums[1] of d_y (x - mean), column by column.
template <class F>
void sum_gradients(Context& ctx, const Rows& rows, const F* x, const F* mean, const F* d_y,
                   double* sums) {
  const Index width = rows.width;
  sum_columns(ctx, rows, 2, sums, [&](Index row, double* part) {
    for (Index c = 0; c < width; ++c) {
      const double d = d_y[row * width + c];
      part[c] += d;
      part[width + c] += d * (static_cast<double>(x[row * width + c]) - mean[c]);
    }
  });
}

/// Adds to d_gamma and d_beta (null: not asked for) on the way.
template <class F>
std::vector<Coefficients<F>> coefficients_of(const ColumnNorm& norm, const ColumnSource& source,
                                             const double* sums, Index width, F* d_gamma,
                                             F* d_beta) {
  const Columns<F> columns("column_norm_backward", norm, width);
  const F* const counts = optional_numbers<F>(source.count);
  const double extra = source.mask.has_value() ? kCountEpsilon : 0;
  std::vector<Coefficients<F>> coefficients(static_cast<std::size_t>(width));
  for (Index c = 0; c < width; ++c) {
    const Column by = columns[c];
    const double sum = sums[c];
    const double product = sums[width + c];
    if (d_gamma != nullptr) {
      d_gamma[c] += static_cast<F>(product * by.rstd * by.stretch + sum * by.shift);
    }
    if (d_beta != nullptr) d_beta[c] += static_cast<F>(sum);
    Coefficients<F>& own = coefficients[static_cast<std::size_t>(c)];
    own = {static_cast<F>(by.scale()), 0, 0, static_cast<F>(by.mean)};
    if (counts == nullptr) continue;
    const double divisor = static_cast<double>(counts[c]) + extra;
    const double d_variance = -0.5 * product * by.scale() * by.rstd * by.rstd;
    // The masked elements' distances from `mean` sum to extra * mean.
    const double d_mean = -sum * by.scale() - 2 * d_variance * extra * by.mean / divisor;
    own.constant = static_cast<F>(d_mean / divisor);
    own.slope = static_cast<F>(2 * d_variance / divisor);
  }
  return coefficients;
}

}  // namespace

void column_moments(Context& ctx, ConstView x, ConstView mask, View mean, View variance,
                    View count) {
  constexpr std::string_view kName = "column_moments";
  const Rows rows = rows_of(kName, "x", x);
  const bool* const seen = mask.has_value() ? mask.data<bool>() : nullptr;
  if (seen != nullptr) require_elements(kName, "mask", mask, x.size(), Dtype::boolean);
  with_float_type(kName, "x", x, [&](auto zero) {
    using F = decltype(zero);
    const F* const from = x.data<F>();
    const Index width = rows.width;
    Tensor buffer = ctx.tensor({2, width}, Dtype::f64);
    double* const sums = buffer.data<double>();
    double* const counts = sums + width;
    sum_columns(ctx, rows, 2, sums, [&](Index row, double* part) {
      for (Index c = 0; c < width; ++c) {
        const bool is_seen = seen == nullptr || seen[row * width + c];
        part[c] += is_seen ? static_cast<double>(from[row * width + c]) : 0;
        part[width + c] += is_seen ? 1 : 0;
      }
    });
    const auto divisor = [&](Index c) { return counts[c] + (seen != nullptr ? kCountEpsilon : 0); };
    F* const means = mean.data<F>();
    for (Index c = 0; c < width; ++c) {
      means[c] = static_cast<F>(sums[c] / divisor(c));
      count.data<F>()[c] = static_cast<F>(counts[c]);
    }
    Tensor squares = ctx.tensor({width}, Dtype::f64);
    sum_columns(ctx, rows, 1, squares.data<double>(), [&](Index row, double* part) {
      for (Index c = 0; c < width; ++c) {
        const double off = static_cast<double>(from[row * width + c]) - means[c];
        part[c] += seen == nullptr || seen[row * width + c] ? off * off : 0;
      }
    });
    for (Index c = 0; c < width; ++c) {
      variance.data<F>()[c] = static_cast<F>(squares.data<double>()[c] / divisor(c));
    }
  });
}

void column_norm_forward(Context& ctx, const ColumnNorm& norm, ConstView x, View y) {
  constexpr std::string_view kName = "column_norm";
  const Rows rows = rows_of(kName, "x", x);
  require_elements(kName, "y", y, x.size(), x.dtype());
  with_float_type(kName, "x", x, [&](auto zero) {
    using F = decltype(zero);
    const Columns<F> columns(kName, norm, rows.width);
    Tensor buffer = ctx.tensor({2, rows.width}, kDtypeOf<F>);
    F* const scales = buffer.data<F>();
    F* const offsets = scales + rows.width;
    for (Index c = 0; c < rows.width; ++c) {
      const Column by = columns[c];
      scales[c] = static_cast<F>(by.scale());
      offsets[c] = static_cast<F>((by.shift * by.gamma + by.beta) - by.mean * by.scale());
    }
    for_row_blocks(ctx, rows, [&](Index begin, Index end) {
      apply(rows, x.data<F>(), scales, offsets, begin, end, y.data<F>());
    });
  });
}

void column_norm_backward(Context& ctx, const ColumnNorm& norm, const ColumnSource& source,
                          ConstView x, ConstView d_y, View d_x, View d_gamma, View d_beta) {
  constexpr std::string_view kName = "column_norm_backward";
  const Rows rows = rows_of(kName, "x", x);
  require_elements(kName, "d_y", d_y, x.size(), x.dtype());
  with_float_type(kName, "x", x, [&](auto zero) {
    using F = decltype(zero);
    const Index width = rows.width;
    F* const to = optional_elements<F>(kName, "d_x", d_x, x.size());
    Tensor sums = ctx.tensor({2, width}, Dtype::f64);
    sum_gradients(ctx, rows, x.data<F>(), norm.mean.data<F>(), d_y.data<F>(), sums.data<double>());
    const auto coefficients =
        coefficients_of<F>(norm, source, std::as_const(sums).data<double>(), width,
                           optional_elements<F>(kName, "d_gamma", d_gamma, width),
                           optional_elements<F>(kName, "d_beta", d_beta, width));
    if (to == nullptr) return;
    const bool* const mask = source.mask.has_value() ? source.mask.data<bool>() : nullptr;
    for_row_blocks(ctx, rows, [&](Index begin, Index end) {
      add_input_gradient(rows, coefficients.data(), mask, x.data<F>(), d_y.data<F>(), begin, end,
                         to);
    });
  });
}

namespace {

/// The entries of x [B, R, C] and the groups of its columns.
struct Groups {
  Groups(std::string_view operation, const ConstView& x, const ConstView& mean)
      : rows{x.dim(1), x.dim(2)}, entries(x.dim(0)), count(mean.dim(1)) {
    core::require_contiguous(operation, "x", x);
    require_elements(operation, "mean", mean, entries * count, x.dtype());
    width = rows.width / count;
  }

  Index elements() const { return rows.count * rows.width; }  // of an entry
  Index averaged() const { return rows.count * width; }       // of a group
  Index of_column(Index c) const { return c / width; }

  Rows rows;
  Index entries, count, width = 0;
};

/// The sum of each group's columns.
std::vector<double> group_sums(const Groups& groups, const double* columns) {
  std::vector<double> sums(static_cast<std::size_t>(groups.count));
  for (Index c = 0; c < groups.rows.width; ++c) {
    sums[static_cast<std::size_t>(groups.of_column(c))] += columns[c];
  }
  return sums;
}

/// The mean of each column's group.
template <class F>
std::vector<F> column_means(const Groups& groups, const F* mean) {
  std::vector<F> means(static_cast<std::size_t>(groups.rows.width));
  for (Index c = 0; c < groups.rows.width; ++c) {
    means[static_cast<std::size_t>(c)] = mean[groups.of_column(c)];
  }
  return means;
}

/// mean and rstd [G] of one entry; `buffer` has a number for each column.
template <class F>
void measure_groups(Context& ctx, const Groups& groups, const F* x, double epsilon, double* buffer,
                    F* mean, F* rstd) {
  const Index width = groups.rows.width;
  const auto averaged = static_cast<double>(groups.averaged());
  sum_columns(ctx, groups.rows, 1, buffer, [&](Index row, double* part) {
    for (Index c = 0; c < width; ++c) part[c] += static_cast<double>(x[row * width + c]);
  });
  const std::vector<double> sums = group_sums(groups, buffer);
  for (Index g = 0; g < groups.count; ++g) {
    mean[g] = static_cast<F>(sums[static_cast<std::size_t>(g)] / averaged);
  }
  const std::vector<F> means = column_means(groups, mean);
  sum_columns(ctx, groups.rows, 1, buffer, [&](Index row, double* part) {
    for (Index c = 0; c < width; ++c) {
      const double off =
          static_cast<double>(x[row * width + c]) - means[static_cast<std::size_t>(c)];
      part[c] += off * off;
    }
  });
  const std::vector<double> squares = group_sums(groups, buffer);
  for (Index g = 0; g < groups.count; ++g) {
    rstd[g] =
        static_cast<F>(1 / std::sqrt(squares[static_cast<std::size_t>(g)] / averaged + epsilon));
  }
}

/// What the gradients of one entry are made of, from its sums of d_y and of d_y (x - mean).
template <class F>
void fill_group_coefficients(const Groups& groups, const F* gamma, const F* mean, const F* rstd,
                             const double* sums, std::vector<Coefficients<F>>& coefficients) {
  const Index width = groups.rows.width;
  std::vector<double> scaled(static_cast<std::size_t>(2 * width));
  for (Index i = 0; i < 2 * width; ++i) {
    scaled[static_cast<std::size_t>(i)] = sums[i] * at(gamma, i % width, 1);
  }
  const std::vector<double> all = group_sums(groups, scaled.data());
  const std::vector<double> products = group_sums(groups, scaled.data() + width);
  const auto averaged = static_cast<double>(groups.averaged());
  for (Index c = 0; c < width; ++c) {
    const Index g = groups.of_column(c);
    const double r = rstd[g];
    coefficients[static_cast<std::size_t>(c)] = {
        static_cast<F>(r * at(gamma, c, 1)),
        static_cast<F>(-r * all[static_cast<std::size_t>(g)] / averaged),
        static_cast<F>(-r * r * r * products[static_cast<std::size_t>(g)] / averaged), mean[g]};
  }
}

}  // namespace

void group_norm_forward(Context& ctx, ConstView x, ConstView gamma, ConstView beta, double epsilon,
                        View y, View mean, View rstd) {
  const Groups groups("group_norm", x, mean);
  const Index width = groups.rows.width;
  with_float_type("group_norm", "x", x, [&](auto zero) {
    using F = decltype(zero);
    const F* const gains = optional_numbers<F>(gamma);
    const F* const shifts = optional_numbers<F>(beta);
    Tensor buffer = ctx.tensor({width}, Dtype::f64);
    Tensor columns = ctx.tensor({2, width}, kDtypeOf<F>);
    F* const scale = columns.data<F>();
    F* const offset = scale + width;
    for (Index entry = 0; entry < groups.entries; ++entry) {
      const F* const from = x.data<F>() + entry * groups.elements();
      F* const to = y.data<F>() + entry * groups.elements();
      F* const means = mean.data<F>() + entry * groups.count;
      F* const rstds = rstd.data<F>() + entry * groups.count;
      measure_groups(ctx, groups, from, epsilon, buffer.data<double>(), means, rstds);
      for (Index c = 0; c < width; ++c) {
        const double by = at(gains, c, 1) * static_cast<double>(rstds[groups.of_column(c)]);
        scale[c] = static_cast<F>(by);
        offset[c] =
            static_cast<F>(at(shifts, c, 0) - static_cast<double>(means[groups.of_column(c)]) * by);
      }
      for_row_blocks(ctx, groups.rows, [&](Index begin, Index end) {
        apply(groups.rows, from, scale, offset, begin, end, to);
      });
    }
  });
}

void group_norm_backward(Context& ctx, ConstView x, ConstView gamma, ConstView mean, ConstView rstd,
                         ConstView d_y, View d_x, View d_gamma, View d_beta) {
  const Groups groups("group_norm_backward", x, mean);
  const Index width = groups.rows.width;
  with_float_type("group_norm_backward", "x", x, [&](auto zero) {
    using F = decltype(zero);
    const F* const gains = optional_numbers<F>(gamma);
    Tensor buffer = ctx.tensor({2, width}, Dtype::f64);
    double* const sums = buffer.data<double>();
    std::vector<Coefficients<F>> coefficients(static_cast<std::size_t>(width));
    for (Index entry = 0; entry < groups.entries; ++entry) {
      const F* const from = x.data<F>() + entry * groups.elements();
      const F* const d = d_y.data<F>() + entry * groups.elements();
      const F* const means = mean.data<F>() + entry * groups.count;
      const F* const rstds = rstd.data<F>() + entry * groups.count;
      sum_gradients(ctx, groups.rows, from, column_means(groups, means).data(), d, sums);
      for (Index c = 0; c < width; ++c) {
        if (d_beta.has_value()) d_beta.data<F>()[c] += static_cast<F>(sums[c]);
        if (!d_gamma.has_value()) continue;
        d_gamma.data<F>()[c] +=
            static_cast<F>(sums[width + c] * static_cast<double>(rstds[groups.of_column(c)]));
      }
      if (!d_x.has_value()) continue;
      fill_group_coefficients(groups, gains, means, rstds, sums, coefficients);
      F* const to = d_x.data<F>() + entry * groups.elements();
      for_row_blocks(ctx, groups.rows, [&](Index begin, Index end) {
        add_input_gradient(groups.rows, coefficients.data(), static_cast<const bool*>(nullptr),
                           from, d, begin, end, to);
      });
    }
  });
}

void renorm_corrections(ConstView mean, ConstView deviation, ConstView moving_mean,
                        ConstView moving_deviation, double epsilon, const RenormLimits& limits,
                        View stretch, View shift) {
  with_float_type("renorm", "mean", mean, [&](auto zero) {
    using F = decltype(zero);
    for (Index c = 0; c < mean.size(); ++c) {
      const double moving =
          std::max<double>(moving_deviation.data<F>()[c], static_cast<F>(std::sqrt(epsilon)));
      const double r = static_cast<double>(deviation.data<F>()[c]) / moving;
      const double d = (static_cast<double>(mean.data<F>()[c]) - moving_mean.data<F>()[c]) / moving;
      stretch.data<F>()[c] = static_cast<F>(std::min(std::max(r, limits.rmin), limits.rmax));
      shift.data<F>()[c] = static_cast<F>(std::clamp(d, -limits.dmax, limits.dmax));
    }
  });
}

void deviations(ConstView x, double a, View y) {
  with_float_type("deviations", "x", x, [&](auto zero) {
    using F = decltype(zero);
    for (Index i = 0; i < x.size(); ++i) {
      y.data<F>()[i] = static_cast<F>(std::sqrt(x.data<F>()[i] + a));
    }
  });
}

void variances(ConstView x, double a, View y) {
  with_float_type("variances", "x", x, [&](auto zero) {
    using F = decltype(zero);
    for (Index i = 0; i < x.size(); ++i) {
      const double deviation = x.data<F>()[i];
      y.data<F>()[i] = static_cast<F>(std::max(deviation * deviation - a, 0.0));
    }
  });
}

}  // namespace grouphead::ops
