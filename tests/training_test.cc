#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <tbb/global_control.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <limits>
#include <set>
#include <thread>

#include "core/context_impl.h"
#include "grouphead/train/fit.h"
#include "io/safetensors.h"
#include "support.h"
#include "training_support.h"

namespace grouphead {
namespace {

using ::testing::HasSubstr;
using testing_support::example_text;
using testing_support::same_weights;
using testing_support::tiny_config;

// ---- tests/golden/training/steps.safetensors ---------------------------------------------------

template <class F>
double element(ConstView view, Index i) {
  return static_cast<double>(view.data<F>()[i]);
}
double element(ConstView view, Index i) {
  return view.dtype() == Dtype::f64 ? element<double>(view, i) : element<float>(view, i);
}

void set(ConstView from, View to) {
  ASSERT_EQ(from.shape(), to.shape());
  for (Index i = 0; i < from.size(); ++i) {
    if (to.dtype() == Dtype::f64) {
      to.data<double>()[i] = element(from, i);
    } else {
      to.data<float>()[i] = static_cast<float>(element(from, i));
    }
  }
}

struct Distances {
  double loss = 0;
  double norm = 0;
  double weight = 0;
  std::string worst_weight;
};

// Follows the twenty steps and returns the largest absolute differences.
Distances follow_golden(Context& ctx, Dtype dtype) {
  const io::Safetensors golden = io::read_safetensors(std::string(GROUPHEAD_SOURCE_DIR) +
                                                      "/tests/golden/training/steps.safetensors");
  LanguageModel model({.vocab_size = 16,
                       .transformer = {.hidden_size = 16,
                                       .num_heads = 4,
                                       .num_key_value_heads = 2,
                                       .num_layers = 2,
                                       .feed_forward = 32,
                                       .rope = RopeConfig{},
                                       .dtype = dtype}});
  const auto parameters = model.parameters();
  for (const auto& [path, parameter] : parameters) {
    set(golden.at("initial/" + path), parameter->edit());
  }
  const auto optimizer = std::make_shared<AdamW>(
      AdamWConfig{.learning_rate = CosineDecay{.initial_learning_rate = 1e-3,
                                               .decay_steps = 15,
                                               .alpha = 0.1,
                                               .warmup_target = 2e-2,
                                               .warmup_steps = 5},
                  .weight_decay = 0.05,
                  .options = {.global_clipnorm = 1.25}});
  CompiledModel compiled(model, {.optimizer = optimizer,
                                 .loss = {sparse_categorical_crossentropy({.from_logits = true})}});
  const ConstView steps = golden.at("steps").view();
  Distances worst;
  for (Index step = 0; step < steps.dim(0); ++step) {
    Tensor tokens({3, 12}, Dtype::i32);
    Tensor labels({3, 12}, Dtype::i32);
    copy(golden.at("tokens").view().slice(0, step, step + 1).reshaped({3, 12}), tokens);
    copy(golden.at("labels").view().slice(0, step, step + 1).reshaped({3, 12}), labels);
    EXPECT_DOUBLE_EQ(optimizer->learning_rate(), element(steps, 3 * step + 2));
    const double loss = compiled.train_on_batch(ctx, {.x = {tokens}, .y = {labels}});
    const double norm = compiled.gradient_norm();
    worst.loss = std::max(worst.loss, std::abs(loss - element(steps, 3 * step)));
    worst.norm = std::max(worst.norm, std::abs(norm - element(steps, 3 * step + 1)));
  }
  for (const auto& [path, parameter] : parameters) {
    const ConstView want = golden.at("final/" + path).view();
    for (Index i = 0; i < want.size(); ++i) {
      const double distance = std::abs(element(parameter->value(), i) - element(want, i));
      if (!(distance <= worst.weight)) {
        worst.weight = distance;
        worst.worst_weight = path + " element " + std::to_string(i);
      }
    }
  }
  return worst;
}

TEST(Golden, TwentyStepsInDoubleAreNumPys) {
  Context ctx({.num_threads = 2});
  const Distances worst = follow_golden(ctx, Dtype::f64);
  EXPECT_LT(worst.loss, 1e-9);
  EXPECT_LT(worst.norm, 1e-9);
  EXPECT_LT(worst.weight, 1e-9) << worst.worst_weight;
}

TEST(Golden, TwentyStepsInSingleFollowWithinOneTenThousandth) {
  for (const Isa isa : testing_support::isas_under_test()) {
    Context ctx({.num_threads = 2, .isa = isa});
    const Distances worst = follow_golden(ctx, Dtype::f32);
    EXPECT_LT(worst.loss, 1e-4) << name_of(isa);
    EXPECT_LT(worst.norm, 1e-4) << name_of(isa);
    EXPECT_LT(worst.weight, 1e-4) << name_of(isa) << " " << worst.worst_weight;
  }
}

// ---- Optimizer and schedule ---------------------------------------------------------------------

TEST(AdamW, ClippingScalesTheJointNormAndKeepsSmallOnes) {
  Context ctx;
  Parameter a("a", {2}, Dtype::f64);
  Parameter b("b", {1}, Dtype::f64);
  Parameter still("still", {1}, Dtype::f64, {.trainable = false});
  const ParameterList list = {{"a", &a}, {"b", &b}, {"still", &still}};
  const auto momentum_after = [&](double clipnorm) {
    AdamW optimizer({.beta_1 = 0.5, .weight_decay = 0, .options = {.global_clipnorm = clipnorm}});
    optimizer.build(list);
    EXPECT_EQ(optimizer.parameters().size(), 2U);
    Grads grads(ctx, list);
    grads.of(a).data<double>()[0] = 2;
    grads.of(a).data<double>()[1] = 6;
    grads.of(b).data<double>()[0] = 9;
    EXPECT_DOUBLE_EQ(optimizer.step(ctx, grads), 11);
    EXPECT_EQ(optimizer.iterations(), 1);
    return optimizer.slots()[0].tensors[1].data<double>()[0];
  };
  EXPECT_NEAR(momentum_after(5.5), 9 * 0.5 * 0.5, 1e-12);
  EXPECT_NEAR(momentum_after(12), 9 * 0.5, 1e-12);
}

TEST(AdamW, ImpossibleRatesAreRefused) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THROW(AdamW({.learning_rate = -1}), ConfigError);
  EXPECT_THROW(AdamW({.learning_rate = nan}), ConfigError);
  EXPECT_THROW(AdamW({.weight_decay = -1}), ConfigError);
  EXPECT_THROW(AdamW({.beta_1 = 1}), ConfigError);
  EXPECT_THROW(AdamW({.beta_2 = 1.5}), ConfigError);
  EXPECT_THROW(AdamW({.epsilon = nan}), ConfigError);
  EXPECT_THROW(AdamW({.options = {.global_clipnorm = 0.0}}), ConfigError);
}

TEST(CosineDecay, FollowsKeras) {
  // keras.optimizers.schedules.CosineDecay(0.1, 100, alpha=0.01)
  const CosineDecay plain{.initial_learning_rate = 0.1, .decay_steps = 100, .alpha = 0.01};
  EXPECT_DOUBLE_EQ(plain(0), 0.1);
  EXPECT_NEAR(plain(50), 0.1 * (0.99 * 0.5 + 0.01), 1e-15);
  EXPECT_NEAR(plain(100), 0.001, 1e-15);
  EXPECT_NEAR(plain(1000), 0.001, 1e-15);
  // ... with warmup_target=0.5, warmup_steps=10 the decay starts after the warm-up
  CosineDecay warm = plain;
  warm.warmup_target = 0.5;
  warm.warmup_steps = 10;
  EXPECT_DOUBLE_EQ(warm(0), 0.1);
  EXPECT_NEAR(warm(5), 0.3, 1e-15);
  EXPECT_DOUBLE_EQ(warm(10), 0.5);
  EXPECT_NEAR(warm(60), 0.5 * (0.99 * 0.5 + 0.01), 1e-15);
  EXPECT_NEAR(warm(110), 0.005, 1e-15);
}

// ---- Text --------------------------------------------------------------------------------------

TEST(TextData, LabelsAreTheNextBytesAndStayInTheirPart) {
  std::string text;
  for (int i = 0; i < 1000; ++i) text += static_cast<char>(i * 7);
  const TextData data(text, 16);
  EXPECT_EQ(data.training_size(), 950);
  Tensor tokens({64, 16}, Dtype::i32);
  Tensor labels({64, 16}, Dtype::i32);
  std::set<std::int32_t> first;
  data.training_batch({1, 2}, tokens, labels);
  for (Index i = 0; i < 64 * 16; ++i) {
    ASSERT_EQ(labels.data<std::int32_t>()[i], (tokens.data<std::int32_t>()[i] + 7) % 256);
    if (i % 16 == 0) first.insert(tokens.data<std::int32_t>()[i]);
  }
  EXPECT_GT(first.size(), 40U);
  EXPECT_EQ(data.num_validation_windows(), 3);
  Tensor held_out({3, 16}, Dtype::i32);
  Tensor next({3, 16}, Dtype::i32);
  data.validation_batch(0, 3, held_out, next);
  EXPECT_EQ(held_out.data<std::int32_t>()[0], 950 * 7 % 256);
  EXPECT_EQ(next.data<std::int32_t>()[47], (950 + 48) * 7 % 256);
}

TEST(TextData, BatchesDependOnTheKeyAlone) {
  const TextData data(example_text(5000), 16);
  const auto batch = [&](RandomKey key) {
    Tensor tokens({8, 16}, Dtype::i32);
    Tensor labels({8, 16}, Dtype::i32);
    data.training_batch(key, tokens, labels);
    return tokens;
  };
  EXPECT_TRUE(testing_support::same_bits(batch({1, 5}), batch({1, 5})));
  EXPECT_FALSE(testing_support::same_bits(batch({1, 5}), batch({1, 6})));
  EXPECT_FALSE(testing_support::same_bits(batch({1, 5}), batch({2, 5})));
}

TEST(TextData, ShortTextsAreRefusedWithBothLengths) {
  EXPECT_THROW(TextData("", 16), ConfigError);
  EXPECT_THROW(TextData("x", 16), ConfigError);
  EXPECT_THROW(TextData(std::string(33, 'x'), 16), ConfigError);
  EXPECT_THROW(TextData("x", std::numeric_limits<Index>::max()), ConfigError);
  EXPECT_THROW(TextData("x", 0), ConfigError);
  const TextData smallest(std::string(34, 'x'), 16);
  EXPECT_EQ(smallest.num_validation_windows(), 1);
  try {
    TextData(std::string(20, 'x'), 16);
    FAIL();
  } catch (const ConfigError& error) {
    EXPECT_THAT(error.what(), HasSubstr("T = 16"));
    EXPECT_THAT(error.what(), HasSubstr("got 20"));
  }
}

TEST(TextData, FingerprintTellsTextsApart) {
  const std::string text = example_text(500);
  std::string other = text;
  other[250] ^= 1;
  EXPECT_EQ(TextData(text, 8).fingerprint(), TextData(text, 8).fingerprint());
  EXPECT_NE(TextData(text, 8).fingerprint(), TextData(other, 8).fingerprint());
}

// ---- Trainer -----------------------------------------------------------------------------------

TEST(Trainer, LearnsAndValidatesOnTheHeldOutPart) {
  Context ctx({.num_threads = 2});
  TrainerConfig config = tiny_config();
  config.steps = 150;
  config.dropout = 0;
  Trainer trainer(ctx, config, TextData(example_text(20000), config.sequence_length));
  const double before = trainer.validate();
  EXPECT_NEAR(before, std::log(256.0), 1);
  while (!trainer.is_done()) trainer.step();
  const double after = trainer.validate();
  EXPECT_LT(after, before - 2);
  EXPECT_DOUBLE_EQ(trainer.validate(), after);
}

TEST(Trainer, ImpossibleConfigurationsAreRefused) {
  Context ctx({.num_threads = 1});
  const auto refused = [&](auto change) {
    TrainerConfig config = tiny_config();
    change(config);
    TextData text(example_text(2000), 24);
    EXPECT_THROW(Trainer(ctx, config, std::move(text)), ConfigError);
  };
  refused([](TrainerConfig& c) { c.num_heads = 3; });
  refused([](TrainerConfig& c) { c.num_key_value_heads = 3; });
  refused([](TrainerConfig& c) {
    c.num_heads = c.num_key_value_heads = 16;
  });  // odd head size with rope
  refused([](TrainerConfig& c) { c.batch_size = 0; });
  refused([](TrainerConfig& c) { c.steps = 0; });
  refused([](TrainerConfig& c) { c.warmup_steps = c.steps; });
  refused([](TrainerConfig& c) { c.learning_rate = 0; });
  refused([](TrainerConfig& c) { c.dropout = 1; });
  refused([](TrainerConfig& c) { c.yarn_scale = 0.5; });
  refused([](TrainerConfig& c) { c.rope = false, c.yarn_scale = 4; });
  refused([](TrainerConfig& c) { c.sequence_length = 23; });  // not the text's
}

// Whether `count` threads of the Context run at the same time.
bool has_workers(Context& ctx, int count) {
  std::atomic<int> arrived{0};
  std::atomic<bool> all{true};
  ctx.impl().parallel_for(count, [&](Index, int) {
    arrived.fetch_add(1);
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (arrived.load() < count) {
      if (std::chrono::steady_clock::now() > limit) {
        all = false;
        return;
      }
      std::this_thread::yield();
    }
  });
  return all;
}

TEST(Trainer, ThreadsDoNotChangeTheBits) {
  const tbb::global_control more_than_cores(tbb::global_control::max_allowed_parallelism, 8);
  TrainerConfig config = tiny_config();
  config.steps = 200;
  config.batch_size = 8;  // enough rows that every kind of work is cut into several units
  config.sequence_length = 64;
  const auto trained = [&](int threads, std::vector<double>& losses) {
    auto ctx = std::make_unique<Context>(ContextOptions{.num_threads = threads});
    EXPECT_TRUE(has_workers(*ctx, threads)) << threads;
    auto trainer = std::make_unique<Trainer>(*ctx, config,
                                             TextData(example_text(20000), config.sequence_length));
    while (!trainer->is_done()) losses.push_back(trainer->step().loss);
    losses.push_back(trainer->validate());
    return std::pair(std::move(ctx), std::move(trainer));
  };
  std::vector<double> one_losses;
  const auto one = trained(1, one_losses);
  for (const int threads : {2, 5}) {
    std::vector<double> losses;
    const auto many = trained(threads, losses);
    EXPECT_EQ(losses, one_losses) << threads;
    EXPECT_TRUE(same_weights(many.second->model(), one.second->model())) << threads;
  }
}

}  // namespace
}  // namespace grouphead
