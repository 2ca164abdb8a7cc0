// MultiHeadAttention over any axes, against itself on inputs of rank 3.

#include <gmock/gmock.h>

#include "attention_layer_support.h"

namespace grouphead {
namespace {

using namespace testing_support;  // NOLINT(google-build-using-namespace)

const MultiHeadAttentionConfig kConfig = {
    .num_heads = 2, .key_dim = 3, .value_dim = 4, .use_gate = true, .dtype = Dtype::f64};

Tensor f64(const Shape& shape, std::uint64_t seed) {
  return random_tensor(shape, seed, Dtype::f64);
}

std::unique_ptr<MultiHeadAttention> over(std::vector<Index> axes, const AttentionInputs& in) {
  MultiHeadAttentionConfig config = kConfig;
  config.attention_axes = std::move(axes);
  return made<MultiHeadAttention>(config, operands_of(in));
}

// The layer of rank 3 with the same numbers.
std::unique_ptr<MultiHeadAttention> plain(const MultiHeadAttention& layer, Index width_of_query,
                                          Index width_of_value) {
  auto same = std::make_unique<MultiHeadAttention>(kConfig);
  build(*same, {{1, 1, width_of_query}, {1, 1, width_of_value}});
  copy_parameters(layer, *same);
  return same;
}

Tensor sliced(const LayerInput& x, int axis, Index at, const Shape& shape) {
  return dense(x.view().slice(axis, at, at + 1)).reshaped(shape);
}

constexpr double kBound = 1e-12;  // sums of a dozen numbers around 1, in double

TEST(AttentionAxes, OfTheLastInnerAxisTreatTheOthersAsBatches) {
  Context ctx;
  const AttentionInputs in{.query = f64({2, 3, 4, 5}, 1), .value = f64({2, 3, 6, 7}, 2)};
  const auto layer = over({2}, in);
  const AttentionOutput got = layer->with_scores(ctx, in);
  const AttentionOutput want =
      plain(*layer, 5, 7)
          ->with_scores(ctx, {.query = in.query.view().reshaped({6, 4, 5}),
                              .value = in.value.view().reshaped({6, 6, 7})});
  EXPECT_EQ(got.output.shape(), Shape({2, 3, 4, 5}));
  EXPECT_EQ(got.scores.shape(), Shape({2, 3, 2, 4, 6}));
  CHECK_CLOSE(got.output.reshaped({6, 4, 5}), want.output, kBound, "axis 2");
  CHECK_CLOSE(got.scores.reshaped({6, 2, 4, 6}), want.scores, kBound, "axis 2");
  EXPECT_TRUE(same_bits(over({-2}, in)->with_scores(ctx, in).output, got.output));
}

TEST(AttentionAxes, MayLeaveTheLastInnerAxisOut) {
  Context ctx;
  const AttentionInputs in{.query = f64({2, 3, 4, 5}, 1), .value = f64({2, 6, 4, 7}, 2)};
  const auto layer = over({1}, in);
  const AttentionOutput got = layer->with_scores(ctx, in);
  EXPECT_EQ(got.scores.shape(), Shape({2, 4, 2, 3, 6}));
  const auto same = plain(*layer, 5, 7);
  for (Index column = 0; column < 4; ++column) {
    const AttentionOutput want =
        same->with_scores(ctx, {.query = sliced(in.query, 2, column, {2, 3, 5}),
                                .value = sliced(in.value, 2, column, {2, 6, 7})});
    CHECK_CLOSE(sliced(got.output, 2, column, {2, 3, 5}), want.output, kBound, "axis 1");
    CHECK_CLOSE(sliced(got.scores, 1, column, {2, 2, 3, 6}), want.scores, kBound, "axis 1");
  }
}

TEST(AttentionAxes, TogetherAreOneLongAxis) {
  Context ctx;
  const AttentionInputs in{.query = f64({2, 3, 4, 5}, 1), .value = f64({2, 2, 6, 7}, 2)};
  const auto layer = over({}, in);
  const AttentionOutput got = layer->with_scores(ctx, in);
  const AttentionOutput want =
      plain(*layer, 5, 7)
          ->with_scores(ctx, {.query = in.query.view().reshaped({2, 12, 5}),
                              .value = in.value.view().reshaped({2, 12, 7})});
  EXPECT_EQ(got.scores.shape(), Shape({2, 2, 3, 4, 2, 6}));
  CHECK_CLOSE(got.output.reshaped({2, 12, 5}), want.output, kBound, "all axes");
  CHECK_CLOSE(got.scores.reshaped({2, 2, 12, 12}), want.scores, kBound, "all axes");

  // In another order the scores' axes change places, and nothing else.
  const AttentionOutput turned = over({2, 1}, in)->with_scores(ctx, in);
  ASSERT_EQ(turned.scores.shape(), Shape({2, 2, 4, 3, 6, 2}));
  CHECK_CLOSE(turned.output, got.output, kBound, "axes 2, 1");
  Index i = 0;
  for (Index head = 0; head < 4; ++head) {
    for (Index t1 = 0; t1 < 3; ++t1) {
      for (Index t2 = 0; t2 < 4; ++t2) {
        for (Index s1 = 0; s1 < 2; ++s1) {
          for (Index s2 = 0; s2 < 6; ++s2, ++i) {
            const Index there = (((head * 4 + t2) * 3 + t1) * 6 + s2) * 2 + s1;
            EXPECT_NEAR(element(turned.scores, there), element(got.scores, i), kBound);
          }
        }
      }
    }
  }
}

TEST(AttentionAxes, FoldMasksWithThem) {
  Context ctx;
  AttentionInputs in{.query = f64({2, 3, 4, 5}, 1), .value = f64({2, 3, 6, 7}, 2)};
  const auto layer = over({2}, in);
  // [B, d1, T, S], [B, 1, 1, T, S] and one that is full along d1 alone, which is copied.
  for (const Shape& shape : {Shape{2, 3, 4, 6}, Shape{2, 1, 1, 4, 6}, Shape{1, 3, 2, 1, 6}}) {
    SCOPED_TRACE(shape.to_string());
    in.attention_mask = random_mask(shape, 3);
    const Tensor scores = layer->with_scores(ctx, in).scores;  // [2, 3, 2, 4, 6]
    const Shape full = shape.rank() == 4 ? Shape{shape[0], shape[1], 1, shape[2], shape[3]} : shape;
    for (Index i = 0; i < scores.size(); ++i) {
      Index rest = i, offset = 0, stride = 1;
      for (int axis = 4; axis >= 0; --axis) {
        const Index at = rest % scores.dim(axis);
        rest /= scores.dim(axis);
        if (full[axis] > 1) offset += at * stride;
        stride *= full[axis];
      }
      EXPECT_EQ(element(scores, i) > 0, in.attention_mask.view().data<bool>()[offset]) << i;
    }
  }
}

TEST(AttentionAxes, OfOneTakeCausalMasksAndPadding) {
  Context ctx;
  AttentionInputs in{.query = f64({2, 3, 4, 5}, 1), .value = f64({2, 6, 4, 7}, 2)};
  in.use_causal_mask = true;
  in.value_mask = bools({2, 6}, {1, 1, 1, 1, 1, 1, 1, 0, 1, 1, 1, 1});
  const Tensor scores = over({1}, in)->with_scores(ctx, in).scores;  // [2, 4, 2, 3, 6]
  for (Index i = 0; i < scores.size(); ++i) {
    const Index s = i % 6, t = i / 6 % 3, b = i / (6 * 3 * 2 * 4);
    EXPECT_EQ(element(scores, i) > 0, s <= t && in.value_mask.view().data<bool>()[b * 6 + s]) << i;
  }
  // Along axis 2, if that is as long as axis 1.
  const Tensor square = f64({2, 3, 3, 5}, 1);
  const AttentionInputs same{.query = square, .value = square, .use_causal_mask = true};
  const Tensor along_2 = over({2}, same)->with_scores(ctx, same).scores;  // [2, 3, 2, 3, 3]
  for (Index i = 0; i < along_2.size(); ++i) {
    EXPECT_EQ(element(along_2, i) > 0, i % 3 <= i / 3 % 3);
  }
}

TEST(AttentionAxes, AreRefusedByName) {
  Context ctx;
  const AttentionInputs in{.query = f64({2, 3, 4, 5}, 1), .value = f64({2, 3, 4, 5}, 2)};
  for (const std::vector<Index>& axes :
       {std::vector<Index>{0}, {3}, {-1}, {-4}, {1, 1}, {1, -3}, {7}}) {
    EXPECT_THAT(
        error_of<ConfigError>([&] { over(axes, in); }),
        ::testing::StartsWith("[multi_head_attention] attention_axes: expected distinct axes "
                              "of 1 .. 2 (or from the end) for inputs of rank 4, got ["));
  }
  const auto refusal = [&](const std::vector<Index>& axes, const auto& change) {
    const auto layer = over(axes, in);
    AttentionInputs changed = in;
    change(changed);
    return error_of<ShapeError>([&] { (*layer)(ctx, changed); });
  };
  const auto use_causal = [](AttentionInputs& x) { x.use_causal_mask = true; };
  const std::string order =
      "[multi_head_attention] use_causal_mask: expected one attention axis, as long as axis 1 in "
      "all inputs, got [2, 3, 4, 5] and [2, 3, 4, 5]";
  EXPECT_EQ(refusal({2}, use_causal), order);  // errors.json: mha_causal_axes2
  EXPECT_EQ(refusal({1, 2}, use_causal), order);
  EXPECT_EQ(refusal({2},
                    [](AttentionInputs& x) {
                      x.value_mask = random_mask({2, 4}, 1);
                    }),
            "[multi_head_attention] value_mask: expected none, for masks of positions count along "
            "axis 1 and attention does not, got [2, 4]");
  EXPECT_EQ(refusal({2},
                    [](AttentionInputs& x) {
                      x.value = f64({2, 2, 4, 5}, 1);
                    }),
            "[multi_head_attention] value: expected [2, 3, *, *], got [2, 2, 4, 5]");
  EXPECT_EQ(refusal({2},
                    [](AttentionInputs& x) {
                      x.key = f64({2, 3, 5, 5}, 1);
                    }),
            "[multi_head_attention] key: expected [2, 3, 4, *], got [2, 3, 5, 5]");
  EXPECT_EQ(refusal({2},
                    [](AttentionInputs& x) {
                      x.attention_bias = f64({2, 1, 2, 4, 4}, 1);
                    }),
            "[multi_head_attention] attention_bias: expected all or none of the axes that "
            "attention takes as one to be 1, got [2, 1, 2, 4, 4]");
  EXPECT_EQ(error_of<ShapeError>([&] {
              made<MultiHeadAttention>(kConfig, {{f64({2, 5}, 1), {}}});
            }),
            "[multi_head_attention] query: expected rank 3 or more, got rank 2");
}

}  // namespace
}  // namespace grouphead
