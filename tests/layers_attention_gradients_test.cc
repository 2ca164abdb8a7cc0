// Gradients of GroupQueryAttention and MultiHeadAttention, option by option, in double.

#include "attention_layer_support.h"

namespace grouphead {
namespace {

using namespace testing_support;  // NOLINT(google-build-using-namespace)

Value f64(const Shape& shape, std::uint64_t seed) {
  return {random_tensor(shape, seed, Dtype::f64), {}};
}

GroupQueryAttentionConfig gqa() {
  return {.head_dim = 4, .num_query_heads = 4, .num_key_value_heads = 2, .dtype = Dtype::f64};
}
MultiHeadAttentionConfig mha() { return {.num_heads = 2, .key_dim = 3, .dtype = Dtype::f64}; }

AttentionArguments with_scores() {
  AttentionArguments arguments;
  arguments.return_attention_scores = true;
  return arguments;
}
AttentionArguments causal() {
  AttentionArguments arguments;
  arguments.use_causal_mask = true;
  return arguments;
}

template <class LayerType, class Config>
void check(const Config& config, const std::vector<Value>& in, const AttentionArguments& arguments,
           bool training = false, bool has_losses = false) {
  Context ctx({.num_threads = 1});
  const auto layer = made<LayerType>(config, in);
  check_attention_gradients(ctx, {.layer = *layer,
                                  .in = in,
                                  .arguments = arguments,
                                  .training = training,
                                  .has_losses = has_losses});
}

TEST(GroupQueryAttentionGradients, Gate) {
  GroupQueryAttentionConfig config = gqa();
  config.use_gate = true;
  check<GroupQueryAttention>(config, {f64({2, 3, 5}, 1), f64({2, 4, 6}, 2)}, {});
}

TEST(GroupQueryAttentionGradients, OptionsOfLogits) {
  GroupQueryAttentionConfig config = gqa();
  config.softcap = 0.8;
  config.alibi_slopes = alibi_slopes(4);
  config.sinks = true;
  check<GroupQueryAttention>(config, {f64({2, 3, 5}, 1), f64({2, 4, 6}, 2)}, causal());
  check<GroupQueryAttention>(config, {f64({2, 3, 5}, 1), f64({2, 4, 6}, 2)}, with_scores());
  MultiHeadAttentionConfig multi = mha();
  multi.softcap = 0.8;
  multi.alibi_slopes = {0.5, 0};
  multi.sinks = true;
  check<MultiHeadAttention>(multi, {f64({2, 3, 5}, 1)}, causal());
}

TEST(GroupQueryAttentionGradients, Window) {
  GroupQueryAttentionConfig config = gqa();
  config.sliding_window = 2;
  check<GroupQueryAttention>(config, {f64({2, 5, 5}, 1), f64({2, 3, 5}, 2)}, causal());
}

TEST(GroupQueryAttentionGradients, ScoresCotangent) {
  check<GroupQueryAttention>(gqa(), {f64({2, 3, 5}, 1), f64({2, 4, 6}, 2)}, with_scores());
}

TEST(GroupQueryAttentionGradients, EveryMask) {
  for (const bool scores : {false, true}) {
    SCOPED_TRACE(scores);
    AttentionArguments arguments = causal();
    arguments.return_attention_scores = scores;
    check<GroupQueryAttention>(gqa(),
                               {f64({2, 4, 5}, 1),
                                f64({2, 4, 5}, 2),
                                f64({2, 4, 3}, 3),
                                {random_mask({2, 4}, 1), {}},
                                {random_mask({2, 4}, 2), {}},
                                {random_mask({2, 4}, 3), {}},
                                {random_mask({2, 4, 4}, 4), {}}},
                               arguments);
  }
}

TEST(GroupQueryAttentionGradients, RowsThatSeeNothing) {
  const Tensor none = bools({3, 4}, {1, 1, 0, 1, 0, 0, 0, 0, 0, 1, 1, 0});
  for (const MaskedRows rows : {MaskedRows::zeros, MaskedRows::uniform}) {
    for (const bool scores : {false, true}) {
      SCOPED_TRACE(scores);
      GroupQueryAttentionConfig config = gqa();
      config.masked_rows = rows;
      check<GroupQueryAttention>(config,
                                 {f64({2, 3, 5}, 1), f64({2, 4, 5}, 2), {}, {}, {}, {}, {none, {}}},
                                 scores ? with_scores() : AttentionArguments());
    }
  }
}

TEST(GroupQueryAttentionGradients, BiasOfEveryRank) {
  for (const Shape& shape : {Shape{3, 4}, Shape{2, 1, 4}, Shape{2, 4, 3, 4}, Shape{1, 4, 3, 1}}) {
    SCOPED_TRACE(shape.to_string());
    check<GroupQueryAttention>(
        gqa(), {f64({2, 3, 5}, 1), f64({2, 4, 6}, 2), {}, {}, {}, {}, {}, f64(shape, 3)},
        with_scores());
  }
}

TEST(GroupQueryAttentionGradients, DropoutOfOneDraw) {
  GroupQueryAttentionConfig config = gqa();
  config.dropout = 0.4;
  config.use_gate = true;
  for (const bool scores : {false, true}) {
    check<GroupQueryAttention>(config, {f64({2, 3, 5}, 1), f64({2, 4, 6}, 2)},
                               scores ? with_scores() : causal(), true);
  }
}

TEST(GroupQueryAttentionGradients, ActivityPenalties) {
  GroupQueryAttentionConfig config = gqa();
  config.activity_regularizer = Regularizer("l2");
  config.use_gate = true;
  config.rope = RopeConfig{};
  check<GroupQueryAttention>(config, {f64({2, 3, 5}, 1), f64({2, 4, 6}, 2)}, with_scores(), false,
                             true);
}

TEST(MultiHeadAttentionGradients, ValueDimGateAndOutputShape) {
  MultiHeadAttentionConfig config = mha();
  config.value_dim = 5;
  config.use_gate = true;
  config.output_shape = {2, 3};
  check<MultiHeadAttention>(config, {f64({2, 3, 5}, 1), f64({2, 4, 6}, 2), f64({2, 4, 2}, 3)},
                            with_scores());
}

TEST(MultiHeadAttentionGradients, ActivityPenalties) {
  MultiHeadAttentionConfig config = mha();
  config.activity_regularizer = Regularizer("l2");
  check<MultiHeadAttention>(config, {f64({2, 3, 5}, 1), f64({2, 4, 6}, 2)}, causal(), false, true);
}

TEST(MultiHeadAttentionGradients, EveryChoiceOfAxes) {
  const std::vector<Value> in = {f64({2, 2, 3, 4}, 1), f64({2, 2, 3, 5}, 2)};
  for (const std::vector<Index>& axes : {std::vector<Index>{}, {1}, {2}, {-2}, {1, 2}, {2, 1}}) {
    SCOPED_TRACE(axes.size());
    MultiHeadAttentionConfig config = mha();
    config.attention_axes = axes;
    check<MultiHeadAttention>(config, in, with_scores());
  }
}

TEST(MultiHeadAttentionGradients, AxesWithMaskBiasAndDropout) {
  MultiHeadAttentionConfig config = mha();
  config.attention_axes = {1};
  config.dropout = 0.3;
  check<MultiHeadAttention>(config,
                            {f64({2, 2, 3, 4}, 1),
                             f64({2, 4, 3, 5}, 2),
                             {},
                             {},
                             {random_mask({2, 4}, 1), {}},
                             {},
                             {random_mask({2, 2, 4}, 2), {}},
                             f64({2, 3, 2, 2, 4}, 3)},
                            causal(), true);
}

}  // namespace
}  // namespace grouphead
