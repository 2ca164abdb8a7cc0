#include <span>
#include <vector>

#include "grouphead/core/tensor_functions.h"
#include "ops/attention.h"
#include "testing/cases.h"
#include "testing/inputs.h"
#include "testing/masks.h"
#include "testing/oracle.h"

namespace grouphead::testing {
namespace {

Tensor make_slopes(Index heads, Dtype dtype) {
  const std::vector<double> slopes = alibi_slopes(heads);
  return cast(Tensor::from({heads}, std::span<const double>(slopes)), dtype);
}

struct InputSet {
  Tensor q, k, v, d_out;
};

class AttentionCase final : public Case {
 public:
  AttentionCase(Context& ctx, const Problem& p, Index input_sets)
      : ctx_(ctx), has_backward_(p.operation == Operation::attention_forward_backward) {
    options_.causal = p.causal;
    options_.causal_offset = p.causal_offset;
    set_options(p);
    const Shape q_shape{p.B, p.T, p.Hq, p.D};
    const Shape out_shape{p.B, p.T, p.Hq, p.Dv};
    for (Index i = 0; i < input_sets; ++i) {
      const Index seed = p.seed + 4 * i;
      sets_.push_back(
          {random_tensor(ctx, q_shape, p.dtype, seed),
           random_tensor(ctx, {p.B, p.S, p.Hkv, p.D}, p.dtype, seed + 1),
           random_tensor(ctx, {p.B, p.S, p.Hkv, p.Dv}, p.dtype, seed + 2),
           has_backward_ ? random_tensor(ctx, out_shape, p.dtype, seed + 3) : Tensor()});
    }
    out_ = ctx.tensor(out_shape, p.dtype);
    softmax_ = ctx.tensor({2, p.B, p.Hq, p.T}, p.dtype == Dtype::f64 ? Dtype::f64 : Dtype::f32);
    if (has_backward_) {
      d_q_ = ctx.tensor(q_shape, p.dtype);
      d_k_ = ctx.tensor(sets_[0].k.shape(), p.dtype);
      d_v_ = ctx.tensor(sets_[0].v.shape(), p.dtype);
      if (p.bias) d_bias_ = ctx.tensor(bias_.shape(), p.dtype);
      if (p.sinks) d_sinks_ = ctx.tensor(sinks_.shape(), sinks_.dtype());
    }
  }

  void run() override {
    const InputSet& in = sets_[next_];
    next_ = (next_ + 1) % sets_.size();
    attention(ctx_, in.q, in.k, in.v, options_, out_, {.statistics = softmax_});
    if (has_backward_) {
      AttentionGradients gradients{.d_out = in.d_out, .d_q = d_q_, .d_k = d_k_, .d_v = d_v_};
      if (d_bias_.has_value()) gradients.d_bias = d_bias_;
      if (d_sinks_.has_value()) gradients.d_sinks = d_sinks_;
      attention_backward(ctx_, in.q, in.k, in.v, options_, out_, softmax_, gradients);
    }
  }

  std::vector<Comparison> check() override {
    const InputSet& in = sets_[next_];
    run();
    const bool is_bf16 = in.q.dtype() == Dtype::bf16;
    const auto wide = [&](const Tensor& x) {
      return x.has_value() && x.dtype() == Dtype::bf16 ? convert(ctx_, x, Dtype::f32) : x;
    };
    const Tensor q = wide(in.q), k = wide(in.k), v = wide(in.v), d_out = wide(in.d_out);
    const Tensor bias = wide(bias_);
    AttentionOptions options = options_;
    if (bias.has_value()) options.bias = bias;
    std::vector<Comparison> results;
    const auto add = [&](const char* what, const Tensor& got, const OracleResult& want) {
      const Tensor bounds = is_bf16 ? bf16_bounds(want, got.dtype()) : bounds_of(want, got.dtype());
      results.push_back(compare(what, wide(got), want.value, bounds));
    };
    const AttentionForwardOracle forward = attention_forward_oracle(q, k, v, options);
    add("out", out_, forward.out);
    add("lse", lse_of(in), forward.lse);
    if (has_backward_) {
      const AttentionBackwardOracle backward = attention_backward_oracle(q, k, v, d_out, options);
      add("d_q", d_q_, backward.d_q);
      add("d_k", d_k_, backward.d_k);
      add("d_v", d_v_, backward.d_v);
      if (d_bias_.has_value()) add("d_bias", d_bias_, backward.d_bias);
      if (d_sinks_.has_value()) add("d_sinks", d_sinks_, backward.d_sinks);
    }
    return results;
  }

