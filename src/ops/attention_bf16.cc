#include <vector>

#include "kernels/rowwise/convert.h"
#include "ops/attention_bits.h"
#include "ops/attention_packed.h"

namespace grouphead::ops {
namespace {

using kernels::AttentionProblem;

constexpr Index kUnit = 4096;      // elements that one unit converts, or one row
constexpr double kCostOfMove = 2;  // converting one takes as long as so many flops

// to = from in the other type, a run of `count` elements.
void convert_run(const kernels::ConvertKernels& table, const ConstView& from, Index source,
                 Index count, const View& to, Index target) {
  if (to.dtype() == Dtype::f32) {
    table.widen(static_cast<const std::uint16_t*>(from.raw()) + source, count,
                to.data<float>() + target);
  } else {
    table.narrow(from.data<float>() + source, count,
                 static_cast<std::uint16_t*>(to.raw()) + target);
  }
}

// The packed keys and values of all problems, as long as this lives.
class PackedBits {
 public:
  PackedBits(Context& ctx, const kernels::Bf16Kernels& table,
             std::span<const AttentionProblem<float>> problems,
             std::span<kernels::Bf16Operands> operands) {
    const auto for_sizes = [&](const auto& body) {
      for (std::size_t i = 0; i < problems.size(); ++i) {
        const AttentionProblem<float>& p = problems[i];
        kernels::Bf16Operands& o = operands[i];
        o.key_row = table.key_row(p), o.value_row = table.value_row(p);
        o.packed.capacity = kernels::round_up(p.S, kernels::kPackKeys);
        const Index rows = p.B * p.Hkv * o.packed.capacity;
        body(o, rows * o.key_row, rows * o.value_row);
      }
    };
    Index sizes[2] = {};
    for_sizes([&](const auto&, Index keys, Index values) { sizes[0] += keys, sizes[1] += values; });
    keys_ = ctx.tensor({sizes[0]}, Dtype::bf16);
    values_ = ctx.tensor({sizes[1]}, Dtype::bf16);
    auto* next_keys = static_cast<std::uint16_t*>(keys_.view().raw());
    auto* next_values = static_cast<std::uint16_t*>(values_.view().raw());
    for_sizes([&](auto& o, Index keys, Index values) {
      o.packed.keys = next_keys, o.packed.values = next_values;
      next_keys += keys, next_values += values;
    });
  }

