// Matrix products and einsum.

#include <algorithm>
#include <map>

#include "core/check.h"
#include "nn/operations/steps.h"
#include "nn/shapes.h"
#include "ops/matmul.h"
#include "ops/strided.h"

namespace grouphead::nn::steps {
namespace {

Index times(Index a, Index b) noexcept { return a < 0 || b < 0 ? -1 : a * b; }

Index size_of_axes(const Shape& shape, int begin, int end) {
  Index size = 1;
  for (int axis = begin; axis < end; ++axis) size = times(size, shape[axis]);
  return size;
}

ConstView turned(const ConstView& x) {
  std::vector<int> order = all_axes(x.rank());
  std::swap(order[order.size() - 1], order[order.size() - 2]);
  return ops::permuted(x, order);
}

ConstView spread(std::string_view name, const ConstView& x, const Shape& batch) {
  std::vector<Index> dims(batch.begin(), batch.end());
  dims.insert(dims.end(), {x.dim(x.rank() - 2), x.dim(x.rank() - 1)});
  return ops::broadcast_to(name, x, Shape(dims));
}

/// d_x += a b, summed over what broadcasting repeated.
void add_product(Context& ctx, const ConstView& a, const ConstView& b, const View& d_x) {
  std::vector<Index> dims(a.shape().begin(), a.shape().end());
  dims.back() = b.shape().back();
  if (d_x.shape() == Shape(dims)) return ops::matmul(ctx, a, b, ops::Write::add, d_x);
  Tensor wide = ctx.tensor(Shape(dims), d_x.dtype());
  ops::matmul(ctx, a, b, ops::Write::overwrite, wide);
  ops::sum_to(ctx, wide, 1, ops::Write::add, d_x);
}

/// The product of floating numbers of one type.
Var plain_product(Var a, Var b) {
  const std::string name = a.trace().name();
  const Shape batch = ops::broadcast_shape(name, part_of(a.shape(), 0, a.rank() - 2),
                                           part_of(b.shape(), 0, b.rank() - 2));
  std::vector<Index> dims(batch.begin(), batch.end());
  dims.insert(dims.end(), {a.dim(a.rank() - 2), b.dim(b.rank() - 1)});
  const Tensor first = a.value();
  const Tensor second = b.value();
  return a.trace().step(
      {a, b}, Shape::partial(dims), a.type(),
      [&](Context& ctx, Tensor& y) {
        ops::matmul(ctx, spread(name, first, batch), spread(name, second, batch),
                    ops::Write::overwrite, y);
      },
      [first, second, batch, name](Context& ctx, const Tensor& d_y, std::span<const View> d_x) {
        if (d_x[0].has_value()) {
          add_product(ctx, d_y, turned(spread(name, second, batch)), d_x[0]);
        }
        if (d_x[1].has_value()) {
          add_product(ctx, turned(spread(name, first, batch)), d_y, d_x[1]);
        }
      });
}

/// One operand of an einsum with a label for each axis.
struct Labelled {
  Var x;
  std::vector<int> labels;

