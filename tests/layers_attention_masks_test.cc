// What GroupQueryAttention and MultiHeadAttention make of masks.

#include <gmock/gmock.h>

#include <limits>

#include "attention_layer_support.h"

namespace grouphead {
namespace {

using ::testing::HasSubstr;
using namespace testing_support;  // NOLINT(google-build-using-namespace)

constexpr Index kB = 2, kT = 3, kS = 5, kH = 4;

const GroupQueryAttentionConfig kMaskedGqa = {
    .head_dim = 4, .num_query_heads = kH, .num_key_value_heads = 2};
const MultiHeadAttentionConfig kMaskedMha = {.num_heads = kH, .key_dim = 4};

AttentionInputs cross_masked() {
  return {.query = random_tensor({kB, kT, 6}, 1), .value = random_tensor({kB, kS, 7}, 2)};
}

bool at(const LayerInput& mask, Index i) { return mask.view().data<bool>()[i]; }

// Scores are 0 exactly where visible(b, h, t, s) is false.
template <class Visible>
void expect_visible(const Tensor& scores, Visible&& visible) {
  ASSERT_EQ(scores.shape(), Shape({kB, kH, kT, kS}));
  Index i = 0;
  for (Index b = 0; b < kB; ++b) {
    for (Index h = 0; h < kH; ++h) {
      for (Index t = 0; t < kT; ++t) {
        for (Index s = 0; s < kS; ++s, ++i) {
          EXPECT_EQ(element(scores, i) > 0, visible(b, h, t, s))
              << "at " << b << ", " << h << ", " << t << ", " << s;
        }
      }
    }
  }
}

TEST(AttentionMask, MayHaveEveryRankAndSize) {
  Context ctx;
  AttentionInputs in = cross_masked();
  const auto gqa = made<GroupQueryAttention>(kMaskedGqa, operands_of(in));
  const auto mha = made<MultiHeadAttention>(kMaskedMha, operands_of(in));
  for (const Shape& shape :
       {Shape{kT, kS}, Shape{1, kS}, Shape{kT, 1}, Shape{kB, kT, kS}, Shape{1, kT, kS},
        Shape{kB, 1, kS}, Shape{kB, kT, 1}, Shape{1, 1, kS}, Shape{kB, kH, kT, kS},
        Shape{kB, 1, kT, kS}, Shape{1, kH, kT, kS}, Shape{kB, kH, 1, 1}}) {
    SCOPED_TRACE(shape.to_string());
    in.attention_mask = random_mask(shape, 7);
    const auto visible = [&](Index b, Index h, Index t, Index s) {
      // The missing axes stand before T: [B, T, S] is [B, 1, T, S].
      const Index position[] = {b, h, t, s};
      Index offset = 0;
      for (int axis = 0; axis < shape.rank(); ++axis) {
        const int missing = 4 - shape.rank();
        const int scores_axis = axis < shape.rank() - 2 ? axis : axis + missing;
        offset = offset * shape[axis] + (shape[axis] == 1 ? 0 : position[scores_axis]);
      }
      return at(in.attention_mask, offset);
    };
    expect_visible(gqa->with_scores(ctx, in).scores, visible);
    expect_visible(mha->with_scores(ctx, in).scores, visible);
  }
}

TEST(AttentionMask, MayBeOfIntegers) {
  Context ctx;
  AttentionInputs in = cross_masked();
  const auto layer = made<GroupQueryAttention>(kMaskedGqa, operands_of(in));
  in.attention_mask = random_mask({kT, kS}, 7);
  const Tensor want = (*layer)(ctx, in);
  Tensor bytes({kT, kS}, Dtype::u8);
  Tensor integers({kT, kS}, Dtype::i32);
  for (Index i = 0; i < bytes.size(); ++i) {
    bytes.data<std::uint8_t>()[i] = at(in.attention_mask, i) ? 3 : 0;
    integers.data<std::int32_t>()[i] = at(in.attention_mask, i) ? -1 : 0;
  }
  in.attention_mask = bytes;
  EXPECT_TRUE(same_bits((*layer)(ctx, in), want));
  in.attention_mask = integers;
  EXPECT_TRUE(same_bits((*layer)(ctx, in), want));
}

TEST(AttentionMask, IsCombinedWithAllOthers) {
  Context ctx;
  AttentionInputs in = cross_masked();
  in.key = random_tensor({kB, kS, 3}, 3);
  in.query_mask = bools({kB, kT}, {1, 1, 0, 1, 1, 1});
  in.value_mask = bools({kB, kS}, {1, 1, 1, 0, 1, 1, 1, 1, 1, 1});
  in.key_mask = bools({kB, kS}, {1, 1, 1, 1, 1, 0, 1, 1, 1, 1});
  in.attention_mask = random_mask({kB, kT, kS}, 7);
  in.use_causal_mask = true;
  GroupQueryAttentionConfig config = kMaskedGqa;
  config.sliding_window = 2;
  const auto layer = made<GroupQueryAttention>(config, operands_of(in));
  expect_visible(layer->with_scores(ctx, in).scores, [&](Index b, Index, Index t, Index s) {
    return at(in.query_mask, b * kT + t) && at(in.value_mask, b * kS + s) &&
           at(in.key_mask, b * kS + s) && at(in.attention_mask, (b * kT + t) * kS + s) && s <= t &&
           t - s < 2;
  });
}

TEST(CausalMask, StartsAtTheTopLeftUnlessShifted) {
  Context ctx;
  AttentionInputs in = cross_masked();
  in.use_causal_mask = true;
  const auto gqa = made<GroupQueryAttention>(kMaskedGqa, operands_of(in));
  const auto mha = made<MultiHeadAttention>(kMaskedMha, operands_of(in));
  for (const Index offset : {-1, 0, 2}) {
    in.causal_offset = offset;
    const auto visible = [&](Index, Index, Index t, Index s) { return s <= t + offset; };
    expect_visible(gqa->with_scores(ctx, in).scores, visible);
    expect_visible(mha->with_scores(ctx, in).scores, visible);
  }
}

TEST(SlidingWindow, IsSymmetric) {
  Context ctx;
  const AttentionInputs in = cross_masked();
  MultiHeadAttentionConfig config = kMaskedMha;
  config.sliding_window = 2;
  const auto mha = made<MultiHeadAttention>(config, operands_of(in));
  expect_visible(mha->with_scores(ctx, in).scores,
                 [](Index, Index, Index t, Index s) { return std::abs(t - s) < 2; });
}

// The layer called with masks attached to its inputs.
std::vector<Value> with_attached(Context& ctx, const Layer& layer, std::vector<Value> in) {
  AttentionArguments arguments;
  arguments.return_attention_scores = true;
  return layer.forward(ctx, in, {.arguments = &arguments}, nullptr);
}

TEST(AttachedMasks, StandInForThoseThatAreNotGiven) {
  Context ctx;
  AttentionInputs in = cross_masked();
  in.key = random_tensor({kB, kS, 3}, 3);
  const Tensor query_mask = bools({kB, kT}, {1, 1, 0, 1, 1, 1});
  const Tensor value_mask = bools({kB, kS}, {1, 1, 1, 0, 1, 1, 1, 1, 1, 1});
  const Tensor key_mask = bools({kB, kS}, {1, 1, 1, 1, 1, 0, 1, 1, 1, 1});
  const std::vector<Value> attached = {{tensor_of(in.query), query_mask},
                                       {tensor_of(in.value), value_mask},
                                       {tensor_of(in.key), key_mask}};
  const auto gqa = made<GroupQueryAttention>(kMaskedGqa, attached);
  const auto mha = made<MultiHeadAttention>(kMaskedMha, attached);
  const auto visible = [&](Index b, Index, Index t, Index s) {
    return at(query_mask, b * kT + t) && at(value_mask, b * kS + s) && at(key_mask, b * kS + s);
  };
  expect_visible(with_attached(ctx, *gqa, attached)[1].tensor, visible);
  expect_visible(with_attached(ctx, *mha, attached)[1].tensor, visible);
  // An explicit mask wins; MultiHeadAttention keeps to the query's attached one, as Keras does.
  std::vector<Value> both = attached;
  const Tensor all = bools({kB, kT}, {1, 1, 1, 1, 1, 1});
  both.push_back({all, {}});
  expect_visible(with_attached(ctx, *gqa, both)[1].tensor, [&](Index b, Index, Index, Index s) {
    return at(value_mask, b * kS + s) && at(key_mask, b * kS + s);
  });
  expect_visible(with_attached(ctx, *mha, both)[1].tensor, visible);
}

TEST(AttachedMasks, LeaveWithTheOutputIfTheQuerysAndOfOneInputMaskKeysToo) {
  Context ctx;
  const Tensor x = random_tensor({kB, kT, 6}, 1);
  const Tensor mask = bools({kB, kT}, {1, 1, 0, 1, 1, 1});
  const std::vector<Value> one = {{x, mask}};
  const auto layer = made<GroupQueryAttention>(kMaskedGqa, one);
  const std::vector<Value> out = with_attached(ctx, *layer, one);
  ASSERT_TRUE(out[0].mask);
  EXPECT_TRUE(same_bits(*out[0].mask, mask));
  EXPECT_FALSE(out[1].mask);
  const std::vector<Value> two = {{x, mask}, {x, mask}};
  EXPECT_TRUE(same_bits(with_attached(ctx, *layer, two)[0].tensor, out[0].tensor));
  const std::vector<Value> values_only = {{x, {}}, {x, mask}};
  EXPECT_FALSE(with_attached(ctx, *layer, values_only)[0].mask);
}

// Rows of y: 0 where they are the output's bias, 1 where they project the mean of the values.
std::vector<int> kinds_of_rows(const Layer& layer, const Tensor& y, const Tensor& mean_y) {
  const ConstView bias = layer.parameters().back().parameter->value();
  std::vector<int> kinds;
  const Index width = y.shape().back();
  for (Index row = 0; row < y.size() / width; ++row) {
    const auto is_row = [&](ConstView want, Index offset) {
      for (Index m = 0; m < width; ++m) {
        if (std::abs(element(y, row * width + m) - element(want, offset + m)) > 1e-5) return false;
      }
      return true;
    };
    kinds.push_back(is_row(bias, 0) ? 0 : is_row(mean_y, row * width) ? 1 : 2);
  }
  return kinds;
}

TEST(MaskedRows, FollowKerasPathOrTheOption) {
  Context ctx;
  AttentionInputs in = cross_masked();
  Tensor half = bools({kT, kS}, {0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0});
  for (const MaskedRows rule : {MaskedRows::keras, MaskedRows::zeros, MaskedRows::uniform}) {
    for (const double dropout : {0.0, 0.5}) {
      GroupQueryAttentionConfig config = kMaskedGqa;
      config.masked_rows = rule;
      config.dropout = dropout;
      const auto layer = made<GroupQueryAttention>(config, operands_of(in));
      // With keys of zero all logits are equal: the mean of the values.
      const auto even = made<GroupQueryAttention>(config, operands_of(in));
      for (const auto& entry : even->parameters()) {
        if (entry.path.starts_with("key/")) fill_zero(entry.parameter->edit());
      }
      in.attention_mask = {};
      const Tensor mean_y = (*even)(ctx, in);
      in.attention_mask = half;
      const bool is_uniform =
          rule == MaskedRows::uniform || (rule == MaskedRows::keras && dropout == 0);
      const int kind = is_uniform ? 1 : 0;
      EXPECT_EQ(kinds_of_rows(*layer, (*layer)(ctx, in), mean_y),
                (std::vector<int>{kind, 2, kind, kind, 2, kind}));
      // Asking for scores takes Keras's other path.
      const AttentionOutput explicit_path = layer->with_scores(ctx, in);
      const bool stays = rule == MaskedRows::uniform;
      const int other = stays ? 1 : 0;
      EXPECT_EQ(kinds_of_rows(*layer, explicit_path.output, mean_y),
                (std::vector<int>{other, 2, other, other, 2, other}));
      EXPECT_NEAR(element(explicit_path.scores, 0), stays ? 1.0 / kS : 0.0, 1e-7);
    }
  }
}

TEST(MaskedRows, OfInputsOfRankFourAreZeros) {
  Context ctx;
  const Tensor x = random_tensor({2, 2, 3, 4}, 1);
  const auto layer = made<MultiHeadAttention>(kMaskedMha, {{x, {}}});
  AttentionInputs in{.query = x, .value = x};
  in.attention_mask = Tensor::zeros({2, 3, 2, 3}, Dtype::boolean);
  const Tensor y = (*layer)(ctx, in);
  EXPECT_EQ(kinds_of_rows(*layer, y, y), std::vector<int>(12, 0));
}

// A NaN in a hidden value reaches the output, as in Keras, where it is multiplied by 0.
TEST(Masks, KeepNanOfHiddenKeysOutOfTheResult) {
  Context ctx;
  AttentionInputs in = cross_masked();
  in.key = random_tensor({kB, kS, 3}, 3);
  in.attention_mask = bools({kB, 1, kS}, {1, 1, 0, 1, 1, 1, 1, 1, 1, 0});
  const auto layer = made<GroupQueryAttention>(kMaskedGqa, operands_of(in));
  AttentionInputs dirty = in;
  Tensor key = tensor_of(in.key);
  key.data<float>()[2 * 3] = std::numeric_limits<float>::quiet_NaN();
  key.data<float>()[(kS + 4) * 3 + 1] = std::numeric_limits<float>::infinity();
  dirty.key = key;
  EXPECT_TRUE(same_bits((*layer)(ctx, dirty), (*layer)(ctx, in)));
  EXPECT_TRUE(same_bits(layer->with_scores(ctx, dirty).scores, layer->with_scores(ctx, in).scores));
  dirty = in;
  Tensor value = tensor_of(in.value);
  value.data<float>()[2 * 7] = std::numeric_limits<float>::quiet_NaN();
  dirty.value = value;
  EXPECT_TRUE(same_bits(layer->with_scores(ctx, dirty).scores, layer->with_scores(ctx, in).scores));
}

TEST(Masks, LeaveTheRightLogitsWhereTheseAreHuge) {
  // A masked logit of Keras's explicit path is -1e9, larger than these.
  Context ctx;
  const AttentionInputs inputs = cross_masked();
  const auto layer = made<GroupQueryAttention>(kMaskedGqa, operands_of(inputs));
  for (const auto& entry : layer->parameters()) {
    View w = entry.parameter->edit();
    if (entry.path == "query/bias") std::fill_n(w.data<float>(), w.size(), -1e6F);
    if (entry.path == "key/bias") std::fill_n(w.data<float>(), w.size(), 1e6F);
  }
  AttentionInputs in = inputs;
  in.attention_mask = bools({1, kS}, {0, 1, 0, 1, 1});
  const Tensor scores = layer->with_scores(ctx, in).scores;
  for (Index row = 0; row < scores.size() / kS; ++row) {
    double sum = 0;
    for (Index s = 0; s < kS; ++s) sum += element(scores, row * kS + s);
    EXPECT_NEAR(sum, 1, 1e-6);
  }
}

TEST(Masks, AreRefusedByName) {
  Context ctx;
  const AttentionInputs in = cross_masked();
  const auto gqa = made<GroupQueryAttention>(kMaskedGqa, operands_of(in));
  const auto refusal = [&](const auto& change) {
    AttentionInputs changed = in;
    change(changed);
    return error_of<ShapeError>([&] { (*gqa)(ctx, changed); });
  };
  const auto mask = [](Shape shape) { return Tensor::zeros(shape, Dtype::boolean); };
  for (const Shape& shape : {Shape{kS}, Shape{kT, kS + 1}, Shape{kH, kT, kS}, Shape{kB, 3, kT, kS},
                             Shape{1, kB, kH, kT, kS}}) {
    EXPECT_EQ(refusal([&](AttentionInputs& x) { x.attention_mask = mask(shape); }),
              "[group_query_attention] attention_mask: expected the scores' axes [2, 4, 3, 5] or 1 "
              "in their place, without the heads' or more of those before the last 2, got " +
                  shape.to_string());
  }
  EXPECT_EQ(refusal([&](AttentionInputs& x) {
              x.query_mask = mask({kB, kS});
            }),
            "[group_query_attention] query_mask: expected [2, 3], got [2, 5]");
  EXPECT_EQ(refusal([&](AttentionInputs& x) { x.value_mask = mask({kS}); }),
            "[group_query_attention] value_mask: expected [2, 5], got [5]");
  EXPECT_EQ(refusal([&](AttentionInputs& x) {
              x.key_mask = mask({kB, kT});
            }),
            "[group_query_attention] key_mask: expected [2, 5], got [2, 3]");
  EXPECT_EQ(refusal([&](AttentionInputs& x) {
              x.attention_mask = random_tensor({kT, kS}, 1);
            }),
            "[group_query_attention] attention_mask: expected bool, integers, or 0 and 1 alone "
            "(what is added is attention_bias), got other values of f32");
  // errors.json: gqa_mask_rank4_with_query_mask
  EXPECT_EQ(refusal([&](AttentionInputs& x) {
              x.attention_mask = mask({kB, kH, kT, kS});
              x.query_mask = mask({kB, kT});
            }),
            "[group_query_attention] attention_mask: expected rank 2 or 3 next to masks of query, "
            "value or key, got [2, 4, 3, 5]");
  EXPECT_EQ(refusal([&](AttentionInputs& x) {
              x.attention_bias = mask({kT, kS});
            }),
            "[group_query_attention] attention_bias: expected f32, got bool");
}

TEST(Masks, OfRankFourWorkNextToOthersForABatchOfOne) {
  Context ctx;
  AttentionInputs in{.query = random_tensor({1, kT, 6}, 1), .value = random_tensor({1, kS, 7}, 2)};
  const auto layer = made<GroupQueryAttention>(kMaskedGqa, operands_of(in));
  in.attention_mask = random_mask({1, kH, kT, kS}, 3);
  in.value_mask = bools({1, kS}, {1, 0, 1, 1, 1});
  const Tensor scores = layer->with_scores(ctx, in).scores;
  for (Index i = 0; i < scores.size(); ++i) {
    EXPECT_EQ(element(scores, i) > 0, at(in.attention_mask, i) && at(in.value_mask, i % kS));
  }
}

TEST(AttentionBias, IsAddedToTheLogits) {
  Context ctx;
  AttentionInputs in = cross_masked();
  const auto layer = made<GroupQueryAttention>(kMaskedGqa, operands_of(in));
  const Tensor plain = layer->with_scores(ctx, in).scores;
  in.attention_bias = random_tensor({kB, kT, kS}, 9);
  const Tensor biased = layer->with_scores(ctx, in).scores;
  for (Index row = 0; row < plain.size() / kS; ++row) {
    const Index bias = (row / (kH * kT) * kT + row % kT) * kS;
    double sum = 0;
    for (Index s = 0; s < kS; ++s) {
      sum += element(plain, row * kS + s) * std::exp(element(in.attention_bias.view(), bias + s));
    }
    for (Index s = 0; s < kS; ++s) {
      const double want = element(plain, row * kS + s) *
                          std::exp(element(in.attention_bias.view(), bias + s)) / sum;
      EXPECT_NEAR(element(biased, row * kS + s), want, 1e-6);
    }
  }
}

TEST(EmptyInputs, GiveTheOutputsBiasOrNothing) {
  Context ctx;
  for (const bool scores : {false, true}) {
    for (const Shape& sizes : {Shape{2, 3, 0}, Shape{2, 0, 5}, Shape{0, 3, 5}}) {
      SCOPED_TRACE(sizes.to_string());
      AttentionInputs in{.query = random_tensor({sizes[0], sizes[1], 6}, 1),
                         .value = random_tensor({sizes[0], sizes[2], 6}, 2)};
      const auto layer = made<GroupQueryAttention>(kMaskedGqa, {{Tensor({1, 1, 6}), {}}});
      std::unique_ptr<Saved> saved;
      const AttentionOutput out = scores ? layer->with_scores(ctx, in, &saved)
                                         : AttentionOutput{(*layer)(ctx, in, &saved), {}};
      ASSERT_EQ(out.output.shape(), Shape({sizes[0], sizes[1], 6}));
      if (scores) {
        EXPECT_EQ(out.scores.shape(), Shape({sizes[0], kH, sizes[1], sizes[2]}));
      }
      EXPECT_EQ(kinds_of_rows(*layer, out.output, out.output),
                std::vector<int>(static_cast<std::size_t>(sizes[0] * sizes[1]), 0));
      Grads grads(ctx, layer->parameters());
      Tensor d_query = Tensor::zeros(in.query.shape());
      Tensor d_value = Tensor::zeros(in.value.shape());
      std::vector<View> d_in = {d_query, d_value};
      const Tensor d_y = random_tensor(out.output.shape(), 3);
      const ConstView d_out = d_y;
      layer->backward(ctx, *saved, std::span(&d_out, 1), d_in, grads);
      EXPECT_EQ(testing::max_abs(d_query), 0);
      EXPECT_EQ(testing::max_abs(d_value), 0);
    }
  }
}

}  // namespace
}  // namespace grouphead
