// Typed calls: layers built by the first one, and views as inputs.

#include <gmock/gmock.h>

#include <thread>

#include "gradient_support.h"
#include "grouphead/grouphead.h"

namespace grouphead {
namespace {

using ::testing::HasSubstr;
using namespace testing_support;  // NOLINT(google-build-using-namespace)

// ---- Layers built by their first call ----------------------------------------------------------

/// A layer that is called first against one that build() made, of the same configuration.
template <class L>
void expect_built_by_call(const typename L::Config& config, const Tensor& x) {
  Context ctx({.num_threads = 2});
  L called(config);
  L built(config);
  built.build({x.shape()});
  EXPECT_THAT(error_of<ConfigError>([&] { std::as_const(called)(ctx, x); }),
              HasSubstr("] parameters: expected build() before the first call, got none"));
  EXPECT_FALSE(called.is_built());
  const Tensor y = called(ctx, x);
  EXPECT_TRUE(called.is_built());
  EXPECT_GT(count_params(called), 0);
  ASSERT_EQ(count_params(called), count_params(built));
  EXPECT_TRUE(same_bits(y, built(ctx, x))) << called.name();
  // The second call finds the layer built: the same numbers.
  EXPECT_TRUE(same_bits(called(ctx, x), y)) << called.name();
  EXPECT_TRUE(same_bits(std::as_const(called)(ctx, x), y)) << called.name();
}

TEST(FirstCall, BuildsTheLayer) {
  const Tensor x = random_tensor({2, 5, 6}, 1);
  expect_built_by_call<Dense>({.units = 4}, x);
  expect_built_by_call<EinsumDense>({.equation = "btm,mn->btn", .output_shape = {5, 3}}, x);
  expect_built_by_call<LayerNormalization>({}, x);
  expect_built_by_call<RMSNormalization>({}, x);
  expect_built_by_call<BatchNormalization>({}, x);
  expect_built_by_call<GroupNormalization>({.groups = 2}, x);
  expect_built_by_call<Conv1D>({.filters = 3, .kernel_size = 2}, x);
  expect_built_by_call<LSTM>({.units = 3}, x);
  expect_built_by_call<GroupQueryAttention>(
      {.head_dim = 4, .num_query_heads = 4, .num_key_value_heads = 2}, x);
  expect_built_by_call<MultiHeadAttention>({.num_heads = 2, .key_dim = 4}, x);
  const std::vector<std::int32_t> tokens = {4, 0, 6, 1};
  expect_built_by_call<Embedding>({.input_dim = 7, .output_dim = 5},
                                  Tensor::from({2, 2}, std::span<const std::int32_t>(tokens)));
}

TEST(FirstCall, OfNamedInputsBuildsAttention) {
  Context ctx;
  const Tensor query = random_tensor({2, 5, 6}, 1);
  const Tensor value = random_tensor({2, 3, 8}, 2);
  MultiHeadAttention called({.num_heads = 2, .key_dim = 4});
  EXPECT_EQ(
      error_of<ConfigError>([&] { std::as_const(called)(ctx, {.query = query, .value = value}); }),
      "[multi_head_attention] parameters: expected build() before the first call, got none");
  const Tensor y = called(ctx, {.query = query, .value = value});
  MultiHeadAttention built({.num_heads = 2, .key_dim = 4});
  built.build({query.shape(), value.shape()});
  EXPECT_TRUE(same_bits(y, built(ctx, {.query = query, .value = value})));

  MultiHeadAttention with_scores({.num_heads = 2, .key_dim = 4});
  const AttentionOutput out = with_scores.with_scores(ctx, {.query = query, .value = value});
  EXPECT_TRUE(same_bits(out.output, y));
  EXPECT_EQ(out.scores.shape(), Shape({2, 2, 5, 3}));
}

TEST(FirstCall, BuildsOnce) {
  Context ctx;
  Dense dense({.units = 4});
  dense(ctx, random_tensor({3, 5}, 1));
  EXPECT_EQ(error_of<ShapeError>([&] {
              dense(ctx, random_tensor({3, 6}, 1));
            }),
            "[dense] input: expected [..., 5], got [3, 6]");
  EXPECT_EQ(dense(ctx, random_tensor({7, 2, 5}, 1)).shape(), Shape({7, 2, 4}));
  EXPECT_THAT(error_of<ConfigError>([&] { dense.build({{3, 5}}); }), HasSubstr("a second one"));
}

TEST(FirstCall, ThatFailsLeavesTheLayerUnbuilt) {
  Context ctx;
  Dense dense({.units = 4});
  EXPECT_THAT(error_of<ShapeError>([&] { dense(ctx, random_tensor({5}, 1)); }),
              HasSubstr("[dense] input: expected rank 2 or more, got [5]"));
  EXPECT_FALSE(dense.is_built());
  EXPECT_EQ(dense(ctx, random_tensor({3, 5}, 1)).shape(), Shape({3, 4}));
}

TEST(FirstCall, OfASequentialThatFailsCanBeTriedAgain) {
  Context ctx;
  Sequential chain;
  chain.add(std::make_shared<Dense>(DenseConfig{.units = 4}));
  chain.add(std::make_shared<GlobalAveragePooling1D>(GlobalAveragePooling1DConfig{}));
  EXPECT_THROW(chain(ctx, random_tensor({2, 6}, 1)), ShapeError);
  EXPECT_FALSE(chain.is_built());
  EXPECT_EQ(chain(ctx, random_tensor({2, 5, 6}, 1)).shape(), Shape({2, 4}));
}

TEST(FirstCall, KeepsWhatBackwardNeeds) {
  Context ctx;
  const Tensor x = random_tensor({3, 5}, 1);
  Dense dense({.units = 4, .activation = "tanh"});
  std::unique_ptr<Saved> saved;
  const Tensor y = dense(ctx, x, &saved);
  ASSERT_NE(saved, nullptr);
  Grads grads(ctx, dense.parameters());
  Tensor d_x = Tensor::zeros(x.shape());
  const ConstView d_out[] = {ConstView(y)};
  View d_in[] = {d_x};
  dense.backward(ctx, *saved, d_out, d_in, grads);
  EXPECT_GT(testing::max_abs(d_x), 0);
}

TEST(FirstCall, BuildsASequentialForBatchesOfAnySize) {
  Context ctx;
  const auto chain = [] {
    auto model = std::make_unique<Sequential>(SequentialConfig{.seed = 3});
    model->add(layer<Dense>({.units = 4, .activation = "tanh"})).add(layer<Dense>({.units = 2}));
    return model;
  };
  const Tensor x = random_tensor({5, 3}, 1);
  const auto built = chain();
  built->build({-1, 3});
  const auto called = chain();
  EXPECT_THAT(error_of<ConfigError>([&] { std::as_const (*called)(ctx, x); }),
              HasSubstr("build() before the first call"));
  EXPECT_TRUE(same_bits((*called)(ctx, x), (*built)(ctx, x)));
  EXPECT_EQ((*called)(ctx, random_tensor({8, 3}, 1)).shape(), Shape({8, 2}));
  EXPECT_THAT(error_of<ShapeError>([&] {
                (*called)(ctx, random_tensor({5, 4}, 1));
              }),
              HasSubstr("input: expected [..., 3], got [5, 4]"));
  EXPECT_THAT(error_of<ShapeError>([&] {
                (*called)(ctx, random_tensor({5, 2, 3}, 1));
              }),
              HasSubstr("expected [-1, 3], got [5, 2, 3]"));
  const auto listed = chain();
  EXPECT_TRUE(same_bits((*listed)(ctx, std::span(&x, 1)).front(), (*built)(ctx, x)));
  // A model inside another one.
  Sequential outer({.seed = 3});
  outer.add(std::shared_ptr<Layer>(chain()));
  EXPECT_TRUE(same_bits(outer(ctx, x), (*built)(ctx, x)));
}

// Keras holds a chain that its first inputs built to their rank alone.
TEST(FirstCall, BuildsASequentialForTextsOfAnyLength) {
  Context ctx;
  Sequential model;
  model.add(layer<Dense>({.units = 4})).add(layer<LSTM>({.units = 3}));
  EXPECT_EQ(model(ctx, random_tensor({2, 5, 6}, 1)).shape(), Shape({2, 3}));
  const Tensor longer = random_tensor({3, 7, 6}, 2);
  const Tensor h = call(ctx, *model.layers()[0], {longer});
  EXPECT_TRUE(same_bits(model(ctx, longer), call(ctx, *model.layers()[1], {h})));
}

TEST(FirstCall, OfABuiltLayerMayRunConcurrently) {
  Dense dense({.units = 4});
  dense.build({{1, 5}});
  const Tensor x = random_tensor({3, 5}, 1);
  std::array<Tensor, 4> results;
  std::vector<std::thread> threads;
  for (Tensor& result : results) {
    threads.emplace_back([&dense, &x, &result] {
      Context ctx({.num_threads = 1});
      result = dense(ctx, x);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const Tensor& result : results) EXPECT_TRUE(same_bits(result, results[0]));
}

// ---- Views -------------------------------------------------------------------------------------

/// Views of some elements, in the places that strided inputs come from.
struct ViewCase {
  const char* name;
  ConstView view;
  bool is_in_place;  // whether its rows are contiguous and evenly spaced
};

class Views {
 public:
  /// Of rows with `width` numbers.
  explicit Views(Index width)
      : wide_(random_tensor({2, 700, width + 5}, 1)), turned_(random_tensor({2, width, 500}, 2)) {
    const ConstView wide = std::as_const(wide_).view();
    const ConstView turned = std::as_const(turned_).view();
    cases_ = {
        {"of the batch", wide.slice(0, 1, 2).slice(2, 0, width), true},
        {"of the last axis", wide.slice(2, 3, 3 + width), true},
        {"of time and the last axis", wide.slice(1, 1, 601).slice(2, 0, width), false},
        {"of time of one entry", wide.slice(0, 0, 1).slice(1, 2, 650).slice(2, 1, 1 + width), true},
        {"last axis in front",
         ConstView(turned.raw(), Dtype::f32, {2, 500, width}, Strides{500 * width, 1, 500}),
         false}};
  }
  const std::vector<ViewCase>& cases() const { return cases_; }

 private:
  Tensor wide_, turned_;
  std::vector<ViewCase> cases_;
};

/// layer(ctx, view) against layer(ctx, a contiguous copy), at each level; where it reads views in
/// place, a copy does not fit into the memory that is in use beyond what the contiguous call needs
/// (threads gather some rows for oneDNN).
void expect_views_as_copies(Layer& layer, Index width, bool reads_in_place) {
  const Views views(width);
  for (const Isa isa : isas_under_test()) {
    Context ctx({.num_threads = 2, .isa = isa});
    for (const ViewCase& c : views.cases()) {
      const Tensor copied = contiguous(c.view);
      layer(ctx, copied);
      ctx.reset_memory_peak();
      const Index before = ctx.memory().in_use_bytes;
      const Tensor y = layer(ctx, copied);
      const Index peak = ctx.memory().peak_bytes - before;
      Context own({.num_threads = 2, .isa = isa});
      layer(own, copied);
      own.reset_memory_peak();
      const Index start = own.memory().in_use_bytes;
      const Tensor of_view = layer(own, c.view);
      EXPECT_TRUE(same_bits(of_view, y)) << layer.name() << ", " << c.name;
      const Index used = own.memory().peak_bytes - start;
      if (reads_in_place && c.is_in_place) {
        EXPECT_LT(used, peak + c.view.bytes()) << layer.name() << ", " << c.name;
      } else if (!c.view.is_contiguous() && reads_in_place) {
        EXPECT_GT(used, peak) << layer.name() << ", " << c.name;
      }
    }
  }
}

TEST(LayerViews, GiveTheBitsOfACopy) {
  // Above 8192 weights products are oneDNN's, below ours.
  for (const Index units : {3, 200}) {
    Dense dense({.units = units, .activation = "gelu"});
    expect_views_as_copies(dense, 64, true);
  }
  LayerNormalization layer_norm({});
  expect_views_as_copies(layer_norm, 64, true);
  LayerNormalization scaled({.rms_scaling = true});
  expect_views_as_copies(scaled, 64, true);
  RMSNormalization rms_norm;
  expect_views_as_copies(rms_norm, 64, true);
  GroupQueryAttention grouped({.head_dim = 16, .num_query_heads = 4, .num_key_value_heads = 2});
  expect_views_as_copies(grouped, 64, true);
  MultiHeadAttention heads({.num_heads = 4, .key_dim = 64, .use_gate = true});
  expect_views_as_copies(heads, 64, true);
  // These copy.
  LSTM lstm({.units = 3});
  expect_views_as_copies(lstm, 8, false);
  Conv1D convolution({.filters = 3, .kernel_size = 2});
  expect_views_as_copies(convolution, 8, false);
}

TEST(LayerViews, OfSixteenBitPolicies) {
  Dense dense({.units = 32, .dtype = DtypePolicy("mixed_bfloat16")});
  expect_views_as_copies(dense, 64, true);
  MultiHeadAttention heads({.num_heads = 2, .key_dim = 16, .dtype = DtypePolicy("mixed_bfloat16")});
  expect_views_as_copies(heads, 64, false);
}

TEST(LayerViews, OfOneRowOfEachEntry) {
  // The last position of [B, T, M] as [B, M]: rows that lie T M apart.
  const Tensor x = random_tensor({3, 5, 64}, 1);
  const ConstView all = std::as_const(x).view();
  const ConstView last(all.slice(1, 4, 5).raw(), Dtype::f32, {3, 64}, Strides{5 * 64, 1});
  Dense dense({.units = 200});
  Context ctx({.num_threads = 1});
  const Tensor y = dense(ctx, last);
  EXPECT_TRUE(same_bits(y, dense(ctx, contiguous(last))));
  Tensor applied({3, 200});
  dense.apply(ctx, last, applied);
  EXPECT_TRUE(same_bits(applied, y));
  const ConstView columns(all.raw(), Dtype::f32, {5, 64}, Strides{1, 5});
  Tensor refused({5, 200});
  EXPECT_EQ(error_of<ShapeError>([&] { dense.apply(ctx, columns, refused); }),
            "[dense] input: expected contiguous rows, evenly spaced, got others");
}

TEST(LayerViews, AreCopiedForTheBackwardPass) {
  Context ctx;
  const Tensor wide = random_tensor({3, 9}, 1);
  const ConstView x = std::as_const(wide).view().slice(1, 2, 7);
  const Tensor copied = contiguous(x);
  Dense dense({.units = 4, .activation = "tanh"});
  const auto gradients = [&](const LayerInput& input) {
    std::unique_ptr<Saved> saved;
    const Tensor y = dense(ctx, input, &saved);
    Grads grads(ctx, dense.parameters());
    Tensor d_x = Tensor::zeros({3, 5});
    const ConstView d_out[] = {ConstView(y)};
    View d_in[] = {d_x};
    dense.backward(ctx, *saved, d_out, d_in, grads);
    return std::pair(d_x, contiguous(grads.of(*dense.parameters()[0].parameter)));
  };
  const auto of_view = gradients(x);
  const auto of_copy = gradients(copied);
  EXPECT_TRUE(same_bits(of_view.first, of_copy.first));
  EXPECT_TRUE(same_bits(of_view.second, of_copy.second));
}

TEST(LayerViews, AreInputsOfAttentionByName) {
  Context ctx;
  // Query, key and value side by side, as one product makes them; the masks of longer texts.
  const Tensor joined = random_tensor({2, 6, 3 * 16}, 1);
  const ConstView all = std::as_const(joined).view();
  const std::vector<std::int32_t> real = {1, 1, 1, 1, 1, 0, 9, 9, 1, 1, 1, 0, 0, 0, 9, 9};
  const Tensor wide_mask = Tensor::from({2, 8}, std::span<const std::int32_t>(real));
  const ConstView mask = std::as_const(wide_mask).view().slice(1, 0, 6);
  const ConstView query = all.slice(2, 0, 16);
  const ConstView key = all.slice(2, 16, 32);
  const ConstView value = all.slice(2, 32, 48);
  MultiHeadAttention attention({.num_heads = 2, .key_dim = 8});
  const AttentionOutput of_views =
      attention.with_scores(ctx, {.query = query, .value = value, .key = key, .key_mask = mask});
  const AttentionOutput of_copies = attention.with_scores(ctx, {.query = contiguous(query),
                                                                .value = contiguous(value),
                                                                .key = contiguous(key),
                                                                .key_mask = contiguous(mask)});
  EXPECT_TRUE(same_bits(of_views.output, of_copies.output));
  EXPECT_TRUE(same_bits(of_views.scores, of_copies.scores));
}

}  // namespace
}  // namespace grouphead
