#include "grouphead/models/lora.h"

#include <cmath>
#include <cstring>

#include "core/check.h"
#include "core/number_text.h"
#include "nn/layer_checks.h"
#include "nn/loading_scope.h"
#include "ops/arithmetic.h"
#include "ops/matmul.h"

namespace grouphead {
namespace {

constexpr std::string_view kLora = "lora";

// [rows, columns] -> [columns, rows], the same elements.
ConstView transposed(ConstView x) {
  return {x.raw(), x.dtype(), Shape{x.dim(1), x.dim(0)}, Strides{x.stride(1), x.stride(0)}};
}

Tensor copied(ConstView x) {
  Tensor copy_of(x.shape(), x.dtype());
  copy(x, copy_of);
  return copy_of;
}

bool is_same(ConstView a, const Tensor& b) {
  const auto bytes = static_cast<std::size_t>(a.size() * size_of(a.dtype()));
  return b.has_value() && std::memcmp(a.raw(), b.view().raw(), bytes) == 0;
}

}  // namespace

/// One kernel and its A and B.
struct LoraModel::Adapted {
  std::string path;   // of the kernel's layer: `layers/0/attention/query/`
  Parameter* kernel;  // the model's
  Shape matrix;       // [K, N]
  Tensor original;    // of `matrix`
  std::unique_ptr<Parameter> a, b;
  Tensor merged_a{}, merged_b{};  // what the kernel has now
};

LoraModel::LoraModel(std::shared_ptr<TransformerModel> model, const LoraConfig& config)
    : Layer("lora", model->policy()), config_(config), model_(std::move(model)) {
  core::require_positive(kLora, "rank", config.rank);
  if (!std::isfinite(config.alpha)) {
    core::throw_config_error(kLora, "alpha", "a finite number", core::number_text(config.alpha));
  }
  RandomStream random(config.seed);
  for (const auto& [path, parameter] : model_->parameters()) {
    constexpr std::string_view kKernel = "kernel";
    if (path.find("/attention/") == std::string::npos || !path.ends_with(kKernel)) continue;
    const bool is_output = path.ends_with("attention_output/kernel");  // [Hq, D, M]
    const Index outputs =
        is_output ? parameter->shape().back() : parameter->shape().size() / parameter->shape()[0];
    const Index inputs = parameter->shape().size() / outputs;
    auto one = std::make_unique<Adapted>(
        Adapted{.path = path.substr(0, path.size() - kKernel.size()),
                .kernel = parameter,
                .matrix = Shape{inputs, outputs},
                .original = copied(parameter->value().reshaped({inputs, outputs})),
                .a = std::make_unique<Parameter>("lora_a", Shape{inputs, config.rank}, policy()),
                .b = std::make_unique<Parameter>("lora_b", Shape{config.rank, outputs}, policy())});
    parameter->set_trainable(true);  // so that its gradient is computed
    const double limit = 1 / std::sqrt(static_cast<double>(inputs));
    nn::initialize(*one->a, initializers::random_uniform(-limit, limit), Fans{inputs, config.rank},
                   random);
    nn::initialize(*one->b, initializers::zeros(), Fans{config.rank, outputs}, random);
    adapted_.push_back(std::move(one));
  }
  set_built();
}

LoraModel::~LoraModel() = default;

void LoraModel::create_parameters(std::span<const Shape> /*inputs*/, RandomStream& /*random*/) {
  nn::require_unbuilt(kLora, true);
}

std::span<const std::string_view> LoraModel::input_names() const { return model_->input_names(); }

std::vector<Shape> LoraModel::output_shapes(std::span<const Shape> inputs,
                                            const CallArguments* arguments) const {
  return model_->output_shapes(inputs, arguments);
}

void LoraModel::append_parameters(const std::string& prefix, ParameterList& out) {
  for (const auto& one : adapted_) {
    for (Parameter* parameter : {one->a.get(), one->b.get()}) {
      out.push_back({prefix + one->path + parameter->name(), parameter});
    }
  }
}

// Sums anew where A or B changed.
void LoraModel::update(Context& ctx) const {
  const std::lock_guard lock(updating_);
  const double scale = config_.alpha / static_cast<double>(config_.rank);
  for (const auto& one : adapted_) {
    if (is_same(one->a->value(), one->merged_a) && is_same(one->b->value(), one->merged_b)) {
      continue;
    }
    const View kernel = one->kernel->edit().reshaped(one->matrix);
    ops::matmul(ctx, one->a->value(), one->b->value(), ops::Write::overwrite, kernel);
    ops::scale(ctx, kernel, scale, kernel);
    ops::add(ctx, kernel, one->original, kernel);
    one->merged_a = copied(one->a->value());
    one->merged_b = copied(one->b->value());
  }
}

const std::shared_ptr<TransformerModel>& LoraModel::merged(Context& ctx) const {
  update(ctx);
  return model_;
}

std::vector<std::pair<std::string, ConstView>> LoraModel::original() const {
  std::vector<std::pair<std::string, ConstView>> kernels;
  for (const auto& one : adapted_) kernels.emplace_back(one->path + "kernel", one->original);
  return kernels;
}

std::vector<Value> LoraModel::forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                                      std::unique_ptr<Saved>* saved) const {
  update(ctx);
  return model_->forward(ctx, in, mode, saved);
}

void LoraModel::backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out,
                         std::span<View> d_in, Grads& grads) const {
  ConstParameterList kernels;
  for (const auto& one : adapted_) kernels.push_back({one->path, one->kernel});
  Grads of_kernels(ctx, kernels);
  model_->backward(ctx, saved, d_out, d_in, of_kernels);
  const double scale = config_.alpha / static_cast<double>(config_.rank);
  for (const auto& one : adapted_) {
    const View d_a = grads.of(*one->a);
    const View d_b = grads.of(*one->b);
    const View d_kernel = of_kernels.of(*one->kernel).reshaped(one->matrix);
    ops::scale(ctx, d_kernel, scale, d_kernel);
    if (d_a.has_value()) {
      ops::matmul(ctx, d_kernel, transposed(one->b->value()), ops::Write::add, d_a);
    }
    if (d_b.has_value()) {
      ops::matmul(ctx, transposed(one->a->value()), d_kernel, ops::Write::add, d_b);
    }
  }
}

}  // namespace grouphead
