// Operations that are programs of steps: what they refuse, hostile settings, threads, several
// results. Their numbers are in keras_operations_test.cc.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "grouphead/layers/serialization.h"
#include "grouphead/models/model.h"
#include "nn/operations/operation.h"
#include "support.h"

namespace grouphead {
namespace {

using ::testing::HasSubstr;
using testing_support::error_of;
using testing_support::same_bits;

constexpr std::string_view kNumpy = "keras.src.ops.numpy";
constexpr std::string_view kNn = "keras.src.ops.nn";

Tensor counted(const Shape& shape) {
  Tensor x(shape);
  for (Index i = 0; i < x.size(); ++i) {
    x.data<float>()[i] = static_cast<float>((i * 7 + 3) % 11) / 4 - 1;
  }
  return x;
}

std::vector<Tensor> results(Context& ctx, const Layer& operation, const std::vector<Tensor>& in,
                            const ConfigValue& keywords = {}) {
  std::vector<Value> operands;
  for (const Tensor& tensor : in) operands.push_back({tensor, {}});
  const auto arguments = operation.arguments_from_config(keywords);
  std::vector<Tensor> out;
  for (const Value& value :
       operation.call(ctx, operands, {.arguments = arguments.get()}, nullptr)) {
    out.push_back(value.tensor);
  }
  return out;
}

TEST(TracedOperations, SeveralResultsHaveTheirOwnTypes) {
  Context ctx;
  const auto top_k = make_operation("keras.src.ops.math", "TopK", ConfigValue::Object{{"k", 2}});
  const std::vector<Tensor> out = results(ctx, *top_k, {Tensor::from({1, 4}, {1, 5, -2, 5})});
  ASSERT_EQ(out.size(), 2U);
  EXPECT_TRUE(same_bits(out[0], Tensor::from({1, 2}, {5, 5})));
  ASSERT_EQ(out[1].dtype(), Dtype::i32);
  EXPECT_EQ(out[1].data<std::int32_t>()[0], 1);
  EXPECT_EQ(out[1].data<std::int32_t>()[1], 3);

  const Symbol x = input({.shape = {3, 4}, .name = "x"});
  const Outputs both = connect(top_k, x);
  ASSERT_EQ(both.size(), 2U);
  EXPECT_EQ(both[0].dtype(), Dtype::f32);
  EXPECT_EQ(both[1].dtype(), Dtype::i32);
  EXPECT_EQ(both[1].shape(), Shape::partial({-1, 3, 2}));
}

struct Refused {
  std::string_view module, name;
  ConfigValue::Object config;
  std::vector<Shape> shapes;
  std::string message;
};

TEST(TracedOperations, RefuseWhatDoesNotFit) {
  Context ctx;
  const Refused cases[] = {
      {kNumpy, "Split", {{"indices_or_sections", 3}}, {{4, 2}}, "that 3 parts share"},
      {kNumpy, "Split", {{"indices_or_sections", 0}}, {{4, 2}}, "indices_or_sections"},
      {kNumpy, "Split", {{"indices_or_sections", "two"}}, {{4, 2}}, "indices_or_sections"},
      {kNumpy, "Matmul", {}, {{2, 3}, {4, 2}}, "[.., M, K] and [.., K, N], got [2, 3] and [4, 2]"},
      {kNumpy, "Matmul", {}, {{}, {4, 2}}, "rank 1 or more"},
      {kNumpy, "Matmul", {}, {{2, 3, 4}, {3, 4, 5}}, "broadcast"},
      {kNumpy, "Matmul", {}, {{2, 3}}, "x2: expected a tensor or a number, got nothing"},
      {kNumpy, "Einsum", {{"subscripts", "ab,bc->ad"}}, {{2, 3}, {3, 2}}, "subscripts"},
      {kNumpy, "Einsum", {{"subscripts", "ab->a"}}, {{2, 3}, {3, 2}}, "subscripts"},
      {kNumpy, "Einsum", {{"subscripts", "abc,bc->a"}}, {{2, 3}, {3, 2}}, "subscripts"},
      {kNumpy, "Einsum", {{"subscripts", "ab,bc->ac"}}, {{2, 3}, {4, 2}}, "equal sizes"},
      {kNumpy, "Einsum", {{"subscripts", "a(,b)->ab"}}, {{2, 3}, {4, 2}}, "subscripts"},
      {kNumpy, "Repeat", {{"repeats", -1}}, {{2}}, "repeats"},
      {kNumpy, "Repeat", {{"repeats", std::numeric_limits<Index>::max()}}, {{2}}, "repeats"},
      {kNumpy, "Tile", {{"repeats", std::numeric_limits<Index>::max()}}, {{2}}, "repeats"},
      {kNumpy,
       "Pad",
       {{"pad_width", ConfigValue::List{ConfigValue::List{-1, 2}}}, {"mode", "constant"}},
       {{2}},
       "pad_width"},
      {kNumpy,
       "Pad",
       {{"pad_width", ConfigValue::List{ConfigValue::List{1, 2}}}, {"mode", "mean"}},
       {{2}},
       "mode"},
      {kNumpy,
       "Roll",
       {{"shift", ConfigValue::List{1, 2}}, {"axis", ConfigValue::List{0, 1, 0}}},
       {{2, 2}},
       "shift"},
      {kNumpy,
       "Moveaxis",
       {{"source", ConfigValue::List{0, 0}}, {"destination", ConfigValue::List{0, 1}}},
       {{2, 2}},
       "source"},
      {kNumpy, "Concatenate", {{"axis", 1}}, {{2, 2}, {3, 2}}, "[2, "},
      {kNumpy, "Stack", {{"axis", 5}}, {{2, 2}, {2, 2}}, "axis"},
      {kNumpy, "Tril", {}, {{3}}, "rank 2 or more"},
      {kNumpy, "Diag", {{"k", std::numeric_limits<Index>::max()}}, {{3}}, "diagonal"},
      {kNumpy, "Sum", {{"axis", 2}}, {{2, 2}}, "axis"},
      {kNumpy, "Sum", {{"axis", ConfigValue::List{0, 0}}}, {{2, 2}}, "each axis once"},
      {kNumpy, "Cumsum", {{"axis", -4}}, {{2, 2}}, "axis"},
      {kNumpy, "Max", {{"axis", 0}}, {{0, 2}}, "an element to reduce"},
      {kNumpy, "Argmax", {{"axis", 0}}, {{0, 2}}, "an element to choose"},
      {kNumpy, "Add", {}, {{2}, {3}}, "broadcast"},
      {kNumpy, "Add", {}, {{2}, {2}, {2}}, "number of operands"},
      {"keras.src.ops.math", "TopK", {{"k", 5}}, {{2, 4}}, "k: expected 0 to 4, got 5"},
      {"keras.src.ops.linalg", "Norm", {{"ord", "nuc"}}, {{2, 4}}, "ord"},
      {"keras.src.ops.linalg",
       "Norm",
       {{"ord", 2}, {"axis", ConfigValue::List{0, 1}}},
       {{2, 4}},
       "singular"},
      {kNn, "OneHot", {{"num_classes", -3}}, {{2}}, "num_classes"},
      {kNn, "OneHot", {{"num_classes", 3}, {"sparse", true}}, {{2}}, "sparse"},
      {kNn,
       "Moments",
       {{"axes", ConfigValue::List{0}}, {"synchronized", true}},
       {{2}},
       "synchronized"},
      {kNn, "Softmax", {{"axis", 3}}, {{2, 2}}, "axis"},
      {kNn, "DotProductAttention", {}, {{2, 2}, {2, 2}, {2, 2}}, "[B, T, heads, size]"},
      {kNn,
       "DotProductAttention",
       {{"attn_logits_soft_cap", 3.0}},
       {{1, 2, 1, 2}, {1, 2, 1, 2}, {1, 2, 1, 2}},
       "attn_logits_soft_cap"},
      {"keras.src.ops.core",
       "Scatter",
       {{"shape", ConfigValue::List{nullptr, 2}}},
       {{2, 1}, {2, 2}},
       "known sizes"},
      {"keras.src.ops.core",
       "Slice",
       {{"shape", ConfigValue::List{2, 2}}},
       {{2, 2}},
       "start_indices"},
  };
  for (const Refused& refused : cases) {
    SCOPED_TRACE(std::string(refused.name) + ConfigValue(refused.config).to_string());
    std::vector<Tensor> in;
    for (const Shape& shape : refused.shapes) in.push_back(counted(shape));
    EXPECT_THAT(error_of<Error>([&] {
                  results(ctx, *make_operation(refused.module, refused.name, refused.config), in);
                }),
                HasSubstr(refused.message));
  }
}

TEST(TracedOperations, IndicesOutsideGiveWhatKerasGives) {
  Context ctx;
  const auto take = make_operation(kNumpy, "Take", ConfigValue::Object{{"axis", 0}});
  const std::int32_t places[] = {2, 3, -4, -1};
  const Tensor indices = Tensor::from({4}, std::span<const std::int32_t>(places));
  const Tensor y = results(ctx, *take, {Tensor::from({3}, {1, 2, 4}), indices})[0];
  EXPECT_EQ(y.data<float>()[0], 4);
  EXPECT_TRUE(std::isnan(y.data<float>()[1]));
  EXPECT_TRUE(std::isnan(y.data<float>()[2]));
  EXPECT_EQ(y.data<float>()[3], 4);
  const std::int32_t ids[] = {5, 6};
  const Tensor picked =
      results(ctx, *take, {Tensor::from({2}, std::span<const std::int32_t>(ids)), indices})[0];
  EXPECT_EQ(picked.data<std::int32_t>()[0], std::numeric_limits<std::int32_t>::min());
  EXPECT_EQ(picked.data<std::int32_t>()[3], 6);
}

TEST(TracedOperations, MatrixProductsOfNothingAreZero) {
  Context ctx;
  const auto matmul = make_operation(kNumpy, "Matmul", {});
  EXPECT_TRUE(
      same_bits(results(ctx, *matmul, {Tensor({2, 0}), Tensor({0, 3})})[0], Tensor::zeros({2, 3})));
  EXPECT_EQ(results(ctx, *matmul, {Tensor({0, 2, 3}), Tensor({3, 3})})[0].shape(),
            Shape({0, 2, 3}));
}

/// The result and all gradients of one call.
std::vector<Tensor> computed(int threads, const Layer& operation, const std::vector<Tensor>& in) {
  Context ctx({.num_threads = threads});
  std::vector<Value> operands;
  std::vector<Tensor> made;
  std::vector<View> d_in;
  for (const Tensor& tensor : in) {
    operands.push_back({tensor, {}});
    made.push_back(Tensor::zeros(tensor.shape()));
  }
  for (Tensor& gradient : made) d_in.push_back(gradient);
  std::unique_ptr<Saved> saved;
  const auto arguments = operation.arguments_from_config({});
  const auto out = operation.call(ctx, operands, {.arguments = arguments.get()}, &saved);
  const Tensor d_y = counted(out[0].tensor.shape());
  std::vector<ConstView> d_out(out.size());
  d_out[0] = d_y.view();
  Grads grads(ctx, {});
  operation.call_backward(ctx, *saved, d_out, d_in, grads);
  made.push_back(out[0].tensor);
  return made;
}

TEST(TracedOperations, ThreadsChangeNoBits) {
  struct Case {
    std::string_view module, name;
    ConfigValue::Object config;
    std::vector<Shape> shapes;
  };
  const Case cases[] = {
      {kNumpy, "Matmul", {}, {{3, 70, 40}, {40, 90}}},
      {kNumpy, "Matmul", {}, {{3, 2, 70, 40}, {2, 40, 90}}},
      {kNumpy, "Einsum", {{"subscripts", "abc,adc->abd"}}, {{3, 60, 30}, {3, 50, 30}}},
      {kNumpy, "Cumsum", {{"axis", 1}}, {{40, 30, 50}}},
      {kNumpy, "Cumprod", {{"axis", 2}}, {{40, 30, 50}}},
      {kNumpy, "Sort", {{"axis", 0}}, {{40, 30, 50}}},
      {kNumpy, "Std", {{"axis", ConfigValue::List{0, 2}}}, {{40, 30, 50}}},
      {kNumpy, "Roll", {{"shift", 3}, {"axis", 1}}, {{40, 30, 50}}},
      {kNn, "Softmax", {{"axis", 1}}, {{40, 30, 50}}},
      {kNn, "LogSoftmax", {{"axis", 2}}, {{40, 30, 50}}},
      {kNn, "LayerNorm", {{"axis", -1}}, {{40, 30, 50}, {50}, {50}}},
      {kNn,
       "DotProductAttention",
       {{"is_causal", true}},
       {{2, 40, 2, 16}, {2, 40, 2, 16}, {2, 40, 2, 16}}},
  };
  for (const Case& one : cases) {
    SCOPED_TRACE(one.name);
    std::vector<Tensor> in;
    for (const Shape& shape : one.shapes) in.push_back(counted(shape));
    const auto operation = make_operation(one.module, one.name, one.config);
    const std::vector<Tensor> first = computed(1, *operation, in);
    const std::vector<Tensor> second = computed(3, *operation, in);
    ASSERT_EQ(first.size(), second.size());
    for (std::size_t i = 0; i < first.size(); ++i) EXPECT_TRUE(same_bits(first[i], second[i])) << i;
  }
}

TEST(TracedOperations, RearrangeBySizesOfTheCall) {
  Context ctx;
  const auto rearrange = make_operation("keras.src.ops.einops", "Rearrange", {});
  const Tensor x = Tensor::from({1, 2, 4}, {0, 1, 2, 3, 4, 5, 6, 7});
  const auto called = [&](const char* pattern, Index heads) {
    return results(
        ctx, *rearrange, {x},
        ConfigValue::Object{{"args", ConfigValue::List{nullptr, pattern}}, {"h", heads}})[0];
  };
  EXPECT_TRUE(same_bits(called("b t (h d) -> b h t d", 2),
                        Tensor::from({1, 2, 2, 2}, {0, 1, 4, 5, 2, 3, 6, 7})));
  EXPECT_TRUE(same_bits(called("b t (h d) -> (b t h) d", 4),
                        Tensor::from({8, 1}, {0, 1, 2, 3, 4, 5, 6, 7})));
  for (const char* pattern : {"b t (h d) -> b h t", "b t h d -> b t h d", "b t (h d -> b t h d",
                              "b t (h d)", "b (t h d) -> b", "b b (h d) -> b h d"}) {
    EXPECT_THAT(error_of<ConfigError>([&] { called(pattern, 2); }), HasSubstr("pattern"))
        << pattern;
  }
  EXPECT_THAT(error_of<ShapeError>([&] { called("b t (h d) -> b h t d", 3); }),
              HasSubstr("sizes that fit"));
}

TEST(TracedOperations, KeepWhatTheCallSays) {
  const auto take = make_operation(kNumpy, "Take", ConfigValue::Object{{"axis", 1}});
  const ConfigValue given =
      ConfigValue::Object{{"args", ConfigValue::List{nullptr, ConfigValue::List{0, 2}}}};
  EXPECT_EQ(take->arguments_config(take->arguments_from_config(given).get()), given);
  Context ctx;
  EXPECT_TRUE(same_bits(results(ctx, *take, {Tensor::from({1, 3}, {4, 5, 6})}, given)[0],
                        Tensor::from({1, 2}, {4, 6})));
}

}  // namespace
}  // namespace grouphead
