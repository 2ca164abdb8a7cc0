#include "nn/low_rank.h"

#include <algorithm>

#include "core/check.h"
#include "core/number_text.h"
#include "nn/loading_scope.h"
#include "nn/quantized_numbers.h"
#include "ops/arithmetic.h"
#include "ops/convert.h"
#include "ops/linear.h"

namespace grouphead::nn {
namespace {

constexpr std::string_view kOperation = "enable_lora";
constexpr Index kLeastLimit = 64;  // ranks up to here are taken for any sizes

/// product = a b of a [rows, rank] and b [rank, columns].
template <class T>
void multiply(Index rows, Index rank, Index columns, const T* a, const T* b, T* product) {
  std::fill_n(product, rows * columns, T{0});
  for (Index row = 0; row < rows; ++row) {
    T* const out = product + row * columns;
    for (Index k = 0; k < rank; ++k) {
      const T factor = a[row * rank + k];
      const T* const from = b + k * columns;
      for (Index j = 0; j < columns; ++j) out[j] += factor * from[j];
    }
  }
}

/// sum = round(sum + round(scale product)).
template <class T>
void add_scaled(View product, double scale, Dtype compute, View sum) {
  T* const change = product.data<T>();
  const Index count = product.size();
  for (Index i = 0; i < count; ++i) change[i] *= static_cast<T>(scale);
  ops::convert_rounded(product, compute, product);
  for (Index i = 0; i < count; ++i) sum.data<T>()[i] += change[i];
  ops::convert_rounded(sum, compute, sum);
}

/// Keras keeps factors in float32; they are rounded as the kernel is.
DtypePolicy policy_of_factors(const Parameter& w) {
  return w.gradient_dtype() == Dtype::f64 ? Dtype::f64 : Dtype::f32;
}

std::unique_ptr<Parameter> make_factor(const Parameter& w, const char* end, const Shape& shape,
                                       bool trainable, const Initializer& start,
                                       RandomStream& random) {
  const LoadingScope made_here(shape.size());  // no file has it
  auto factor = std::make_unique<Parameter>(
      std::string("lora_").append(w.name()).append(end), shape, policy_of_factors(w),
      ParameterOptions{.trainable = trainable, .regularizer = w.regularizer()});
  start->fill(factor->edit(), fans_of(shape), random);
  return factor;
}

void require_rank(Index rank, const Parameter& w) {
  const Index columns = w.shape().back();
  const Index limit = std::max(kLeastLimit, std::min(w.shape().size() / columns, columns));
  if (rank >= 1 && rank <= limit) return;
  core::throw_config_error(
      kOperation, "rank",
      "1 to " + std::to_string(limit) + " for " + w.name() + " " + w.shape().to_string(),
      std::to_string(rank));
}

}  // namespace

LowRank::LowRank(Parameter& w, const LoraOptions& config, const Layer& layer, RandomStream& random)
    : w_(w), policy_(layer.policy()) {
  require_rank(config.rank, w);
  if (w.constraint()) {
    core::throw_config_error(kOperation, w.name(), "no constraint", "one");
  }
  const auto rank = static_cast<double>(config.rank);
  scale_ = config.alpha.value_or(rank) / rank;
  std::vector<Index> of_a(w.shape().begin(), w.shape().end());
  of_a.back() = config.rank;
  const bool trainable = layer.trainable();  // w is not where it is quantized
  a_ = make_factor(w, "_a", Shape(std::span<const Index>(of_a)), trainable, config.a_initializer,
                   random);
  b_ = make_factor(w, "_b", {config.rank, w.shape().back()}, trainable, config.b_initializer,
                   random);
  w_.set_trainable(false);
}

void LowRank::add_to(View sum, Dtype compute) const {
  Tensor product(w_.shape(), sum.dtype());
  const auto change = [&](auto zero) {
    using T = decltype(zero);
    Tensor a(a_->shape(), sum.dtype());
    Tensor b(b_->shape(), sum.dtype());
    ops::convert_rounded(a_->value(), compute, a);
    ops::convert_rounded(b_->value(), compute, b);
    multiply(rows(), rank(), columns(), a.data<T>(), b.data<T>(), product.data<T>());
    ops::convert_rounded(product, compute, product);
    add_scaled<T>(product, scale_, compute, sum);
  };
  sum.dtype() == Dtype::f64 ? change(double{}) : change(float{});
}

std::unique_ptr<Parameter> LowRank::changed() const {
  auto made = std::make_unique<Parameter>(w_.name(), w_.shape(), policy_.arithmetic());
  const View numbers = made->edit();
  copy(w_.numbers(), numbers);
  add_to(numbers, policy_.compute());
  return made;
}

std::unique_ptr<Parameter> LowRank::change() const {
  auto made = std::make_unique<Parameter>(w_.name(), w_.shape(), policy_.arithmetic());
  const View numbers = made->edit();
  fill_zero(numbers);
  add_to(numbers, policy_.compute());
  return made;
}

Tensor LowRank::gradient_sums(Context& ctx, Grads& grads) const {
  const auto asks = [&](const Parameter& parameter) { return grads.of(parameter).has_value(); };
  if (!asks(w_) && !asks(*a_) && !asks(*b_)) return {};
  return ctx.zeros(w_.shape(), w_.gradient_dtype());
}

void LowRank::add_gradient(Context& ctx, View d_w, Grads& grads) const {
  if (const View own = grads.of(w_); own.has_value()) ops::add(ctx, own, d_w, own);
  const View d_change = d_w.reshaped({rows(), columns()});
  ops::scale(ctx, d_change, scale_, d_change);
  const View d_a = grads.of(*a_);
  const View d_b = grads.of(*b_);
  if (d_a.has_value()) {
    ops::linear_backward_input(ctx, d_change, b_->numbers(), b_->packed(), ops::Write::add,
                               d_a.reshaped({rows(), rank()}));
  }
  if (d_b.has_value()) {
    ops::linear_backward_weights(ctx, a_->numbers().reshaped({rows(), rank()}), d_change, d_b,
                                 View());
  }
}

Tensor LowRank::merged() const {
  const Dtype arithmetic = w_.gradient_dtype();
  Tensor sum(w_.shape(), arithmetic);
  if (w_.quantized() != nullptr) {
    copy(w_.quantized()->scaled(), sum);
  } else {
    ops::convert_rounded(w_.value(), arithmetic, sum);
  }
  add_to(sum, arithmetic);
  Tensor stored(w_.shape(), w_.dtype());
  ops::convert_rounded(sum, w_.dtype(), stored);
  return stored;
}

void LowRank::merge() {
  w_.set_trainable(a_->trainable());
  if (w_.quantized() != nullptr) {
    w_.set_quantized(w_.quantized()->requantized(merged()));
  } else {
    copy(merged(), w_.edit());
  }
}

void LowRank::reset() { fill_zero(b_->edit()); }

void LowRank::append_parameters(const std::string& prefix, ParameterList& out) const {
  out.push_back({prefix + a_->name(), a_.get()});
  out.push_back({prefix + b_->name(), b_.get()});
}

void LowRank::write_config(ConfigValue& out) const {
  const double alpha = scale_ * static_cast<double>(rank());
  const auto whole = static_cast<Index>(alpha);
  out.set("lora_rank", rank());
  out.set("lora_alpha",
          static_cast<double>(whole) == alpha ? ConfigValue(whole) : ConfigValue(alpha));
}

std::optional<LoraOptions> read_lora(ConfigReader& reader) {
  const Index rank = reader.integer("lora_rank", 0);
  const ConfigValue& alpha = reader.value("lora_alpha");
  if (rank == 0) return {};
  LoraOptions config{.rank = rank};
  if (!alpha.is_null()) config.alpha = alpha.as_number("lora_alpha");
  return config;
}

void enable_lora(std::unique_ptr<LowRank>& change, Parameter* w, const LoraOptions& config,
                 const Layer& layer, RandomStream& random) {
  if (w == nullptr || change) {
    core::throw_config_error(kOperation, "layer", "a built one without LoRA",
                             w == nullptr ? "one that is not built" : "one that has it");
  }
  change = std::make_unique<LowRank>(*w, config, layer, random);
}

void merge_lora(std::unique_ptr<LowRank>& change) {
  if (!change) return;
  change->merge();
  change.reset();
}

}  // namespace grouphead::nn
