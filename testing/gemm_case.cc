#include <cmath>
#include <deque>
#include <utility>

#include "ops/linear.h"
#include "testing/cases.h"
#include "testing/inputs.h"
#include "testing/reference_layer.h"

namespace grouphead::testing {
namespace {

class GemmCase final : public Case {
 public:
  GemmCase(Context& ctx, const Problem& p, Index input_sets)
      : ctx_(ctx), p_(p), c_(ctx.tensor({p.M, p.N}, p.dtype)) {
    for (Index i = 0; i < input_sets; ++i) {
      a_.push_back(random_tensor(ctx, {p.M, p.K}, p.dtype, p.seed + 2 * i));
      b_.push_back(random_tensor(ctx, {p.K, p.N}, p.dtype, p.seed + 2 * i + 1));
      packed_.emplace_back();
      if (p.weights && p.weights != p.dtype) packed_.back().keep_as(*p.weights);
    }
  }

  void run() override {
    if (p_.weights) {
      ops::linear_forward(ctx_, a_[next_], b_[next_], packed_[next_], {}, ops::Epilogue::none, c_);
    } else {
      ops::gemm(ctx_, a_[next_], b_[next_], c_);
    }
    next_ = (next_ + 1) % a_.size();
  }

  std::vector<Comparison> check() override {
    const Tensor a = convert(ctx_, a_[next_], Dtype::f64);
    Tensor b = convert(ctx_, b_[next_], Dtype::f64);
    if (p_.weights) round_weights(b, p_.N, *p_.weights);
    run();
    Tensor want = ctx_.zeros({p_.M, p_.N}, Dtype::f64);
    Tensor bound = ctx_.zeros({p_.M, p_.N}, Dtype::f64);
    const double factor = 2 * std::sqrt(static_cast<double>(p_.K)) * unit_roundoff(p_.dtype);
    for (Index m = 0; m < p_.M; ++m) {
      double* sum = want.data<double>() + m * p_.N;
      double* tail = bound.data<double>() + m * p_.N;
      for (Index k = 0; k < p_.K; ++k) {
        const double left = a.data<double>()[m * p_.K + k];
        const double* right = std::as_const(b).data<double>() + k * p_.N;
        for (Index n = 0; n < p_.N; ++n) {
          const double term = left * right[n];
          sum[n] += term;
          tail[n] += factor * std::abs(term);
        }
      }
    }
    return {compare("c", c_, want, bound)};
  }

  std::map<std::string, Tensor> record() override {
    std::map<std::string, Tensor> tensors = {{"a", a_[next_]}, {"b", b_[next_]}};
    run();
    tensors["c"] = c_;
    return tensors;
  }

  double bytes() const override {
    return static_cast<double>(a_[0].bytes() + c_.bytes()) + weight_bytes(p_, p_.K, p_.N);
  }

 private:
  Context& ctx_;
  Problem p_;
  std::vector<Tensor> a_;
  std::vector<Tensor> b_;
  std::deque<ops::PackedWeights> packed_;
  Tensor c_;
  std::size_t next_ = 0;
};

}  // namespace

std::unique_ptr<Case> make_gemm_case(Context& ctx, const Problem& problem, Index input_sets) {
  return std::make_unique<GemmCase>(ctx, problem, input_sets);
}

}  // namespace grouphead::testing
