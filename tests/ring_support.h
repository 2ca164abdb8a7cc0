#pragma once

// Attention of a whole sequence, and of its parts by the processes of a job.

#include <cmath>
#include <limits>
#include <vector>

#include "attention_support.h"
#include "grouphead/parallel/ring_attention.h"

namespace grouphead::testing_support {

struct RingCase {
  Index B = 1, T = 1, Hq = 1, Hkv = 1, D = 8, Dv = 8;
  AttentionOptions options{};
};

struct RingResults {
  Tensor out, lse, d_q, d_k, d_v;

  std::vector<const Tensor*> all() const { return {&out, &lse, &d_q, &d_k, &d_v}; }
};

inline AttentionInputs ring_inputs(const RingCase& c, Dtype dtype) {
  return make_inputs({c.B, c.T, c.T, c.Hq, c.Hkv, c.D, c.Dv}, dtype);
}

/// Of one process without a ring.
inline RingResults whole_results(Context& ctx, const RingCase& c, const AttentionInputs& in) {
  const Dtype dtype = in.q.dtype();
  RingResults r{Tensor(in.d_out.shape(), dtype), Tensor({c.B, c.Hq, c.T}, dtype),
                Tensor(in.q.shape(), dtype), Tensor(in.k.shape(), dtype),
                Tensor(in.v.shape(), dtype)};
  Tensor statistics({2, c.B, c.Hq, c.T}, dtype);
  attention(ctx, in.q, in.k, in.v, c.options, r.out, {.lse = r.lse, .statistics = statistics});
  attention_backward(ctx, in.q, in.k, in.v, c.options, r.out, statistics,
                     {.d_out = in.d_out, .d_q = r.d_q, .d_k = r.d_k, .d_v = r.d_v});
  return r;
}

/// The part of process `rank`, of whole_results(), axis by axis.
inline RingResults parts_of(const RingResults& whole, const RingShare& share) {
  return {ring_part(whole.out, 1, share), ring_part(whole.lse, 2, share),
          ring_part(whole.d_q, 1, share), ring_part(whole.d_k, 1, share),
          ring_part(whole.d_v, 1, share)};
}

/// Of this process, from its part of the operands.
inline RingResults ring_results(Context& ctx, Communicator& job, const RingCase& c,
                                const AttentionInputs& in) {
  const RingShare share = ring_share(c.T, job.rank(), job.size());
  const Tensor q = ring_part(in.q, 1, share), k = ring_part(in.k, 1, share),
               v = ring_part(in.v, 1, share), d_out = ring_part(in.d_out, 1, share);
  RingResults r{Tensor(d_out.shape(), q.dtype()), Tensor({c.B, c.Hq, share.positions()}, q.dtype()),
                Tensor(q.shape(), q.dtype()), Tensor(k.shape(), q.dtype()),
                Tensor(v.shape(), q.dtype())};
  Tensor statistics({2, c.B, c.Hq, share.positions()}, q.dtype());
  ring_attention(ctx, job, q, k, v, c.options, r.out, {.lse = r.lse, .statistics = statistics});
  ring_attention_backward(ctx, job, q, k, v, c.options, r.out, statistics,
                          {.d_out = d_out, .d_q = r.d_q, .d_k = r.d_k, .d_v = r.d_v});
  return r;
}

/// The largest difference of two tensors of one shape, f32 or f64, divided by the largest number of
/// `want` where that is above 1: a key's gradient is a sum over all queries. -inf is -inf.
inline double largest_difference(const Tensor& got, const Tensor& want) {
  if (got.shape() != want.shape()) return std::numeric_limits<double>::infinity();
  const auto number = [](const Tensor& x, Index i) {
    return x.dtype() == Dtype::f32 ? static_cast<double>(x.data<float>()[i]) : x.data<double>()[i];
  };
  double largest = 0;
  double scale = 1;
  for (Index i = 0; i < got.size(); ++i) {
    const double x = number(got, i);
    const double y = number(want, i);
    if (std::isfinite(y)) scale = std::max(scale, std::abs(y));
    if (x == y) continue;
    if (!std::isfinite(x - y)) return std::numeric_limits<double>::infinity();
    largest = std::max(largest, std::abs(x - y));
  }
  return largest / scale;
}

}  // namespace grouphead::testing_support
