#include <algorithm>
#include <cmath>
#include <cstring>

#include "grouphead/layers/group_query_attention.h"
#include "grouphead/layers/multi_head_attention.h"
#include "testing/cases.h"
#include "testing/inputs.h"
#include "testing/reference_layer.h"

namespace grouphead::testing {
namespace {

constexpr double kBiasSpread = 0.1;

bool is_gqa(const Problem& p) {
  return p.operation == Operation::layer_gqa_forward || p.operation == Operation::layer_gqa_train;
}

/// Of inputs, gradients and the numbers inside.
Dtype arithmetic(Dtype dtype) { return dtype == Dtype::bf16 ? Dtype::f32 : dtype; }

/// Built, with Keras's initial kernels and with biases that are not zero. bf16 stands for the
/// policy mixed_bfloat16.
std::unique_ptr<Layer> make_layer(const Problem& p, Dtype dtype) {
  const DtypePolicy policy = dtype == Dtype::bf16 ? DtypePolicy("mixed_bfloat16") : dtype;
  const Initializer biases = initializers::random_normal(0, kBiasSpread);
  std::unique_ptr<Layer> layer;
  if (is_gqa(p)) {
    layer = std::make_unique<GroupQueryAttention>(
        GroupQueryAttentionConfig{.head_dim = p.D,
                                  .num_query_heads = p.Hq,
                                  .num_key_value_heads = p.Hkv,
                                  .bias_initializer = biases,
                                  .dtype = policy});
  } else {
    layer = std::make_unique<MultiHeadAttention>(MultiHeadAttentionConfig{
        .num_heads = p.Hq, .key_dim = p.D, .bias_initializer = biases, .dtype = policy});
  }
  RandomStream random(static_cast<std::uint64_t>(p.seed));
  const Shape shapes[] = {{p.B, p.T, p.M}, {p.B, p.S, p.M}};
  layer->build(std::span(shapes, p.S == p.T ? 1 : 2), random);
  return layer;
}

/// One set of inputs: x, which is attended from, and unless it attends to itself what it attends
/// to; for training the output's gradient too.
struct InputSet {
  std::vector<Value> in;
  Tensor d_y;
};

InputSet make_inputs(Context& ctx, const Problem& p, bool trains, Index seed) {
  InputSet set;
  const Dtype dtype = arithmetic(p.dtype);
  set.in.push_back({random_tensor(ctx, {p.B, p.T, p.M}, dtype, seed), {}});
  if (p.S != p.T) set.in.push_back({random_tensor(ctx, {p.B, p.S, p.M}, dtype, seed + 1), {}});
  if (trains) set.d_y = random_tensor(ctx, {p.B, p.T, p.M}, dtype, seed + 2);
  return set;
}

InputSet convert_inputs(Context& ctx, const InputSet& from, Dtype dtype) {
  InputSet set;
  for (const Value& value : from.in) set.in.push_back({convert(ctx, value.tensor, dtype), {}});
  if (from.d_y.has_value()) set.d_y = convert(ctx, from.d_y, dtype);
  return set;
}

/// A layer with what a call of it gives.
struct Called {
  Called(Context& ctx, const Problem& p, Dtype dtype)
      : layer(make_layer(p, dtype)), grads(ctx, layer->parameters()) {
    arguments.use_causal_mask = p.causal;
    d_in.push_back(ctx.tensor({p.B, p.T, p.M}, arithmetic(dtype)));
    if (p.S != p.T) d_in.push_back(ctx.tensor({p.B, p.S, p.M}, arithmetic(dtype)));
  }

  void run(Context& ctx, const InputSet& set) {
    const bool trains = set.d_y.has_value();
    std::unique_ptr<Saved> saved;
    const Mode mode{.training = trains, .arguments = &arguments};
    y = layer->forward(ctx, set.in, mode, trains ? &saved : nullptr)[0].tensor;
    if (!trains) return;
    grads.zero();
    std::vector<View> views;
    for (Tensor& each : d_in) {
      std::memset(each.view().raw(), 0, static_cast<std::size_t>(each.bytes()));
      views.push_back(each.view());
    }
    const ConstView d_out[] = {set.d_y};
    layer->backward(ctx, *saved, d_out, views, grads);
  }

