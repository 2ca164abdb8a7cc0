// TransformerModel: gradients of everything that a description can say, in double; the same bits
// for any number of threads; a cache; configurations there and back.

#include <gmock/gmock.h>

#include "gradient_support.h"
#include "grouphead/layers/serialization.h"
#include "grouphead/models/decoder.h"
#include "grouphead/models/transformer.h"

namespace grouphead {
namespace {

using namespace testing_support;  // NOLINT(google-build-using-namespace)
using ::testing::HasSubstr;

constexpr Index kModelVocabulary = 7;

TransformerModelConfig small_model() {
  TransformerModelConfig c;
  c.vocab_size = kModelVocabulary;
  c.hidden_size = 6;
  c.num_layers = 2;
  c.attention = {.num_heads = 4, .num_key_value_heads = 2, .head_dim = 4};
  c.feed_forward.width = 5;
  c.ropes = {RopeConfig{.base = 100}};
  c.dtype = Dtype::f64;
  return c;
}

void set_layer_norm(TransformerModelConfig& c) {
  c.norm = {.kind = NormKind::layer, .epsilon = 1e-3, .use_bias = true};
}

void set_biases(TransformerModelConfig& c) {
  SelfAttentionConfig& a = c.attention;
  a.query_bias = a.key_bias = a.value_bias = a.output_bias = true;
  c.feed_forward.use_bias = true;
}

struct ModelCase {
  const char* name;
  TransformerModelConfig config;
  bool training = false;
};

TransformerModelConfig four_norms() {
  TransformerModelConfig c = small_model();
  c.norm.gains_from_one = true;
  c.norm_placement = NormPlacement::both;
  c.attention.query_key_norm = QueryKeyNorm::shared_gains;
  c.attention.query_key_norm_config = c.norm;
  c.attention.softcap = 2;
  c.attention.scale = 0.9;
  c.logit_softcap = 3;
  c.logit_scale = 1.5;
  c.embedding_scale = 2;
  c.feed_forward.activation = Activation::gelu_tanh;
  c.ropes.push_back({.base = 20, .rotary_dims = 2});
  c.layers = {{.window = 2, .rope = 1}, {.window = {}, .rope = 0}};
  return c;
}

TransformerModelConfig norms_after() {
  TransformerModelConfig c = small_model();
  c.norm_placement = NormPlacement::after;
  c.attention.query_key_norm = QueryKeyNorm::all_heads;
  c.residual_scale = 0.6;
  c.tied_head = true;
  c.layers = {{.window = {}, .rope = -1}, {.window = {}, .rope = 0}};
  return c;
}

TransformerModelConfig encoder() {
  TransformerModelConfig c = small_model();
  set_layer_norm(c);
  set_biases(c);
  c.causal = c.head = c.final_norm = false;
  c.norm_placement = NormPlacement::after_sum;
  c.embedding_norm = true;
  c.max_positions = 6;
  c.position_offset = 2;
  c.token_types = 2;
  c.ropes.clear();
  c.feed_forward.gated = false;
  c.feed_forward.activation = Activation::gelu;
  return c;
}

TransformerModelConfig parallel(bool shares_norm) {
  TransformerModelConfig c = small_model();
  set_layer_norm(c);
  c.parallel = true;
  c.shared_norm = shares_norm;
  c.attention.query_key_norm = shares_norm ? QueryKeyNorm::own_gains : QueryKeyNorm::shared_gains;
  c.attention.query_key_norm_config = c.norm;
  c.attention.query_key_norm_config.use_bias = !shares_norm;
  c.ropes[0].layout = RopeLayout::interleaved;
  c.head_bias = true;
  return c;
}

TransformerModelConfig residual_from_norm() {
  TransformerModelConfig c = small_model();
  set_layer_norm(c);
  c.residual_from_norm = c.embedding_norm = true;
  c.ropes.clear();
  c.attention.alibi_slopes = {0.5, 0.25, 0.125, 0.0625};
  c.attention.scale_by_depth = true;
  return c;
}

TransformerModelConfig experts(bool is_clamped) {
  TransformerModelConfig c = small_model();
  c.feed_forward.num_experts = 3;
  c.feed_forward.experts_per_token = 2;
  c.feed_forward.router_bias = c.feed_forward.use_bias = true;
  if (is_clamped) c.feed_forward.clamp_limit = 0.45;
  c.attention.sinks = true;
  return c;
}

TransformerModelConfig narrow_embedding() {
  TransformerModelConfig c = small_model();
  c.embedding_size = 3;
  c.tied_head = true;
  return c;
}

std::vector<ModelCase> model_cases() {
  TransformerModelConfig dropping = norms_after();
  dropping.embedding_dropout = 0.2;
  dropping.residual_dropout = 0.3;
  dropping.attention.dropout = 0.25;
  TransformerModelConfig parallel_dropping = parallel(false);
  parallel_dropping.residual_dropout = 0.3;
  return {{"norms before", small_model()},
          {"four norms", four_norms()},
          {"norms after", norms_after()},
          {"encoder", encoder()},
          {"parallel", parallel(false)},
          {"parallel, one norm", parallel(true)},
          {"residual from norm", residual_from_norm()},
          {"experts", experts(false)},
          {"clamped experts", experts(true)},
          {"narrow embedding", narrow_embedding()},
          {"dropout", dropping, true},
          {"dropout, parallel", parallel_dropping, true}};
}

TEST(TransformerModelGradient, EveryParameterFollowsCentralDifferences) {
  Context ctx({.num_threads = 1});
  for (const ModelCase& one : model_cases()) {
    SCOPED_TRACE(one.name);
    TransformerModel model(one.config);
    randomize(model, 5);
    std::vector<Tensor> in = {random_tokens({2, 4}, kModelVocabulary, 3)};
    if (one.config.token_types > 0) in.push_back(random_tokens({2, 4}, 2, 4));
    check_gradients(ctx, {.layer = model, .in = in, .training = one.training});
  }
}

TEST(TransformerModelThreads, ChangeNoBit) {
  for (const ModelCase& one : model_cases()) {
    SCOPED_TRACE(one.name);
    TransformerModelConfig config = one.config;
    config.dtype = Dtype::f32;
    config.max_positions = config.max_positions > 0 ? 80 : 0;
    TransformerModel model(config);
    randomize(model, 5);
    const GradientProblem problem{.layer = model,
                                  .in = {random_tokens({3, 70}, kModelVocabulary, 3)},
                                  .training = one.training};
    Context single({.num_threads = 1});
    const Gradients want = gradients_of(single, problem);
    for (const int threads : {2, 5}) {
      Context ctx({.num_threads = threads});
      const Gradients got = gradients_of(ctx, problem);
      for (std::size_t i = 0; i < want.values.size(); ++i) {
        EXPECT_TRUE(same_bits(got.values[i], want.values[i])) << want.names[i];
      }
    }
  }
}

TEST(TransformerModelCache, GivesTheLogitsOfTheWholeText) {
  Context ctx({.num_threads = 2});
  for (const ModelCase& one : model_cases()) {
    if (!one.config.causal) continue;
    SCOPED_TRACE(one.name);
    TransformerModel model(one.config);
    randomize(model, 5);
    const Tensor tokens = random_tokens({1, 9}, kModelVocabulary, 3);
    const Tensor whole = model(ctx, {.tokens = tokens});
    const auto decoder = make_decoder(ctx, model, {.capacity = 9});
    Tensor first({4, kModelVocabulary}, Dtype::f64);
    decoder->read(ctx, tokens.view().reshaped({9}).slice(0, 0, 4), first);
    Tensor last({kModelVocabulary}, Dtype::f64);
    for (Index t = 4; t < 9; ++t) {
      decoder->read(ctx, tokens.view().reshaped({9}).slice(0, t, t + 1), last);
    }
    const ConstView rows = whole.view().reshaped({9, kModelVocabulary});
    EXPECT_TRUE(testing::compare("first", first, rows.slice(0, 0, 4), 1e-12).ok());
    EXPECT_TRUE(
        testing::compare("last", last, rows.slice(0, 8, 9).reshaped({kModelVocabulary}), 1e-12)
            .ok());
    EXPECT_EQ(decoder->length(), 9);
  }
}

TEST(TransformerModelMask, PaddingOnEitherSideChangesNothing) {
  Context ctx({.num_threads = 1});
  for (const ModelCase& one : model_cases()) {
    if (!one.config.layers.empty()) continue;  // a window counts padding too
    SCOPED_TRACE(one.name);
    TransformerModelConfig config = one.config;
    config.max_positions = config.max_positions > 0 ? 20 : 0;
    TransformerModel model(config);
    randomize(model, 5);
    const Tensor tokens = random_tokens({1, 5}, kModelVocabulary, 3);
    const Tensor want = model(ctx, {.tokens = tokens});
    Tensor padded = Tensor::zeros({2, 8}, Dtype::i32);
    Tensor mask = Tensor::zeros({2, 8}, Dtype::boolean);
    for (Index i = 0; i < 5; ++i) {
      padded.data<std::int32_t>()[3 + i] = padded.data<std::int32_t>()[8 + i] =
          tokens.data<std::int32_t>()[i];
      mask.data<bool>()[3 + i] = mask.data<bool>()[8 + i] = true;
    }
    const Tensor got = model(ctx, {.tokens = padded, .mask = mask});
    const Index width = got.dim(2);
    for (const Index first : {Index{3}, Index{8}}) {
      const ConstView rows = got.view().reshaped({16, width}).slice(0, first, first + 5);
      EXPECT_TRUE(testing::compare("rows", rows, want.view().reshaped({5, width}), 1e-12).ok());
    }
  }
}

TEST(TransformerModelConfig, MakesTheSameModelAgain) {
  Context ctx({.num_threads = 1});
  for (const ModelCase& one : model_cases()) {
    SCOPED_TRACE(one.name);
    TransformerModel model(one.config);
    const ConfigValue envelope = layer_to_config(model);
    const std::shared_ptr<Layer> again = layer_from_config(envelope);
    EXPECT_EQ(layer_to_config(*again), envelope);
    randomize(model, 5);
    copy_parameters(model, *again);
    const Tensor tokens = random_tokens({2, 4}, kModelVocabulary, 3);
    const auto& other = dynamic_cast<const TransformerModel&>(*again);
    EXPECT_TRUE(same_bits(other(ctx, {.tokens = tokens}), model(ctx, {.tokens = tokens})));
  }
}

TEST(TransformerModelConfig, RefusesWhatMakesNoModel) {
  const auto refusal = [](auto change) {
    TransformerModelConfig config = small_model();
    change(config);
    return error_of<ConfigError>([&] { TransformerModel model(config); });
  };
  using C = TransformerModelConfig;
  EXPECT_THAT(refusal([](C& c) { c.hidden_size = 0; }), HasSubstr("[transformer] hidden_size"));
  EXPECT_THAT(refusal([](C& c) { c.attention.num_key_value_heads = 3; }),
              HasSubstr("num_key_value_heads: expected a divisor of num_heads = 4, got 3"));
  EXPECT_THAT(refusal([](C& c) { c.shared_norm = true; }), HasSubstr("shared_norm"));
  EXPECT_THAT(refusal([](C& c) { c.norm.use_bias = true; }), HasSubstr("norm"));
  EXPECT_THAT(refusal([](C& c) { c.layers = {{.window = 0}}; }), HasSubstr("layers"));
  EXPECT_THAT(refusal([](C& c) { c.ropes[0].rotary_dims = 5; }), HasSubstr("rotary_dims"));
  EXPECT_THAT(refusal([](C& c) { c.feed_forward.num_experts = 2; }),
              HasSubstr("experts_per_token: expected 1 to num_experts = 2, got 0"));
}

TEST(TransformerModelCall, RefusesOtherInputs) {
  Context ctx({.num_threads = 1});
  const TransformerModel model(encoder());
  const auto refusal = [&](const TransformerInputs& inputs) {
    return error_of<ShapeError>([&] { model(ctx, inputs); });
  };
  EXPECT_THAT(refusal({.tokens = random_tokens({2, 5}, kModelVocabulary, 3)}),
              HasSubstr("tokens: expected 4 positions or fewer, got 5"));
  EXPECT_THAT(refusal({.tokens = random_tokens({2, 4}, 100, 3)}), HasSubstr("indices below 7"));
  EXPECT_THAT(refusal({.tokens = random_tokens({2, 4}, kModelVocabulary, 3),
                       .mask = Tensor::zeros({2, 3}, Dtype::boolean)}),
              HasSubstr("[transformer] mask"));
  EXPECT_THROW(model.make_cache(ctx, 1, 4), ConfigError);
}

}  // namespace
}  // namespace grouphead