 private:
  Tensor keys_, values_;
};

void forward_natively(Context& ctx, const ConstView& q, const ConstView& k, const ConstView& v,
                      const AttentionOptions& options, const View& out, const View& statistics) {
  zero_queries_of_none(options, out, 1);
  if (statistics.has_value()) zero_queries_of_none(options, statistics, 3);
  std::vector<AttentionProblem<float>> problems;
  std::vector<kernels::Bf16Operands> operands;
  std::vector<Tensor> fully_masked;
  for (Index n = 0; n < num_sequences(options, q); ++n) {
    const Sequence s = sequence_of(options, q, k.dim(1), n);
    AttentionProblem<float> p = sizes_of<float>(s, q, k, v);
    if (p.B * p.rows() == 0) continue;
    if (statistics.has_value()) set_statistics(statistics, p);
    fully_masked.push_back(note_fully_masked_queries(ctx, s.options(), p));
    problems.push_back(p);
    operands.push_back(bf16_operands(s, q, k, v, out));
  }
  const kernels::Bf16Kernels& table = *bf16_kernels_of(ctx);
  const PackedBits packed(ctx, table, problems, operands);
  Index scratch = 0;
  for (const auto& p : problems) scratch = std::max(scratch, table.forward_scratch(p));
  reserve_scratch<float>(ctx, scratch);
  const auto of = [&](const AttentionProblem<float>& p) -> const kernels::Bf16Operands& {
    return operands[static_cast<std::size_t>(&p - problems.data())];
  };
  for_packed_units<float>(
      ctx, problems,
      [&](const AttentionProblem<float>& p, Index unit) { table.pack(p, of(p), unit); },
      [&](const AttentionProblem<float>& p, Index unit, int slot) {
        table.forward(p, of(p), unit, ctx.impl().scratch<float>(slot, scratch));
      });
}

}  // namespace

void convert_heads(Context& ctx, const ConstView& from, const View& to) {
  const auto& table = kernels::convert_kernels(static_cast<kernels::Level>(ctx.isa()));
  const double cost = kCostOfMove * static_cast<double>(to.size());
  if (from.is_contiguous() && to.is_contiguous()) {
    for_units(ctx, kernels::ceil_div(to.size(), kUnit), cost, [&](Index unit, int) {
      const Index begin = unit * kUnit;
      convert_run(table, from, begin, std::min(kUnit, to.size() - begin), to, begin);
    });
    return;
  }
  const Index T = to.dim(1);
  for_units(ctx, to.dim(0) * T, cost, [&](Index bt, int) {
    const auto place = [&](const ConstView& x, Index h) {
      return bt / T * x.stride(0) + bt % T * x.stride(1) + h * x.stride(2);
    };
    for (Index h = 0; h < to.dim(2); ++h) {
      convert_run(table, from, place(from, h), to.dim(3), to, place(to, h));
    }
  });
}

Tensor converted(Context& ctx, const ConstView& x, Dtype dtype) {
  Tensor result = ctx.tensor(x.shape(), dtype);
  if (x.rank() == 4 && (x.dim(3) == 1 || x.stride(3) == 1)) {
    convert_heads(ctx, x, result);
    return result;
  }
  Tensor dense = ctx.tensor(x.shape(), x.dtype());
  copy(x, dense);
  convert_heads(ctx, dense, result);
  return result;
}

WideOptions::WideOptions(Context& ctx, const AttentionOptions& options) : options_(options) {
  const auto widen = [&](ConstView& x, Tensor& memory) {
    if (x.has_value() && x.dtype() == Dtype::bf16) x = memory = converted(ctx, x, Dtype::f32);
  };
  widen(options_.bias, bias_);
  widen(options_.sinks, sinks_);
  widen(options_.alibi_slopes, slopes_);
}

bool bf16_is_native(Context& ctx) noexcept { return bf16_kernels_of(ctx) != nullptr; }

void forward_bf16(Context& ctx, const ConstView& q, const ConstView& k, const ConstView& v,
                  const AttentionOptions& options, const View& out, const View& statistics) {
  const WideOptions wide(ctx, options);
  if (bf16_is_native(ctx)) {
    return forward_natively(ctx, q, k, v, wide.options(), out, statistics);
  }
  const Tensor wide_q = converted(ctx, q, Dtype::f32);
  const Tensor wide_k = converted(ctx, k, Dtype::f32);
  const Tensor wide_v = converted(ctx, v, Dtype::f32);
  Tensor result = ctx.tensor(out.shape());
  forward_wide<float>(ctx, wide_q, wide_k, wide_v, wide.options(), result, statistics);
  convert_heads(ctx, result, out);
}

void GridAttention::forward(Context& ctx, Dtype grid, const ConstView& q, const ConstView& k,
                            const ConstView& v, const AttentionOptions& options, const View& out,
                            const View& statistics) {
  if (grid != Dtype::bf16 || !bf16_is_native(ctx)) {
    return attention(ctx, q, k, v, options, out, {.statistics = statistics});
  }
  GridAttention narrow;
  narrow.q_ = converted(ctx, q, Dtype::bf16);
  narrow.k_ = converted(ctx, k, Dtype::bf16);
  narrow.v_ = converted(ctx, v, Dtype::bf16);
  narrow.out_ = ctx.tensor(out.shape(), Dtype::bf16);
  attention(ctx, narrow.q_, narrow.k_, narrow.v_, options, narrow.out_, {.statistics = statistics});
  convert_heads(ctx, narrow.out_, out);
  if (statistics.has_value()) *this = std::move(narrow);
}

void GridAttention::backward(Context& ctx, const ConstView& q, const ConstView& k,
                             const ConstView& v, const AttentionOptions& options,
                             const ConstView& out, const ConstView& statistics,
                             const AttentionGradients& gradients) const {
  if (!q_.has_value()) {
    return attention_backward(ctx, q, k, v, options, out, statistics, gradients);
  }
  AttentionGradients narrow = gradients;
  const Tensor d_out = converted(ctx, gradients.d_out, Dtype::bf16);
  narrow.d_out = d_out;
  backward_natively(ctx, q_, k_, v_, options, out_, statistics, narrow);
}

}  // namespace grouphead::ops