  std::unique_ptr<Layer> layer;
  Grads grads;
  AttentionArguments arguments{};
  Tensor y;
  std::vector<Tensor> d_in;
};

class LayerCase final : public Case {
 public:
  LayerCase(Context& ctx, const Problem& p, Index input_sets)
      : ctx_(ctx),
        p_(p),
        trains_(p.operation == Operation::layer_gqa_train ||
                p.operation == Operation::layer_mha_train),
        called_(ctx, p, p.dtype) {
    for (Index i = 0; i < input_sets; ++i) {
      sets_.push_back(make_inputs(ctx, p, trains_, p.seed + 3 * i));
    }
  }

  void run() override {
    called_.run(ctx_, sets_[next_]);
    next_ = (next_ + 1) % sets_.size();
  }

  std::vector<Comparison> check() override {
    const InputSet inputs = convert_inputs(ctx_, sets_[next_], Dtype::f64);
    run();
    Called oracle(ctx_, p_, Dtype::f64);
    copy_parameters(ctx_, *called_.layer, *oracle.layer);
    oracle.run(ctx_, inputs);
    std::vector<Comparison> results;
    results.push_back(
        compare("y", called_.y, oracle.y, bound_of(length(), false, max_abs(oracle.y))));
    if (trains_) compare_gradients(oracle, results);
    return results;
  }

  std::map<std::string, Tensor> record() override {
    const InputSet& set = sets_[next_];
    run();
    std::map<std::string, Tensor> tensors = {{"x", set.in[0].tensor}, {"y", called_.y}};
    if (set.in.size() > 1) tensors["value"] = set.in[1].tensor;
    for (const auto& each : called_.layer->parameters()) {
      const Dtype dtype = arithmetic(p_.dtype);
      tensors[each.path] = convert(ctx_, each.parameter->value(), dtype);
      if (trains_) {
        tensors["d_" + each.path] = convert(ctx_, called_.grads.of(*each.parameter), dtype);
      }
    }
    if (trains_) {
      tensors["d_y"] = set.d_y;
      tensors["d_x"] = called_.d_in[0];
      if (set.in.size() > 1) tensors["d_value"] = called_.d_in[1];
    }
    return tensors;
  }

  /// Inputs, parameters and results.
  double bytes() const override {
    const Index each = static_cast<Index>(sets_[0].in.size()) > 1 ? p_.T + p_.S : p_.T;
    const Index elements =
        p_.B * (each + p_.T) * p_.M + count_elements(called_.layer->parameters());
    return static_cast<double>((trains_ ? 2 : 1) * elements * size_of(p_.dtype));
  }

 private:
  double length() const { return static_cast<double>(p_.M + p_.D + p_.S + p_.Hq * p_.D); }

  /// With bf16 sums are in f32, so that only their operands count, which are rounded independently:
  /// x, kernels, queries, keys, values, weights, their sums and y, and thrice as many on the way
  /// there and back. Twice the standard deviation of that many roundings.
  double bound_of(double length, bool there_and_back, double magnitude) const {
    if (p_.dtype != Dtype::bf16) return path_bound(p_.dtype, length, magnitude);
    return 2 * 0x1p-9 * std::sqrt(there_and_back ? 24 : 8) * magnitude;
  }

  /// The key's bias has no gradient but rounding, so those of parameters share a bound.
  void compare_gradients(Called& oracle, std::vector<Comparison>& results) {
    for (std::size_t i = 0; i < oracle.d_in.size(); ++i) {
      const Tensor& want = oracle.d_in[i];
      results.push_back(compare(i == 0 ? "d_x" : "d_value", called_.d_in[i], want,
                                bound_of(3 * length(), true, max_abs(want))));
    }
    const auto wanted = oracle.layer->parameters();
    const auto computed = called_.layer->parameters();
    double largest = 0;
    for (const auto& each : wanted) {
      largest = std::max(largest, max_abs(oracle.grads.of(*each.parameter)));
    }
    const double rows = static_cast<double>(p_.B * std::max(p_.T, p_.S));
    const double bound = bound_of(3 * length() + rows, true, largest);
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      results.push_back(compare("d " + wanted[i].path, called_.grads.of(*computed[i].parameter),
                                oracle.grads.of(*wanted[i].parameter), bound));
    }
  }

  Context& ctx_;
  Problem p_;
  bool trains_;
  Called called_;
  std::vector<InputSet> sets_;
  std::size_t next_ = 0;
};

}  // namespace

std::unique_ptr<Case> make_layer_case(Context& ctx, const Problem& problem, Index input_sets) {
  return std::make_unique<LayerCase>(ctx, problem, input_sets);
}

}  // namespace grouphead::testing