  bool has(int label) const {
    return std::find(labels.begin(), labels.end(), label) != labels.end();
  }
  int axis_of(int label) const {
    return static_cast<int>(std::find(labels.begin(), labels.end(), label) - labels.begin());
  }
};

using Labels = std::vector<int>;

Labelled in_order(const Labelled& operand, const Labels& labels) {
  Axes order;
  for (const int label : labels) order.push_back(operand.axis_of(label));
  return {transposed(operand.x, order), labels};
}

/// Takes the diagonal where a label stands twice.
Labelled without_repeats(const Labelled& operand) {
  const Layout from = layout_of(operand.x);
  Layout kept;
  Labels labels;
  for (std::size_t i = 0; i < operand.labels.size(); ++i) {
    const auto found = std::find(labels.begin(), labels.end(), operand.labels[i]);
    if (found != labels.end()) {
      kept.strides[static_cast<std::size_t>(found - labels.begin())] += from.strides[i];
    } else {
      labels.push_back(operand.labels[i]);
      kept.push(from.dims[i], from.strides[i]);
    }
  }
  if (labels.size() == operand.labels.size()) return operand;
  return {arranged(operand.x, kept), labels};
}

template <class Keeps>
Labelled summed_but(const Labelled& operand, Keeps&& keeps) {
  Axes axes;
  Labels labels;
  for (std::size_t i = 0; i < operand.labels.size(); ++i) {
    if (keeps(operand.labels[i])) {
      labels.push_back(operand.labels[i]);
    } else {
      axes.push_back(static_cast<int>(i));
    }
  }
  if (axes.empty()) return operand;
  return {sum(operand.x, axes, false), labels};
}

/// Two operands as one; `is_kept` tells which labels are needed later.
template <class IsKept>
Labelled contracted(const Labelled& a, const Labelled& b, IsKept&& is_kept) {
  const auto first = summed_but(a, [&](int label) { return b.has(label) || is_kept(label); });
  const auto second = summed_but(b, [&](int label) { return a.has(label) || is_kept(label); });
  Labels shared, depth, rows, columns;
  for (const int label : first.labels) {
    Labels& list = !second.has(label) ? rows : is_kept(label) ? shared : depth;
    list.push_back(label);
  }
  for (const int label : second.labels) {
    if (!first.has(label)) columns.push_back(label);
  }
  const auto chain = [](Labels list, const Labels& more) {
    list.insert(list.end(), more.begin(), more.end());
    return list;
  };
  const Labelled left = in_order(first, chain(chain(shared, rows), depth));
  const Labelled right = in_order(second, chain(chain(shared, depth), columns));
  const auto n = static_cast<int>(shared.size());
  const int m = n + static_cast<int>(rows.size());
  const int k = n + static_cast<int>(depth.size());
  const Shape& l = left.x.shape();
  const Shape& r = right.x.shape();
  const Index batches = std::max(size_of_axes(l, 0, n), size_of_axes(r, 0, n));
  const Index depth_size = size_of_axes(l, m, l.rank());
  const Var product_of = product(
      reshaped(left.x, Shape::partial({batches, size_of_axes(l, n, m), depth_size})),
      reshaped(right.x,
               Shape::partial({batches, size_of_axes(r, n, k), size_of_axes(r, k, r.rank())})));
  std::vector<Index> dims(l.begin(), l.begin() + m);
  for (int axis = 0; axis < n; ++axis) {
    dims[static_cast<std::size_t>(axis)] = std::max(l[axis], r[axis]);
  }
  dims.insert(dims.end(), r.begin() + k, r.end());
  return {reshaped(product_of, Shape::partial(dims)), chain(chain(shared, rows), columns)};
}

/// Labels of an equation: letters as they are, the axes of an ellipsis as numbers from 256, which
/// count from the last one.
class Equation {
 public:
  Equation(std::string_view name, std::string_view text, std::span<const Var> operands)
      : name_(name) {
    for (const char c : text) {
      if (c != ' ') text_.push_back(c);
    }
    const std::size_t arrow = text_.find("->");
    const std::string left = text_.substr(0, arrow);
    std::size_t begin = 0;
    for (const Var& operand : operands) {
      if (begin > left.size()) refuse();
      const std::size_t end = std::min(left.find(',', begin), left.size());
      inputs_.push_back(labels_of(left.substr(begin, end - begin), operand.rank()));
      begin = end + 1;
    }
    if (begin != left.size() + 1) refuse();
    output_ =
        arrow == std::string::npos ? implied_output() : stated_output(text_.substr(arrow + 2));
  }

  const Labels& input(std::size_t i) const { return inputs_[i]; }
  const Labels& output() const { return output_; }

 private:
  static constexpr int kFirstOfEllipsis = 256;

  [[noreturn]] void refuse() const {
    core::throw_config_error(name_, "subscripts", "an equation for these operands", text_);
  }

  Labels ellipsis(int count) const {
    Labels labels;
    for (int i = count; i-- > 0;) labels.push_back(kFirstOfEllipsis + i);
    return labels;
  }

  /// With `rank` the axes that an ellipsis stands for are the rest.
  Labels labels_of(std::string_view part, int rank) {
    const std::size_t dots = part.find("...");
    const int letters = static_cast<int>(part.size()) - (dots == std::string_view::npos ? 0 : 3);
    if (letters > rank || (dots == std::string_view::npos && letters != rank)) refuse();
    num_dots_ = std::max(num_dots_, rank - letters);
    return spelled(part, dots, rank - letters);
  }

  Labels spelled(std::string_view part, std::size_t dots, int count) const {
    Labels labels;
    for (std::size_t i = 0; i < part.size(); ++i) {
      if (i == dots) {
        const Labels more = ellipsis(count);
        labels.insert(labels.end(), more.begin(), more.end());
        i += 2;
      } else if ((part[i] >= 'a' && part[i] <= 'z') || (part[i] >= 'A' && part[i] <= 'Z')) {
        labels.push_back(part[i]);
      } else {
        refuse();
      }
    }
    return labels;
  }

