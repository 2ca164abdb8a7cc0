// Low-rank changes of a model's attention.

#include <gmock/gmock.h>

#include "gradient_support.h"
#include "grouphead/models/lora.h"
#include "grouphead/train/fit.h"
#include "support.h"

namespace grouphead {
namespace {

using namespace testing_support;  // NOLINT(google-build-using-namespace)
using ::testing::HasSubstr;

TransformerModelConfig small(Dtype dtype) {
  TransformerModelConfig config;
  config.vocab_size = 11;
  config.hidden_size = 8;
  config.num_layers = 2;
  config.attention = {.num_heads = 2, .num_key_value_heads = 1, .head_dim = 4};
  config.feed_forward.width = 6;
  config.ropes = {RopeConfig{}};
  config.dtype = DtypePolicy(dtype);
  config.seed = 4;
  return config;
}

Tensor number(ConstView x) {
  Tensor copy_of(x.shape(), x.dtype());
  copy(x, copy_of);
  return copy_of;
}

void fill_low_rank(LoraModel& lora) {
  std::uint64_t seed = 50;
  for (const auto& [path, parameter] : lora.parameters()) {
    copy(random_tensor(parameter->shape(), ++seed, parameter->dtype()), parameter->edit());
  }
}

TEST(LoraModel, StartsAsTheModelAndAddsTheProduct) {
  Context ctx({.num_threads = 1});
  const auto model = std::make_shared<TransformerModel>(small(Dtype::f64));
  const TransformerModel untouched(small(Dtype::f64));
  LoraModel lora(model, {.rank = 2, .alpha = 3});
  const ParameterList low_rank = lora.parameters();
  ASSERT_EQ(low_rank.size(), 2U * 4U * 2U);
  EXPECT_EQ(low_rank[0].path, "layers/0/attention/query/lora_a");
  EXPECT_EQ(low_rank[0].parameter->shape(), Shape({8, 2}));
  EXPECT_EQ(low_rank[1].parameter->shape(), Shape({2, 8}));
  const Tensor tokens = random_tokens({2, 5}, 11, 1);
  EXPECT_TRUE(same_bits(call(ctx, lora, {tokens}), untouched(ctx, {.tokens = tokens})));

  fill_low_rank(lora);
  lora.merged(ctx);
  const auto find = [](const ConstParameterList& list, const std::string& path) {
    for (const auto& one : list) {
      if (one.path == path) return number(one.parameter->value());
    }
    throw std::runtime_error(path);
  };
  // The output's kernel [Hq, D, M] has Hq D inputs.
  const std::string path = "layers/1/attention/attention_output/";
  const Tensor w = find(untouched.parameters(), path + "kernel");
  const Tensor sum = find(std::as_const(*model).parameters(), path + "kernel");
  const Tensor a = find(lora.parameters(), path + "lora_a");
  const Tensor b = find(lora.parameters(), path + "lora_b");
  for (Index k = 0; k < 8; ++k) {
    for (Index n = 0; n < 8; ++n) {
      double want = element(w, k * 8 + n);
      for (Index r = 0; r < 2; ++r) want += 1.5 * element(a, k * 2 + r) * element(b, r * 8 + n);
      EXPECT_NEAR(element(sum, k * 8 + n), want, 1e-14);
    }
  }
  const std::string other = "layers/1/feed_forward/up/kernel";
  EXPECT_TRUE(same_bits(find(std::as_const(*model).parameters(), other),
                        find(untouched.parameters(), other)));
}

TEST(LoraModel, GradientsAreExact) {
  Context ctx({.num_threads = 1});
  LoraModel lora(std::make_shared<TransformerModel>(small(Dtype::f64)), {.rank = 2, .alpha = 3});
  fill_low_rank(lora);
  check_gradients(ctx, {.layer = lora, .in = {random_tokens({1, 4}, 11, 2)}});
}

TEST(LoraModel, AStepChangesTheAttentionAlone) {
  Context ctx({.num_threads = 1});
  const auto model = std::make_shared<TransformerModel>(small(Dtype::f32));
  const TransformerModel before(small(Dtype::f32));
  LoraModel lora(model, {.rank = 2, .seed = 3});
  CompiledModel compiled(lora, {.optimizer = std::make_shared<Adam>(AdamConfig{}),
                                .loss = {sparse_categorical_crossentropy({.from_logits = true})}});
  const Data batch{.x = {random_tokens({2, 5}, 11, 1)}, .y = {random_tokens({2, 5}, 11, 2)}};
  const double first = compiled.train_on_batch(ctx, batch);
  for (int i = 0; i < 30; ++i) compiled.train_on_batch(ctx, batch);
  EXPECT_LT(compiled.test_on_batch(ctx, batch), first);
  lora.merged(ctx);
  const auto now = std::as_const(*model).parameters();
  const auto old = before.parameters();
  for (std::size_t i = 0; i < now.size(); ++i) {
    const bool is_kernel = now[i].path.find("/attention/") != std::string::npos;
    EXPECT_EQ(same_bits(now[i].parameter->value(), old[i].parameter->value()), !is_kernel)
        << now[i].path;
  }
}

TEST(LoraModel, RefusesWhatIsNoRank) {
  const auto model = std::make_shared<TransformerModel>(small(Dtype::f32));
  EXPECT_THAT(error_of<ConfigError>([&] { LoraModel(model, {.rank = 0}); }), HasSubstr("rank"));
}

}  // namespace
}  // namespace grouphead
