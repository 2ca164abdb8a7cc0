#include "nn/operations/trace.h"

#include "ops/convert.h"
#include "ops/strided.h"

namespace grouphead::nn {

const Shape& Var::shape() const { return trace_->entries_[place_].shape; }
const OperandType& Var::type() const { return trace_->entries_[place_].type; }
const Tensor& Var::value() const { return trace_->entries_[place_].value; }

Var Trace::add(Entry entry) {
  entries_.push_back(std::move(entry));
  return {this, entries_.size() - 1};
}

Var Trace::given(const Tensor& tensor, const OperandType& type) {
  Entry entry;
  entry.shape = tensor.shape();
  entry.type = type;
  if (computes()) entry.value = numbers_as(*ctx_, tensor, type.dtype);
  return add(std::move(entry));
}

Var Trace::given(const Shape& shape, const OperandType& type) {
  Entry entry;
  entry.shape = shape;
  entry.type = type;
  return add(std::move(entry));
}

Var Trace::step(std::initializer_list<Var> from, const Shape& shape, const OperandType& type,
                const Compute& compute, Back back) {
  return step(std::span<const Var>(from.begin(), from.size()), shape, type, compute,
              std::move(back));
}

Var Trace::step(std::span<const Var> from, const Shape& shape, const OperandType& type,
                const Compute& compute, Back back) {
  Entry entry;
  entry.shape = shape;
  entry.type = type;
  if (computes()) {
    entry.value = ctx_->tensor(shape, arithmetic_type(type.dtype));
    compute(*ctx_, entry.value);
  }
  if (keeps_ && ops::is_floating(type.dtype) && back != nullptr) {
    for (const Var& var : from) entry.from.push_back(var.place_);
    entry.back = std::move(back);
  }
  return add(std::move(entry));
}

Var Trace::alias(Var x, const Shape& shape, Back back) {
  Entry entry;
  entry.shape = shape;
  entry.type = x.type();
  if (computes()) entry.value = x.value().reshaped(shape);
  if (keeps_ && ops::is_floating(x.dtype())) {
    entry.from.push_back(x.place_);
    entry.back = std::move(back);
  }
  return add(std::move(entry));
}

void Trace::finish() noexcept {
  for (Entry& entry : entries_) entry.value = Tensor();
}

void Trace::find_wanted(std::span<const Var> operands, std::span<const View> d_in) {
  for (std::size_t i = 0; i < operands.size() && i < d_in.size(); ++i) {
    if (!operands[i].has_value() || !d_in[i].has_value()) continue;
    Entry& entry = entries_[operands[i].place_];
    entry.is_wanted = ops::is_floating(entry.type.dtype);
  }
  for (Entry& entry : entries_) {
    for (const std::size_t from : entry.from) {
      entry.is_wanted = entry.is_wanted || entries_[from].is_wanted;
    }
  }
}

View Trace::gradient_of(Context& ctx, std::size_t place) {
  Entry& entry = entries_[place];
  if (!entry.is_wanted) return {};
  if (!entry.gradient.has_value()) {
    entry.gradient = ctx.zeros(entry.shape, arithmetic_type(entry.type.dtype));
  }
  return entry.gradient;
}

void Trace::backward(Context& ctx, std::span<const Var> results, std::span<const ConstView> d_out,
                     std::span<const Var> operands, std::span<View> d_in) {
  find_wanted(operands, d_in);
  for (std::size_t i = 0; i < results.size() && i < d_out.size(); ++i) {
    const View sum = gradient_of(ctx, results[i].place_);
    if (!sum.has_value() || !d_out[i].has_value()) continue;
    Tensor wide = ctx.tensor(sum.shape(), sum.dtype());
    ops::cast(ctx, d_out[i], wide);
    ops::add_elements(ctx, wide, sum);
  }
  std::vector<View> d_from;
  for (std::size_t place = entries_.size(); place-- > 0;) {
    Entry& entry = entries_[place];
    if (entry.back == nullptr || !entry.gradient.has_value()) continue;
    d_from.clear();
    for (const std::size_t from : entry.from) d_from.push_back(gradient_of(ctx, from));
    entry.back(ctx, entry.gradient, d_from);
    entry.back = nullptr;
    entry.gradient = Tensor();
  }
  for (std::size_t i = 0; i < operands.size() && i < d_in.size(); ++i) {
    if (!operands[i].has_value() || !d_in[i].has_value()) continue;
    const Tensor& gradient = entries_[operands[i].place_].gradient;
    if (gradient.has_value()) ops::add_elements(ctx, gradient, d_in[i]);
  }
}

}  // namespace grouphead::nn
