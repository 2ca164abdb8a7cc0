#pragma once

// Attention problems with masks, windows, biases, dropout and cotangents of the scores.

#include <string>
#include <vector>

#include "attention_support.h"
#include "grouphead/core/tensor_functions.h"

namespace grouphead::testing_support {

struct OptionCase {
  AttentionCase base{};
  std::optional<Index> window_left{}, window_right{};
  Shape mask{};  ///< rank 0: none
  Shape bias{};
  bool key_mask = false;
  bool query_mask = false;
  MaskedRows masked_rows = MaskedRows::zeros;
  double dropout_rate = 0;
  RandomAlgorithm algorithm = RandomAlgorithm::philox;
  std::optional<double> softcap{};
  bool slopes = false;
  bool sinks = false;
  bool d_scores = false;
  std::vector<Index> lengths{}, segments{}, key_segments{};

  std::string to_string() const {
    std::string text = base.key("attention.fwdbwd", Dtype::f32, Isa::ref);
    if (window_left) text += " left=" + std::to_string(*window_left);
    if (window_right) text += " right=" + std::to_string(*window_right);
    text += " mask=" + mask.to_string() + " bias=" + bias.to_string();
    if (key_mask) text += " key_mask";
    if (query_mask) text += " query_mask";
    if (masked_rows == MaskedRows::uniform) text += " uniform";
    if (dropout_rate != 0) text += " dropout=" + std::to_string(dropout_rate);
    if (algorithm == RandomAlgorithm::threefry) text += " threefry";
    if (d_scores) text += " d_scores";
    if (softcap) text += " softcap=" + std::to_string(*softcap);
    if (slopes) text += " slopes";
    if (sinks) text += " sinks";
    for (const auto& [name, list] : {std::pair("lengths", lengths), std::pair("segments", segments),
                                     std::pair("key_segments", key_segments)}) {
      if (!list.empty()) text += " " + std::string(name) + "=" + Shape::partial(list).to_string();
    }
    return text;
  }
};

inline std::uint64_t mixed(std::uint64_t x) {
  x = (x ^ x >> 31) * 0x9e3779b97f4a7c15U;
  return x ^ x >> 29;
}

/// Blocks of 20 x 48 positions, of which a quarter hides all, a quarter nothing, the rest every
/// third element. `first_row_hidden`: the first row sees nothing.
inline Tensor block_mask(const Shape& shape, std::uint64_t seed) {
  Tensor mask(shape, Dtype::u8);
  auto* const flags = mask.data<std::uint8_t>();
  Index i = 0;
  for (Index outer = 0; outer < shape[0] * shape[1]; ++outer) {
    for (Index t = 0; t < shape[2]; ++t) {
      for (Index s = 0; s < shape[3]; ++s, ++i) {
        const auto block = static_cast<std::uint64_t>((outer * 1000 + t / 20) * 1000 + s / 48);
        const std::uint64_t kind = mixed(block + seed * 77) % 4;
        const bool every_third = mixed(static_cast<std::uint64_t>(i) + seed) % 3 == 0;
        const bool hidden = kind == 0 || (kind > 1 && every_third) || t == 1;
        const auto visible = static_cast<std::uint8_t>(1 + i % 200);
        flags[i] = hidden ? std::uint8_t{0} : visible;
      }
    }
  }
  return mask;
}

/// Each row sees its first positions; the last row of a batch of several none.
inline Tensor length_mask(Index B, Index length, std::uint64_t seed) {
  Tensor mask = Tensor::zeros({B, length}, Dtype::boolean);
  for (Index b = 0; b < B; ++b) {
    const auto hidden = static_cast<Index>(mixed(seed + static_cast<std::uint64_t>(b)) %
                                           static_cast<std::uint64_t>(length + 1));
    const Index seen = b > 0 && b == B - 1 ? 0 : length - hidden / 2;
    std::fill_n(mask.data<bool>() + b * length, seen, true);
  }
  return mask;
}

/// ALiBi's slopes, of which one is 0 and one grows with the distance.
inline Tensor small_slopes(Index heads, Dtype dtype) {
  std::vector<float> slopes(static_cast<std::size_t>(heads), 0.1F);
  slopes[0] = 0;
  slopes.back() = -0.03F;
  return cast(Tensor::from({heads}, std::span<const float>(slopes)), dtype);
}

struct OptionOperands {
  AttentionInputs in{};
  Tensor mask{}, key_mask{}, query_mask{}, bias{}, d_scores{};
  Tensor slopes{}, sinks{}, lengths{}, segments{}, key_segments{};
  AttentionOptions options{};
};

inline OptionOperands make_operands(const OptionCase& c, Dtype dtype, std::uint64_t seed = 1) {
  const AttentionCase& base = c.base;
  OptionOperands o{make_inputs(base, dtype, seed)};
  o.options = base.options();
  o.options.window_left = c.window_left;
  o.options.window_right = c.window_right;
  o.options.masked_rows = c.masked_rows;
  o.options.dropout_rate = c.dropout_rate;
  o.options.draw = {c.algorithm, {0x1234567890 + seed, 0x300000005}};
  if (c.mask.rank() > 0) o.options.mask = o.mask = block_mask(c.mask, seed);
  if (c.bias.rank() > 0) o.options.bias = o.bias = uniform(c.bias, dtype, seed + 11);
  if (c.key_mask) o.options.key_mask = o.key_mask = length_mask(base.B, base.S, seed);
  if (c.query_mask) o.options.query_mask = o.query_mask = length_mask(base.B, base.T, seed + 5);
  o.options.softcap = c.softcap;
  if (c.slopes) o.options.alibi_slopes = o.slopes = small_slopes(base.Hq, dtype);
  if (c.sinks) o.options.sinks = o.sinks = uniform({base.Hq}, dtype, seed + 14);
  const auto set_list = [](const std::vector<Index>& list, Tensor& memory, ConstView& option) {
    if (list.empty()) return;
    memory = Tensor::from({static_cast<Index>(list.size())}, std::span<const Index>(list));
    option = memory;
  };
  set_list(c.lengths, o.lengths, o.options.lengths);
  set_list(c.segments, o.segments, o.options.segments);
  set_list(c.key_segments, o.key_segments, o.options.key_segments);
  if (c.d_scores) o.d_scores = uniform({base.B, base.Hq, base.T, base.S}, dtype, seed + 12);
  return o;
}

/// The same with queries, keys, values and d_out in bf16; a bias is f32 or bf16.
inline OptionOperands narrowed(const OptionOperands& wide, bool with_bias) {
  OptionOperands o = wide;
  for (Tensor* x : {&o.in.q, &o.in.k, &o.in.v, &o.in.d_out}) *x = cast(*x, Dtype::bf16);
  if (with_bias && o.bias.has_value()) o.options.bias = o.bias = cast(o.bias, Dtype::bf16);
  return o;
}

/// And back: what these are in f32.
inline OptionOperands widened(const OptionOperands& narrow) {
  OptionOperands o = narrow;
  for (Tensor* x : {&o.in.q, &o.in.k, &o.in.v, &o.in.d_out}) *x = cast(*x, Dtype::f32);
  if (o.bias.has_value()) o.options.bias = o.bias = cast(o.bias, Dtype::f32);
  return o;
}

struct OptionResults {
  Tensor out{}, softmax{}, lse{}, scores{}, d_q{}, d_k{}, d_v{}, d_bias{}, d_sinks{};
};

inline OptionResults run_options(Context& ctx, const OptionOperands& o) {
  const AttentionInputs& in = o.in;
  const Dtype dtype = in.q.dtype();
  const Dtype wide = dtype == Dtype::f64 ? Dtype::f64 : Dtype::f32;
  const Index B = in.q.dim(0), T = in.q.dim(1), Hq = in.q.dim(2), S = in.k.dim(1);
  OptionResults r{.out = Tensor(in.d_out.shape(), dtype),
                  .softmax = Tensor({2, B, Hq, T}, wide),
                  .lse = Tensor({B, Hq, T}, wide),
                  .scores = Tensor({B, Hq, T, S}, wide),
                  .d_q = Tensor(in.q.shape(), dtype),
                  .d_k = Tensor(in.k.shape(), dtype),
                  .d_v = Tensor(in.v.shape(), dtype)};
  attention(ctx, in.q, in.k, in.v, o.options, r.out, {.lse = r.lse, .statistics = r.softmax});
  attention_scores(ctx, in.q, in.k, o.options, r.softmax, r.scores);
  AttentionGradients gradients{.d_out = in.d_out, .d_q = r.d_q, .d_k = r.d_k, .d_v = r.d_v};
  if (o.d_scores.has_value()) gradients.d_scores = o.d_scores;
  if (o.bias.has_value()) {
    r.d_bias = Tensor(o.bias.shape(), o.bias.dtype());
    gradients.d_bias = r.d_bias;
  }
  if (o.sinks.has_value()) gradients.d_sinks = r.d_sinks = Tensor(o.sinks.shape(), wide);
  attention_backward(ctx, in.q, in.k, in.v, o.options, r.out, r.softmax, gradients);
  return r;
}

inline void expect_same(const OptionResults& a, const OptionResults& b, const std::string& what) {
  EXPECT_TRUE(same_bits(a.out, b.out)) << "out of " << what;
  EXPECT_TRUE(same_bits(a.softmax, b.softmax)) << "lse of " << what;
  EXPECT_TRUE(same_bits(a.scores, b.scores)) << "scores of " << what;
  EXPECT_TRUE(same_bits(a.d_q, b.d_q)) << "d_q of " << what;
  EXPECT_TRUE(same_bits(a.d_k, b.d_k)) << "d_k of " << what;
  EXPECT_TRUE(same_bits(a.d_v, b.d_v)) << "d_v of " << what;
  ASSERT_EQ(a.d_bias.has_value(), b.d_bias.has_value());
  EXPECT_TRUE(!a.d_bias.has_value() || same_bits(a.d_bias, b.d_bias)) << "d_bias of " << what;
  EXPECT_TRUE(!a.d_sinks.has_value() || same_bits(a.d_sinks, b.d_sinks)) << "d_sinks of " << what;
}

/// Each option alone and in company, with shapes around lanes, strips and tiles.
inline std::vector<OptionCase> option_cases() {
  constexpr auto kUniform = MaskedRows::uniform;
  constexpr auto kZeros = MaskedRows::zeros;
  constexpr auto kThreefry = RandomAlgorithm::threefry;
  const AttentionCase small{2, 37, 83, 4, 2, 8, 5};
  const AttentionCase square{1, 210, 210, 3, 1, 16, 24, true};
  const AttentionCase wide{1, 61, 530, 2, 2, 64, 72};
  const AttentionCase odd{2, 19, 201, 6, 3, 7, 9, true, 180};
  return {
      {.base = small, .mask = {2, 4, 37, 83}},
      {.base = small, .mask = {1, 1, 37, 83}, .masked_rows = kUniform},
      {.base = small, .mask = {2, 1, 1, 83}},
      {.base = small, .mask = {1, 4, 37, 1}, .masked_rows = kUniform},
      {.base = small, .mask = {1, 1, 1, 1}},
      {.base = wide, .mask = {1, 1, 61, 530}, .masked_rows = kUniform},
      {.base = wide, .mask = {1, 2, 61, 530}},
      {.base = square, .mask = {1, 1, 210, 210}},
      {.base = small, .key_mask = true, .query_mask = true},
      {.base = odd, .key_mask = true, .query_mask = true, .masked_rows = kUniform},
      {.base = square, .window_left = 0, .window_right = 0},
      {.base = square, .window_left = 69, .window_right = 69},
      {.base = {2, 130, 170, 2, 2, 24, 16, false, 13}, .window_left = 8, .window_right = 8},
      {.base = {1, 90, 700, 4, 1, 64, 64, false, 400},
       .window_left = 149,
       .window_right = 149,
       .masked_rows = kUniform},
      {.base = {1, 90, 70, 2, 1, 12, 12, false, -60},
       .window_left = 4,
       .window_right = 4,
       .masked_rows = kUniform},
      {.base = {1, 40, 30, 2, 1, 12, 12, true, -20}, .masked_rows = kUniform},
      {.base = square, .window_left = 40},
      {.base = {2, 130, 170, 2, 2, 24, 16, false, 13}, .window_left = 3, .window_right = 40},
      {.base = {2, 130, 170, 2, 2, 24, 16, false, 13}, .window_left = 70},
      {.base = {1, 90, 700, 4, 1, 64, 64, false, 400}, .window_right = 0},
      {.base = {1, 90, 700, 4, 1, 64, 64, false, -30}, .window_right = 65, .masked_rows = kUniform},
      {.base = odd,
       .window_left = 32,
       .window_right = 32,
       .mask = {2, 1, 19, 201},
       .key_mask = true},
      {.base = {1, 900, 900, 2, 1, 8, 8, true}, .window_left = 49},
      {.base = {1, 700, 900, 2, 1, 8, 8, true, 120},
       .window_left = 39,
       .bias = {1, 1, 700, 900},
       .query_mask = true,
       .masked_rows = kUniform},
      {.base = small, .bias = {2, 4, 37, 83}},
      {.base = small, .bias = {1, 1, 37, 83}},
      {.base = small, .bias = {2, 1, 1, 83}},
      {.base = small, .bias = {1, 4, 37, 1}},
      {.base = wide, .bias = {1, 1, 1, 530}},
      {.base = square, .bias = {1, 3, 210, 210}},
      {.base = odd, .mask = {1, 1, 19, 201}, .bias = {1, 6, 1, 201}, .masked_rows = kUniform},
      {.base = small, .dropout_rate = 0.3},
      {.base = small, .dropout_rate = 0.3, .algorithm = kThreefry},
      {.base = small, .dropout_rate = 1},
      {.base = small, .dropout_rate = 1, .algorithm = kThreefry},
      {.base = square, .dropout_rate = 0.1},
      {.base = wide, .dropout_rate = 0.1, .algorithm = kThreefry},
      {.base = odd, .query_mask = true, .masked_rows = kUniform, .dropout_rate = 0.5},
      {.base = small, .d_scores = true},
      {.base = square, .window_left = 89, .window_right = 89, .d_scores = true},
      {.base = wide, .mask = {1, 2, 61, 530}, .masked_rows = kUniform, .d_scores = true},
      {.base = odd,
       .window_left = 59,
       .window_right = 59,
       .mask = {2, 1, 19, 201},
       .bias = {2, 6, 19, 201},
       .key_mask = true,
       .query_mask = true,
       .masked_rows = kZeros,
       .dropout_rate = 0.2,
       .algorithm = kThreefry,
       .d_scores = true},
      {.base = odd,
       .mask = {1, 6, 19, 201},
       .bias = {1, 1, 1, 201},
       .key_mask = true,
       .masked_rows = kUniform,
       .dropout_rate = 0.4,
       .d_scores = true},
      {.base = small, .softcap = 0.4},
      {.base = wide, .softcap = 3, .d_scores = true},
      {.base = small, .bias = {2, 4, 37, 83}, .softcap = 0.7},
      {.base = square, .slopes = true},
      {.base = small, .slopes = true, .sinks = true},
      {.base = square, .sinks = true, .d_scores = true},
      {.base = small, .mask = {2, 4, 37, 83}, .bias = {2, 4, 37, 1}, .sinks = true},
      {.base = {1, 40, 30, 2, 1, 12, 12, true, -20}, .sinks = true},
      {.base = odd,
       .window_left = 59,
       .mask = {2, 1, 19, 201},
       .bias = {2, 6, 19, 201},
       .key_mask = true,
       .dropout_rate = 0.2,
       .softcap = 1.5,
       .slopes = true,
       .sinks = true,
       .d_scores = true},
      {.base = small, .window_left = 3, .window_right = -2, .masked_rows = kUniform},
      {.base = {3, 9, 90, 4, 2, 16, 8, true}, .lengths = {90, 0, 41}},
      {.base = {3, 9, 90, 4, 2, 16, 8, false},
       .mask = {3, 4, 9, 90},
       .bias = {1, 4, 9, 90},
       .key_mask = true,
       .query_mask = true,
       .dropout_rate = 0.2,
       .softcap = 2,
       .slopes = true,
       .sinks = true,
       .d_scores = true,
       .lengths = {3, 90, 1}},
      {.base = {1, 210, 210, 3, 1, 16, 24, true}, .segments = {0, 100, 101, 101, 200}},
      {.base = {1, 210, 330, 4, 2, 16, 24, true, 3},
       .window_left = 50,
       .mask = {1, 4, 210, 330},
       .bias = {1, 1, 210, 330},
       .dropout_rate = 0.3,
       .softcap = 2,
       .slopes = true,
       .sinks = true,
       .d_scores = true,
       .segments = {0, 13, 13, 210},
       .key_segments = {0, 30, 40, 300}},
  };
}

}  // namespace grouphead::testing_support