  Labels stated_output(std::string_view part) const {
    Labels labels = spelled(part, part.find("..."), num_dots_);
    for (std::size_t i = 0; i < labels.size(); ++i) {
      const bool is_known = std::any_of(inputs_.begin(), inputs_.end(), [&](const Labels& input) {
        return std::find(input.begin(), input.end(), labels[i]) != input.end();
      });
      if (!is_known || std::count(labels.begin(), labels.end(), labels[i]) > 1) refuse();
    }
    return labels;
  }

  /// The ellipsis, then letters that stand once, in the order of the alphabet.
  Labels implied_output() const {
    std::map<int, int> counts;
    for (const Labels& input : inputs_) {
      for (const int label : input) ++counts[label];
    }
    Labels labels = ellipsis(num_dots_);
    for (const auto& [label, count] : counts) {
      if (count == 1 && label < kFirstOfEllipsis) labels.push_back(label);
    }
    return labels;
  }

  std::string name_;
  std::string text_;
  std::vector<Labels> inputs_;
  Labels output_;
  int num_dots_ = 0;
};

/// Sizes 1 that broadcast are taken out. Errors: ShapeError for sizes that differ.
void settle_sizes(std::string_view name, std::vector<Labelled>& operands) {
  std::map<int, Index> sizes;
  for (const Labelled& operand : operands) {
    for (std::size_t i = 0; i < operand.labels.size(); ++i) {
      Index& size = sizes.try_emplace(operand.labels[i], 1).first->second;
      const Index own = operand.x.dim(static_cast<int>(i));
      if (own > 1 && size > 1 && own != size) {
        core::throw_shape_error(name, "operands", "equal sizes of one label",
                                std::to_string(size) + " and " + std::to_string(own));
      }
      if (own != 1 && size <= 1) size = own;
    }
  }
  for (Labelled& operand : operands) {
    for (std::size_t i = operand.labels.size(); i-- > 0;) {
      const bool broadcasts =
          operand.x.dim(static_cast<int>(i)) == 1 && sizes[operand.labels[i]] != 1;
      if (!broadcasts) continue;
      operand.x = squeezed(operand.x, static_cast<int>(i));
      operand.labels.erase(operand.labels.begin() + static_cast<std::ptrdiff_t>(i));
    }
  }
}

}  // namespace

Var product(Var a, Var b) {
  const OperandType types[] = {a.type(), b.type()};
  const Dtype dtype = result_type(types);
  const Index depth = b.dim(b.rank() - 2);
  if (a.dim(a.rank() - 1) >= 0 && depth >= 0 && a.dim(a.rank() - 1) != depth) {
    core::throw_shape_error(a.trace().name(), "operands", "[.., M, K] and [.., K, N]",
                            a.shape().to_string() + " and " + b.shape().to_string());
  }
  // Integers below 2^53 stay exact.
  const Dtype number = ops::is_floating(dtype) ? dtype : Dtype::f64;
  const Var first = cast(a, number);
  const Var second = cast(b, number);
  if (second.rank() > 2 || first.rank() == 2) {
    return cast(plain_product(first, second), dtype);
  }
  // The rows of all batches are those of one matrix.
  const int last = first.rank() - 1;
  const Index rows = size_of_axes(first.shape(), 0, last);
  const Var flat = reshaped(first, Shape::partial({rows, first.dim(last)}));
  const Var y = plain_product(flat, second);
  return cast(reshaped(y, with_appended_axis(without_last_axis(first.shape()), second.dim(1))),
              dtype);
}

Var einsum(std::string_view equation, std::span<const Var> operands) {
  const std::string name = operands[0].trace().name();
  const Equation labels(name, equation, operands);
  std::vector<OperandType> types;
  std::vector<Labelled> all;
  for (std::size_t i = 0; i < operands.size(); ++i) {
    types.push_back(operands[i].type());
    all.push_back({operands[i], labels.input(i)});
  }
  const Dtype dtype = result_type(types);
  for (Labelled& operand : all) operand = without_repeats({cast(operand.x, dtype), operand.labels});
  settle_sizes(name, all);
  const auto is_output = [&](int label) {
    return std::find(labels.output().begin(), labels.output().end(), label) !=
           labels.output().end();
  };
  Labelled made = all[0];
  for (std::size_t i = 1; i < all.size(); ++i) {
    made = contracted(made, all[i], [&](int label) {
      const auto later = all.begin() + static_cast<std::ptrdiff_t>(i) + 1;
      return is_output(label) || std::any_of(later, all.end(), [&](const Labelled& operand) {
               return operand.has(label);
             });
    });
  }
  made = summed_but(made, is_output);
  return cast(in_order(made, labels.output()).x, dtype);
}

}  // namespace grouphead::nn::steps
