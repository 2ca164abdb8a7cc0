// Gradients of whole models: every parameter and the input, in double by central differences, then
// f32 against f64.

#include "gradient_support.h"
#include "grouphead/models/models.h"
#include "models/transformer.h"

namespace grouphead {
namespace {

using edifice::GqaOptions;
using edifice::OutputMode;
using namespace testing_support;  // NOLINT(google-build-using-namespace)

struct ModelCase {
  const char* name;
  GqaOptions options;
  bool training = false;
};

GqaOptions small_options(GqaOptions options = {}, Index num_layers = 1) {
  options.embed_dim = 3;
  options.hidden_size = 8;
  options.num_heads = 4;
  options.num_layers = num_layers;
  return options;
}

std::vector<ModelCase> model_cases() {
  const auto rule = [](RopeConfig rope) { return small_options({.position = rope}); };
  GqaOptions same_width = small_options({.rope = true});
  same_width.embed_dim = same_width.hidden_size;
  return {
      {"no position code", small_options({}, 2)},
      {"MHA", small_options({.num_key_value_heads = 4})},
      {"MQA with rope", small_options({.num_key_value_heads = 1, .rope = true})},
      {"rope, all steps", small_options({.rope = true, .output_mode = OutputMode::all}, 2)},
      {"interleaved rope", rule({.layout = RopeLayout::interleaved})},
      {"Edifice's yarn, mean", small_options({.yarn = true,
                                              .yarn_scale = 4,
                                              .yarn_original_max_position = 12,
                                              .output_mode = OutputMode::mean_pool})},
      {"the paper's yarn", rule({.yarn = YarnConfig{.scale = 4, .original_max_position = 12}})},
      {"no projection", same_width},
      {"no last norm", small_options({.final_norm = false})},
      {"dropout", small_options({.dropout = 0.3, .rope = true, .output_mode = OutputMode::all}, 2),
       true},
      {"dropout, last step", small_options({.dropout = 0.3}), true},
  };
}

TEST(EdificeGradient, EveryParameterAndTheInputFollowCentralDifferences) {
  Context ctx({.num_threads = 1});
  for (const ModelCase& one : model_cases()) {
    SCOPED_TRACE(one.name);
    GqaOptions options = one.options;
    options.dtype = Dtype::f64;
    const auto model = edifice::build(options);
    randomize(*model, 20);
    check_gradients(ctx, {.layer = *model,
                          .in = {random_tensor({2, 4, options.embed_dim}, 3, Dtype::f64)},
                          .training = one.training});
  }
}

TransformerConfig small_transformer(Dtype dtype) {
  return {.hidden_size = 8,
          .num_heads = 4,
          .num_key_value_heads = 2,
          .num_layers = 2,
          .feed_forward = 12,
          .rope = RopeConfig{},
          .dtype = dtype};
}

TEST(LanguageModelGradient, EveryParameterFollowsCentralDifferences) {
  Context ctx({.num_threads = 1});
  LanguageModel model({.vocab_size = 7, .transformer = small_transformer(Dtype::f64)});
  randomize(model, 40);
  check_gradients(ctx, {.layer = model, .in = {random_tokens({2, 5}, 7, 1)}});
}

TEST(TransformerGradient, ItIsALayerOfItsOwn) {
  Context ctx({.num_threads = 1});
  TransformerConfig config = small_transformer(Dtype::f64);
  config.dropout = 0.2;
  config.inter_block_dropout = 0.1;
  TransformerStack stack(config);
  build(stack, {{1, 1, 8}});
  randomize(stack, 60);
  check_gradients(
      ctx, {.layer = stack, .in = {random_tensor({1, 3, 8}, 5, Dtype::f64)}, .training = true});
}

// A float32 gradient is off by one unit of roundoff times the size of what is added times the
// square root of the longest chain of additions, forward and back: roundings act as independent
// (Higham & Mary 2019, "A new approach to probabilistic rounding error analysis"). The model's
// largest gradient stands for the size, twice, as the norms divide by deviations below 1.
double f32_bound(Index chain, double magnitude) {
  return 2 * testing::unit_roundoff(Dtype::f32) * std::sqrt(static_cast<double>(chain)) * magnitude;
}

void compare_precisions(Layer& single, Layer& exact, const std::vector<Tensor>& in, Index chain) {
  copy_parameters(single, exact);
  std::vector<Tensor> in_exact;
  for (const Tensor& x : in) {
    in_exact.push_back(x.dtype() == Dtype::i32 ? x : converted(x, Dtype::f64));
  }
  Context exact_ctx;
  const Gradients want = gradients_of(exact_ctx, {.layer = exact, .in = in_exact});
  for (const Isa isa : isas_under_test()) {
    Context ctx({.num_threads = 2, .isa = isa});
    const Gradients got = gradients_of(ctx, {.layer = single, .in = in});
    ASSERT_EQ(got.values.size(), want.values.size());
    const double bound = f32_bound(chain, want.max_magnitude());
    for (std::size_t i = 0; i < want.values.size(); ++i) {
      const testing::Comparison result =
          testing::compare(want.names[i], got.values[i], want.values[i], bound);
      EXPECT_TRUE(result.ok()) << name_of(isa) << " " << result.to_string();
    }
  }
}

TEST(EdificeGradient, FloatsFollowDoubles) {
  GqaOptions options{.embed_dim = 20,
                     .hidden_size = 32,
                     .num_heads = 4,
                     .num_key_value_heads = 2,
                     .num_layers = 2,
                     .rope = true,
                     .output_mode = OutputMode::all};
  const auto single = edifice::build(options);
  options.dtype = Dtype::f64;
  const auto exact = edifice::build(options);
  const Index length = 24;
  const Index block = 3 * 32 + 128 + 2 * length + 2 * 32;  // projections, keys, norms
  compare_precisions(*single, *exact, {random_tensor({2, length, 20}, 8)},
                     2 * (20 + 2 * block) + 2 * length);
}

TEST(LanguageModelGradient, FloatsFollowDoubles) {
  TransformerConfig config{.hidden_size = 32,
                           .num_heads = 4,
                           .num_key_value_heads = 1,
                           .num_layers = 2,
                           .rope = RopeConfig{}};
  LanguageModel single({.vocab_size = 50, .transformer = config});
  config.dtype = Dtype::f64;
  LanguageModel exact({.vocab_size = 50, .transformer = config});
  const Index length = 20;
  const Index block = 3 * 32 + 128 + 2 * length + 2 * 32;
  compare_precisions(single, exact, {random_tokens({2, length}, 50, 4)},
                     2 * (50 + 2 * block) + 2 * length);
}

TEST(Gradient, AKeyBiasWithoutRotationHasNone) {
  Context ctx({.num_threads = 1});
  GqaOptions options = small_options({.output_mode = OutputMode::all});
  options.dtype = Dtype::f64;
  const auto model = edifice::build(options);
  randomize(*model, 20);
  Grads grads(ctx, model->parameters());
  const Tensor x = random_tensor({2, 4, 3}, 3, Dtype::f64);
  std::unique_ptr<Saved> saved;
  const Tensor y = call(ctx, *model, {x}, {}, &saved);
  call_backward(ctx, *model, *saved, random_tensor(y.shape(), 4, Dtype::f64), {x}, grads);
  const ConstView key = grads.of(*model->find("gqa_block_1_attn_k_proj.bias"));
  const ConstView query = grads.of(*model->find("gqa_block_1_attn_q_proj.bias"));
  EXPECT_LT(testing::max_abs(key), 1e-13 * testing::max_abs(query));
}

}  // namespace
}  // namespace grouphead
