#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "grouphead/core/context.h"
#include "testing/compare.h"
#include "testing/problem.h"

namespace grouphead::testing {

/// A problem with its inputs, ready to run: what `check` compares and `bench` times.
class Case {
 public:
  virtual ~Case() = default;

  /// Runs the operation once, on the next of the input sets.
  virtual void run() = 0;

  /// Results of one run next to those of plain loops in double, with their error bounds: for n
  /// additions 2 sqrt(n) u sum |terms|, u the unit roundoff, because roundings are as good as
  /// independent; a wrong index, mask or scale is far above it.
  /// Source: Higham & Mary 2019, "A new approach to probabilistic rounding error analysis".
  virtual std::vector<Comparison> check() = 0;

  /// Runs once, and gives its operands and results by name, so that another program can do the same
  /// work and compare. Tensors are the caller's, in the layouts of the public functions.
  virtual std::map<std::string, Tensor> record() = 0;

  /// Bytes of the operands and results, each counted once, that a run reads and writes.
  virtual double bytes() const = 0;

  /// The large operands of the next input set, which run() then leaves out: what `bench` reads to
  /// measure the bandwidth that this case can have. Empty where bandwidth is not the limit.
  virtual std::vector<ConstView> take_operands() { return {}; }
};

/// `input_sets` copies of the inputs, at least 1, taken in turn by run().
/// Errors: ConfigError.
std::unique_ptr<Case> make_case(Context& ctx, const Problem& problem, Index input_sets);

std::unique_ptr<Case> make_gemm_case(Context& ctx, const Problem& problem, Index input_sets);
std::unique_ptr<Case> make_attention_case(Context& ctx, const Problem& problem, Index input_sets);
std::unique_ptr<Case> make_decode_case(Context& ctx, const Problem& problem, Index input_sets);
std::unique_ptr<Case> make_layer_case(Context& ctx, const Problem& problem, Index input_sets);
std::unique_ptr<Case> make_training_case(Context& ctx, const Problem& problem);
std::unique_ptr<Case> make_generation_case(Context& ctx, const Problem& problem);

}  // namespace grouphead::testing
