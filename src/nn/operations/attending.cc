// keras.ops.dot_product_attention, by the library's own attention.

#include <cmath>
#include <memory>

#include "core/check.h"
#include "grouphead/attention.h"
#include "nn/operations/traced.h"
#include "ops/strided.h"

namespace grouphead::nn {
namespace {

using namespace steps;
using Results = std::vector<Var>;

/// What a forward pass keeps, and what is not differentiated.
struct Attended {
  double scale = 1;
  bool causal = false;
  Tensor mask;
  Tensor q, k, v, bias;
  Tensor out, statistics;

  AttentionOptions options() const {
    AttentionOptions options;
    options.scale = scale;
    options.causal = causal;
    options.mask = std::as_const(mask).view();
    options.bias = std::as_const(bias).view();
    // Keras hides keys by a large negative number, which leaves all alike where all are hidden.
    options.masked_rows = MaskedRows::uniform;
    return options;
  }

  void forward(Context& ctx, Tensor& y) {
    const Shape rows({2, q.dim(0), q.dim(2), q.dim(1)});
    statistics = ctx.tensor(rows, y.dtype());
    attention(ctx, q, k, v, options(), y, {.statistics = statistics});
    out = y;
  }

  void backward(Context& ctx, const Tensor& d_y, std::span<const View> d_x) const {
    std::vector<Tensor> made(d_x.size());
    std::vector<View> views(4);
    for (std::size_t i = 0; i < d_x.size(); ++i) {
      if (!d_x[i].has_value()) continue;
      made[i] = ctx.tensor(d_x[i].shape(), d_x[i].dtype());
      views[i] = made[i];
    }
    attention_backward(ctx, q, k, v, options(), out, statistics,
                       {.d_out = d_y.view(),
                        .d_q = views[0],
                        .d_k = views[1],
                        .d_v = views[2],
                        .d_bias = views[3]});
    for (std::size_t i = 0; i < d_x.size(); ++i) {
      if (d_x[i].has_value()) ops::add_elements(ctx, made[i], d_x[i]);
    }
  }
};

/// With axes of size 1 in front, up to [B, heads, T, S].
Var of_rank_4(Var x) {
  if (x.rank() > 4) {
    core::throw_shape_error(x.trace().name(), "bias and mask", "rank 4 at most",
                            x.shape().to_string());
  }
  while (x.rank() < 4) x = expanded(x, 0);
  return x;
}

Results dot_product_attention(TracedCall& call) {
  if (!call["attn_logits_soft_cap"].is_null()) {
    core::throw_config_error(call.name(), "attn_logits_soft_cap",
                             "null, as only Keras on a TPU caps logits",
                             call["attn_logits_soft_cap"].to_string());
  }
  const Var given[] = {call[0], call[1], call[2]};
  std::vector<OperandType> types;
  for (const Var& x : given) {
    types.push_back(x.type());
    if (x.rank() != 4) {
      core::throw_shape_error(call.name(), "query, key and value", "[B, T, heads, size]",
                              x.shape().to_string());
    }
  }
  const Dtype dtype = floating(result_type(types));
  std::vector<Var> from;
  for (const Var& x : given) from.push_back(cast(x, dtype));
  const Shape q = from[0].shape();
  auto kept = std::make_shared<Attended>();
  kept->causal = call.truth("is_causal");
  kept->scale = call.literal(5).is_null() ? 1 / std::sqrt(static_cast<double>(q[3]))
                                          : call.literal(5).as_number("scale");
  if (call.has(3)) {
    from.push_back(cast(of_rank_4(call[3]), dtype));
    kept->bias = from.back().value();
  }
  if (call.has(4)) kept->mask = cast(of_rank_4(call[4]), Dtype::boolean).value();
  kept->q = from[0].value();
  kept->k = from[1].value();
  kept->v = from[2].value();
  const Shape shape = Shape::partial({q[0], q[1], q[2], from[2].dim(3)});
  return {call.trace.step(
      from, shape, {dtype, false}, [&](Context& ctx, Tensor& y) { kept->forward(ctx, y); },
      [kept](Context& ctx, const Tensor& d_y, std::span<const View> d_x) {
        kept->backward(ctx, d_y, d_x);
      })};
}

constexpr OperationClass kClasses[] = {
    traced_class(kNnModule, "DotProductAttention", "query,key,value,bias,mask,scale!",
                 dot_product_attention),
};

}  // namespace

std::span<const OperationClass> attending_operations() { return kClasses; }

}  // namespace grouphead::nn
