// Edifice's options, counts, names, refusals and structural properties.

#include <gmock/gmock.h>

#include "grouphead/models/models.h"
#include "model_support.h"

namespace grouphead {
namespace {

using edifice::GqaOptions;
using edifice::OutputMode;
using ::testing::HasSubstr;
using namespace testing_support;  // NOLINT(google-build-using-namespace)

TEST(EdificeCounts, AgreeWithTheDocumentedTable) {
  struct Row {
    GqaOptions options;
    Index approximate, exact;
  };
  const Row rows[] = {
      {{}, 2825984, 2838528},
      {{.embed_dim = 287, .num_key_value_heads = 1}, 2760448, 2772736},
      {{.embed_dim = 287, .num_key_value_heads = 4}, 2957056, 2970112},
      {{.embed_dim = 287, .num_key_value_heads = 8}, 3219200, 3233280},
      {{.embed_dim = 256}, 2752512, 2764800},
      {{.embed_dim = 32, .hidden_size = 32, .num_heads = 4, .num_layers = 2}, 22528, 23360},
      {{.embed_dim = 3, .hidden_size = 8, .num_heads = 4, .num_layers = 1}, 728, 848},
  };
  for (Row row : rows) {
    EXPECT_EQ(edifice::param_count(row.options), row.approximate);
    EXPECT_EQ(edifice::param_count_exact(row.options), row.exact);
    if (row.options.embed_dim == 0) row.options.embed_dim = 287;
    EXPECT_EQ(count_elements(edifice::build(row.options)->parameters()), row.exact);
  }
  GqaOptions no_norm = rows[6].options;
  no_norm.final_norm = false;
  EXPECT_EQ(edifice::param_count_exact(no_norm), 848 - 16);
  EXPECT_EQ(count_elements(edifice::build(no_norm)->parameters()), 848 - 16);
}

TEST(EdificeCounts, SizesAndDefaultsAreEdifices) {
  EXPECT_EQ(edifice::output_size({}), 256);
  EXPECT_EQ(edifice::output_size({.hidden_size = 48, .output_mode = OutputMode::all}), 48);
  const GqaOptions defaults = edifice::recommended_defaults();
  EXPECT_EQ(defaults.hidden_size, 256);
  EXPECT_EQ(defaults.num_heads, 8);
  EXPECT_EQ(defaults.num_key_value_heads, 2);
  EXPECT_EQ(defaults.num_layers, 4);
  EXPECT_EQ(defaults.window_size, 60);
  EXPECT_EQ(defaults.dropout, 0.1);
  EXPECT_FALSE(defaults.rope);
  EXPECT_EQ(defaults.embed_dim, 0);
}

GqaOptions small(GqaOptions options = {}) {
  options.embed_dim = 12;
  options.hidden_size = 16;
  options.num_heads = 4;
  options.num_layers = 2;
  return options;
}

TEST(EdificeOptions, WhatCannotWorkIsRefusedByName) {
  const auto refusal = [](auto change) {
    GqaOptions options = small();
    change(options);
    return error_of<ConfigError>([&] { edifice::build(options); });
  };
  EXPECT_EQ(refusal([](GqaOptions& o) { o.embed_dim = 0; }),
            "[edifice_gqa] embed_dim: expected 1 or more, got 0");
  EXPECT_EQ(refusal([](GqaOptions& o) { o.hidden_size = -16; }),
            "[edifice_gqa] hidden_size: expected 1 or more, got -16");
  EXPECT_EQ(refusal([](GqaOptions& o) { o.num_layers = 0; }),
            "[edifice_gqa] num_layers: expected 1 or more, got 0");
  EXPECT_EQ(refusal([](GqaOptions& o) { o.num_heads = 0; }),
            "[edifice_gqa] num_heads: expected 1 or more, got 0");
  EXPECT_EQ(refusal([](GqaOptions& o) { o.num_heads = 3; }),
            "[edifice_gqa] num_heads: expected a divisor of hidden_size = 16, got 3");
  EXPECT_EQ(refusal([](GqaOptions& o) { o.num_key_value_heads = 3; }),
            "[edifice_gqa] num_key_value_heads: expected a divisor of num_heads = 4, got 3");
  EXPECT_EQ(refusal([](GqaOptions& o) { o.num_key_value_heads = 8; }),
            "[edifice_gqa] num_key_value_heads: expected a divisor of num_heads = 4, got 8");
  EXPECT_EQ(refusal([](GqaOptions& o) {
              o.hidden_size = 12;
              o.yarn = true;
            }),
            "[edifice_gqa] hidden_size / num_heads: expected an even number with a rotary rule, "
            "got 3");
  EXPECT_THAT(refusal([](GqaOptions& o) { o.dropout = 1.0; }),
              HasSubstr("[edifice_gqa] dropout: expected 0 <= rate < 1, got 1.0"));
  EXPECT_THAT(refusal([](GqaOptions& o) { o.dropout = -0.1; }), HasSubstr("dropout"));
  EXPECT_THAT(refusal([](GqaOptions& o) { o.yarn_scale = 0.5; }), HasSubstr("yarn_scale"));
  EXPECT_THAT(refusal([](GqaOptions& o) { o.yarn_original_max_position = 0; }),
              HasSubstr("yarn_original_max_position: expected 1 or more, got 0"));
  EXPECT_THAT(refusal([](GqaOptions& o) { o.window_size = 0; }), HasSubstr("window_size"));
  EXPECT_EQ(refusal([](GqaOptions& o) { o.dtype = Dtype::bf16; }),
            "[edifice_gqa] dtype: expected f32 or f64, got bf16");
  EXPECT_THROW(edifice::param_count({.num_heads = 0}), ConfigError);
}

TEST(EdificeOptions, AnInputOfAnotherShapeIsRefused) {
  Context ctx;
  const auto model = edifice::build(small());
  const auto refusal = [&](const Tensor& x) {
    return error_of<ShapeError>([&] { (*model)(ctx, x); });
  };
  EXPECT_EQ(refusal(Tensor::zeros({2, 5, 13})),
            "[edifice_gqa] input: expected [*, *, 12], got [2, 5, 13]");
  EXPECT_EQ(refusal(Tensor::zeros({5, 12})),
            "[edifice_gqa] input: expected [*, *, 12], got [5, 12]");
  EXPECT_EQ(refusal(Tensor::zeros({2, 5, 12}, Dtype::f64)),
            "[edifice_gqa] input: expected f32, got f64");
  EXPECT_THAT(refusal(Tensor::zeros({2, 0, 12})), HasSubstr("1 position or more"));
  const Value masked{Tensor::zeros({2, 5, 12}), Tensor::zeros({2, 5}, Dtype::boolean)};
  EXPECT_EQ(error_of<ShapeError>([&] { model->forward(ctx, std::span(&masked, 1), {}, nullptr); }),
            "[edifice_gqa] input: expected no mask, got one");
}

TEST(EdificeOptions, ACacheOfAnotherModelIsRefused) {
  Context ctx;
  const auto model = edifice::build(small());
  const Tensor x = random_tensor({2, 3, 12}, 1);
  const auto refusal = [&](KvCacheConfig config) {
    KvCache cache(ctx, config);
    return error_of<ShapeError>([&] { model->step(ctx, x, cache); });
  };
  const KvCacheConfig fits = model->make_cache(ctx, 2, 16).config();
  auto config = fits;
  config.num_layers = 3;
  EXPECT_EQ(refusal(config), "[transformer] cache: expected 2 layers, got 3");
  config = fits;
  config.batch = 3;
  EXPECT_EQ(refusal(config),
            "[gqa_block_1/group_query_attention] query: expected [3, *, *], got [2, 3, 16]");
  config = fits;
  config.head_dim = 8;
  EXPECT_EQ(
      refusal(config),
      "[gqa_block_1/group_query_attention] cache: expected [*, 2, *, 4, *], got [2, 2, 1, 8, 16]");
  config = fits;
  config.dtype = Dtype::f64;
  EXPECT_EQ(refusal(config), "[gqa_block_1/group_query_attention] cache: expected f32, got f64");
}

TEST(EdificeOptions, WindowSizeAndSeqLenAreHintsOnly) {
  Context ctx;
  const Tensor x = random_tensor({1, 9, 12}, 1);
  const Tensor want = (*edifice::build(small({.rope = true})))(ctx, x);
  for (const GqaOptions& options :
       {small({.rope = true, .window_size = 2}), small({.rope = true, .seq_len = 4})}) {
    EXPECT_TRUE(same_bits((*edifice::build(options))(ctx, x), want));
  }
}

TEST(EdificeOptions, YarnWinsOverRopeAndPositionOverBoth) {
  Context ctx;
  const Tensor x = random_tensor({1, 9, 12}, 1);
  const auto output = [&](GqaOptions options) { return (*edifice::build(small(options)))(ctx, x); };
  const Tensor yarn = output({.yarn = true, .yarn_scale = 2, .yarn_original_max_position = 4});
  EXPECT_TRUE(same_bits(
      output({.rope = true, .yarn = true, .yarn_scale = 2, .yarn_original_max_position = 4}),
      yarn));
  EXPECT_FALSE(same_bits(output({.rope = true}), yarn));
  EXPECT_TRUE(same_bits(output({.yarn = true, .position = RopeConfig{}}), output({.rope = true})));
  EXPECT_TRUE(same_bits(output({.position = RopeConfig::edifice_yarn(2, 4)}), yarn));
}

TEST(EdificeOptions, OutputModesAgree) {
  Context ctx;
  const Tensor x = random_tensor({2, 9, 12}, 1);
  const auto output = [&](OutputMode mode) {
    return (*edifice::build(small({.rope = true, .output_mode = mode})))(ctx, x);
  };
  const Tensor all = output(OutputMode::all);
  ASSERT_EQ(all.shape(), Shape({2, 9, 16}));
  const Tensor last = output(OutputMode::last_timestep);
  EXPECT_TRUE(same_bits(last, dense(all.view().slice(1, 8, 9)).reshaped({2, 16})));
  Tensor mean({2, 16}, Dtype::f64);
  for (Index b = 0; b < 2; ++b) {
    for (Index m = 0; m < 16; ++m) {
      double sum = 0;
      for (Index t = 0; t < 9; ++t) sum += element(all, (b * 9 + t) * 16 + m);
      mean.data<double>()[b * 16 + m] = sum / 9;
    }
  }
  const double bound = testing::unit_roundoff(Dtype::f32) * 10 * testing::max_abs(all);
  CHECK_CLOSE(output(OutputMode::mean_pool), mean, bound, "mean over 9 steps");
}

TEST(EdificeNames, FindKnowsEveryParameterByEdificesName) {
  const auto model = edifice::build(small());
  struct Expected {
    const char *name, *path;
    Shape shape;
  };
  const Expected some[] = {
      {"input_projection.kernel", "input_projection/kernel", {12, 16}},
      {"gqa_block_1_attn_norm.gamma", "gqa_block_1/attn_norm/gamma", {16}},
      {"gqa_block_1_attn_q_proj.kernel", "gqa_block_1/attn/query/kernel", {16, 4, 4}},
      {"gqa_block_2_attn_k_proj.bias", "gqa_block_2/attn/key/bias", {2, 4}},
      {"gqa_block_2_attn_v_proj.kernel", "gqa_block_2/attn/value/kernel", {16, 2, 4}},
      {"gqa_block_1_attn_out_proj.kernel", "gqa_block_1/attn/attention_output/kernel", {4, 4, 16}},
      {"gqa_block_1_ffn_norm.beta", "gqa_block_1/ffn_norm/beta", {16}},
      {"gqa_block_1_ffn_up.kernel", "gqa_block_1/ffn_up/kernel", {16, 64}},
      {"gqa_block_2_ffn_down.bias", "gqa_block_2/ffn_down/bias", {16}},
      {"final_norm.gamma", "final_norm/gamma", {16}},
  };
  const auto parameters = model->parameters();
  for (const Expected& one : some) {
    Parameter* found = model->find(one.name);
    ASSERT_NE(found, nullptr) << one.name;
    EXPECT_EQ(found->shape(), one.shape) << one.name;
    const auto listed = std::find_if(parameters.begin(), parameters.end(),
                                     [&](const auto& entry) { return entry.path == one.path; });
    ASSERT_NE(listed, parameters.end()) << one.path;
    EXPECT_EQ(listed->parameter, found);
  }
  EXPECT_EQ(model->find("gqa_block_3_attn_norm.gamma"), nullptr);
  EXPECT_EQ(parameters.size(), 2U + 2 * 16 + 2);
  for (const auto& entry : parameters) {
    EXPECT_EQ(model->find(edifice::edifice_name(entry.path)), entry.parameter);
  }
}

TEST(EdificeNames, TheAttentionAloneHasItsOwnPrefixAndWidths) {
  Context ctx;
  const auto attention = edifice::build_gqa_attention(small({.rope = true}));
  EXPECT_EQ(attention->name(), "gqa_attn");
  EXPECT_EQ(edifice::edifice_name(attention->name() + "/query/kernel"), "gqa_attn_q_proj.kernel");
  const Tensor x = random_tensor({2, 5, 12}, 1);
  const Tensor y = (*attention)(ctx, {.query = x, .value = x});
  EXPECT_EQ(y.shape(), Shape({2, 5, 16}));
  const Tensor prefix = dense(x.view().slice(1, 0, 3));
  EXPECT_TRUE(same_bits((*attention)(ctx, {.query = prefix, .value = prefix}),
                        dense(y.view().slice(1, 0, 3))));
}

TEST(EdificeInitialWeights, GainsAreOnesOrEdifices) {
  const auto plain = edifice::build(small());
  const ConstView ones = plain->find("gqa_block_1_ffn_norm.gamma")->value();
  for (Index i = 0; i < 16; ++i) EXPECT_EQ(element(ones, i), 1);
  const auto model = edifice::build(small({.edifice_gains = true}));
  const ConstView random = model->find("gqa_block_1_ffn_norm.gamma")->value();
  Index negative = 0;
  for (Index i = 0; i < 16; ++i) {
    EXPECT_LE(std::abs(element(random, i)), std::sqrt(3.0));
    negative += element(random, i) < 0 ? 1 : 0;
  }
  EXPECT_GT(negative, 0);
  EXPECT_LT(negative, 16);
  EXPECT_GT(testing::max_abs(random), 1.0);
  EXPECT_EQ(testing::max_abs(model->find("gqa_block_1_ffn_norm.beta")->value()), 0);
}

TEST(EdificeInitialWeights, TheSeedDecides) {
  const auto first = [](std::uint64_t seed, Dtype dtype) {
    const auto model = edifice::build(small({.dtype = dtype, .seed = seed}));
    return dense(model->find("gqa_block_2_ffn_up.kernel")->value());
  };
  EXPECT_TRUE(same_bits(first(1, Dtype::f32), first(1, Dtype::f32)));
  EXPECT_FALSE(same_bits(first(1, Dtype::f32), first(2, Dtype::f32)));
  EXPECT_TRUE(same_bits(first(1, Dtype::f32), converted(first(1, Dtype::f64), Dtype::f32)));
}

TEST(EdificeModel, ARowDependsOnItsPastAlone) {
  for (const Isa isa : isas_under_test()) {
    Context ctx({.num_threads = 2, .isa = isa});
    const auto model = edifice::build(small({.rope = true, .output_mode = OutputMode::all}));
    const Tensor x = random_tensor({2, 37, 12}, 1);
    const Tensor full = (*model)(ctx, x);
    Tensor changed = x.clone();
    fill_zero(changed.view().slice(1, 20, 37));
    const Tensor again = (*model)(ctx, changed);
    EXPECT_TRUE(same_bits(dense(again.view().slice(1, 0, 20)), dense(full.view().slice(1, 0, 20))));
    // A prefix is another problem to the kernels: equal up to rounding.
    const double bound = 1e-5 * testing::max_abs(full);
    for (const Index length : {1, 2, 16, 17, 36}) {
      CHECK_CLOSE((*model)(ctx, dense(x.view().slice(1, 0, length))),
                  dense(full.view().slice(1, 0, length)), bound, "prefix");
    }
  }
}

TEST(EdificeModel, ConstantInputsStayFinite) {
  Context ctx;
  const auto model = edifice::build(small({.rope = true}));
  for (const float value : {0.0F, 1.0F, 100.0F, -1.0F, -100.0F}) {
    Tensor x({2, 8, 12});
    std::fill_n(x.data<float>(), x.size(), value);
    const Tensor y = (*model)(ctx, x);
    for (Index i = 0; i < y.size(); ++i) EXPECT_TRUE(std::isfinite(y.data<float>()[i])) << value;
  }
}

// Differences between two training calls show which dropouts act.
TEST(EdificeDropout, ActsBetweenBlocksOnlyWhenGiven) {
  Context ctx;
  const Tensor x = random_tensor({2, 6, 12}, 1);
  const auto draws = [&](GqaOptions options) {
    RandomStream random(5);
    const Mode mode{.training = true, .random = &random};
    const auto model = edifice::build(small(options));
    const Tensor trained = call(ctx, *model, {x}, mode);
    EXPECT_TRUE(same_bits((*model)(ctx, x), call(ctx, *model, {x}))) << "inference is not affected";
    if (random.next_draw() > 0) {
      EXPECT_FALSE(same_bits((*model)(ctx, x), trained));
    }
    return random.next_draw();
  };
  EXPECT_EQ(draws({}), 4U);                // two places in each of two blocks
  EXPECT_EQ(draws({.dropout = 0.1}), 5U);  // and between the blocks
  EXPECT_EQ(draws({.dropout = 0.0}), 0U);
}

TEST(EdificeDropout, TrainingWithoutARandomStreamIsRefused) {
  Context ctx;
  const auto model = edifice::build(small());
  EXPECT_EQ(
      error_of<ConfigError>([&] {
        call(ctx, *model, {random_tensor({1, 2, 12}, 1)}, {.training = true});
      }),
      "[gqa_block_1/dropout] mode.random: expected a random stream, a seed, or build(), got none");
}

}  // namespace
}  // namespace grouphead