  std::map<std::string, Tensor> record() override {
    const InputSet& in = sets_[next_];
    run();
    std::map<std::string, Tensor> tensors = {{"q", in.q}, {"k", in.k}, {"v", in.v}, {"out", out_}};
    const auto add = [&](const char* name, const Tensor& tensor) {
      if (tensor.has_value()) tensors[name] = tensor;
    };
    add("d_out", in.d_out);
    add("d_q", d_q_);
    add("d_k", d_k_);
    add("d_v", d_v_);
    add("mask", mask_);
    add("bias", bias_);
    add("d_bias", d_bias_);
    add("slopes", slopes_);
    add("sinks", sinks_);
    add("d_sinks", d_sinks_);
    add("lengths", lengths_);
    add("segments", segments_);
    add("key_segments", key_segments_);
    return tensors;
  }

  double bytes() const override {
    const InputSet& in = sets_[0];
    Index bytes = 0;
    for (const Tensor* each : {&in.q, &in.k, &in.v, &in.d_out, &out_, &softmax_, &d_q_, &d_k_,
                               &d_v_, &mask_, &bias_, &d_bias_}) {
      if (each->has_value()) bytes += each->bytes();
    }
    return static_cast<double>(bytes);
  }

 private:
  Tensor lse_of(const InputSet& in) {
    const Shape& q = in.q.shape();
    Tensor lse({q[0], q[2], q[1]}, softmax_.dtype());
    Tensor out(out_.shape(), out_.dtype());
    attention(ctx_, in.q, in.k, in.v, options_, out, {.lse = lse});
    return lse;
  }

  void set_options(const Problem& p) {
    if (p.window > 0) options_.window_left = options_.window_right = p.window - 1;
    options_.dropout_rate = p.dropout_rate;
    options_.draw = {p.rng, {static_cast<std::uint64_t>(p.seed), 0}};
    if (p.mask == MaskKind::blocks) options_.mask = mask_ = make_block_mask(p);
    if (p.mask == MaskKind::keys) options_.key_mask = mask_ = make_key_mask(p);
    const Dtype wide = p.dtype == Dtype::f64 ? Dtype::f64 : Dtype::f32;
    if (p.softcap != 0) options_.softcap = p.softcap;
    if (p.alibi) options_.alibi_slopes = slopes_ = make_slopes(p.Hq, wide);
    if (p.sinks) options_.sinks = sinks_ = random_tensor(ctx_, {p.Hq}, wide, p.seed + 8);
    if (p.lengths) options_.lengths = lengths_ = make_lengths(p);
    if (p.packed != 0) {
      options_.segments = segments_ = make_segments(p, p.T);
      options_.key_segments = key_segments_ = make_segments(p, p.S);
    }
    if (p.bias) {
      options_.bias = bias_ = random_tensor(ctx_, {1, p.Hq, p.T, p.S}, p.dtype, p.seed + 7);
    }
  }

  Context& ctx_;
  bool has_backward_;
  AttentionOptions options_{};
  std::vector<InputSet> sets_;
  Tensor mask_, bias_, slopes_, sinks_, lengths_, segments_, key_segments_;
  Tensor out_, softmax_, d_q_, d_k_, d_v_, d_bias_, d_sinks_;
  std::size_t next_ = 0;
};

}  // namespace

std::unique_ptr<Case> make_attention_case(Context& ctx, const Problem& problem, Index input_sets) {
  return std::make_unique<AttentionCase>(ctx, problem, input_sets);
}

}  // namespace grouphead::testing
