#include "testing/cases.h"

namespace grouphead::testing {

std::unique_ptr<Case> make_case(Context& ctx, const Problem& problem, Index input_sets) {
  switch (problem.operation) {
    case Operation::attention_forward:
    case Operation::attention_forward_backward:
      return make_attention_case(ctx, problem, input_sets);
    case Operation::decode:
      return make_decode_case(ctx, problem, input_sets);
    case Operation::gemm:
      return make_gemm_case(ctx, problem, input_sets);
    case Operation::layer_gqa_forward:
    case Operation::layer_gqa_train:
    case Operation::layer_mha_forward:
    case Operation::layer_mha_train:
      return make_layer_case(ctx, problem, input_sets);
    case Operation::lm_train:
      return make_training_case(ctx, problem);
    case Operation::lm_generate:
      break;
  }
  return make_generation_case(ctx, problem);
}

}  // namespace grouphead::testing
