// Random combinations of all options, forward and backward, against the oracle at every level.
// GROUPHEAD_RANDOM_CASES=N asks for more of them, GROUPHEAD_RANDOM_SEED=S for others.

#include <cstdlib>
#include <memory>
#include <random>

#include "attention_options_support.h"

namespace grouphead {
namespace {

using testing_support::AttentionCase;
using testing_support::isas_under_test;
using testing_support::make_operands;
using testing_support::OptionCase;
using testing_support::OptionOperands;
using testing_support::OptionResults;
using testing_support::run_options;

std::uint64_t number_from_environment(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

class Dice {
 public:
  explicit Dice(std::uint64_t seed) : words_(seed) {}
  /// 0 .. n - 1
  Index below(Index n) { return static_cast<Index>(words_() % static_cast<std::uint64_t>(n)); }
  Index between(Index least, Index most) { return least + below(most - least + 1); }
  bool once_in(Index n) { return below(n) == 0; }
  double real(double most) { return most * static_cast<double>(1 + below(1000)) / 1000; }

 private:
  std::mt19937_64 words_;
};

// Most problems are small; some reach over strips of rows and tiles of keys.
AttentionCase random_base(Dice& dice) {
  AttentionCase base;
  const bool is_long = dice.once_in(25);
  base.B = is_long ? 1 : dice.between(1, 3);
  base.T = dice.between(1, is_long ? 130 : 24);
  base.S = dice.between(1, is_long ? 600 : 70);
  base.Hkv = dice.between(1, is_long ? 1 : 2);
  base.Hq = base.Hkv * dice.between(1, is_long ? 2 : 4);
  base.D = dice.between(1, 20);
  base.Dv = dice.once_in(2) ? base.D : dice.between(1, 20);
  base.causal = dice.once_in(2);
  if (dice.once_in(2)) base.causal_offset = dice.between(-5, base.S);
  return base;
}

Shape random_grid(Dice& dice, const AttentionCase& base) {
  const auto one_or = [&](Index n) { return dice.once_in(2) ? n : 1; };
  return {one_or(base.B), one_or(base.Hq), one_or(base.T), one_or(base.S)};
}

// Ascending from 0 to `last` at most.
std::vector<Index> random_segments(Dice& dice, Index count, Index last) {
  std::vector<Index> segments{0};
  for (Index n = 0; n < count; ++n) segments.push_back(dice.between(segments.back(), last));
  return segments;
}

void set_sequences(Dice& dice, OptionCase& c) {
  AttentionCase& base = c.base;
  if (dice.once_in(2)) {
    base.causal_offset = 0;
    for (Index b = 0; b < base.B; ++b) c.lengths.push_back(dice.between(0, base.S));
    return;
  }
  base.B = 1;
  const Index count = dice.between(1, 4);
  const bool own_keys = dice.once_in(2);
  c.segments = random_segments(dice, count, own_keys ? base.T : std::min(base.T, base.S));
  if (own_keys) c.key_segments = random_segments(dice, count, base.S);
}

OptionCase random_case(std::uint64_t seed) {
  Dice dice(seed);
  OptionCase c{.base = random_base(dice)};
  if (dice.once_in(3)) set_sequences(dice, c);
  if (dice.once_in(3)) c.window_left = dice.between(-1, c.base.S);
  if (dice.once_in(4)) c.window_right = dice.between(-1, c.base.S);
  if (dice.once_in(3)) c.mask = random_grid(dice, c.base);
  if (dice.once_in(3)) c.bias = random_grid(dice, c.base);
  c.key_mask = dice.once_in(4);
  c.query_mask = dice.once_in(4);
  if (dice.once_in(3)) c.softcap = 0.3 + dice.real(5);
  c.slopes = dice.once_in(3);
  c.sinks = dice.once_in(3);
  if (!c.sinks && dice.once_in(3)) c.masked_rows = MaskedRows::uniform;
  if (dice.once_in(3)) c.dropout_rate = dice.real(1);
  if (dice.once_in(2)) c.algorithm = RandomAlgorithm::threefry;
  c.d_scores = dice.once_in(3);
  return c;
}

// The results of the oracle, each with a name and with what the kernels gave.
struct Expected {
  const char* name;
  testing::OracleResult want;
  Tensor OptionResults::*got;
};

std::vector<Expected> expected_of(const OptionOperands& o) {
  const auto& in = o.in;
  const auto forward = testing::attention_forward_oracle(in.q, in.k, in.v, o.options);
  const auto backward =
      testing::attention_backward_oracle(in.q, in.k, in.v, in.d_out, o.options, o.d_scores);
  std::vector<Expected> all{
      {"out", forward.out, &OptionResults::out},
      {"lse", forward.lse, &OptionResults::lse},
      {"scores", testing::attention_scores_oracle(in.q, in.k, o.options), &OptionResults::scores},
      {"d_q", backward.d_q, &OptionResults::d_q},
      {"d_k", backward.d_k, &OptionResults::d_k},
      {"d_v", backward.d_v, &OptionResults::d_v}};
  if (o.bias.has_value()) all.push_back({"d_bias", backward.d_bias, &OptionResults::d_bias});
  if (o.sinks.has_value()) all.push_back({"d_sinks", backward.d_sinks, &OptionResults::d_sinks});
  return all;
}

TEST(AttentionRandom, CombinationsOfOptionsAgreeWithTheOracle) {
  const std::uint64_t count = number_from_environment("GROUPHEAD_RANDOM_CASES", 2000);
  const std::uint64_t first = number_from_environment("GROUPHEAD_RANDOM_SEED", 1);
  std::vector<std::unique_ptr<Context>> contexts;
  for (const Isa isa : isas_under_test()) {
    contexts.push_back(std::make_unique<Context>(ContextOptions{.num_threads = 2, .isa = isa}));
  }
  for (std::uint64_t seed = first; seed < first + count; ++seed) {
    const OptionCase c = random_case(seed);
    const OptionOperands o = make_operands(c, Dtype::f32, seed);
    const std::vector<Expected> expected = expected_of(o);
    for (const std::unique_ptr<Context>& ctx : contexts) {
      const OptionResults got = run_options(*ctx, o);
      for (const Expected& e : expected) {
        const testing::Comparison found = testing::compare(e.name, got.*e.got, e.want.value,
                                                           testing::bounds_of(e.want, Dtype::f32));
        ASSERT_TRUE(found.ok()) << found.to_string() << "\n  GROUPHEAD_RANDOM_SEED=" << seed << " "
                                << c.to_string() << " at " << name_of(ctx->isa());
      }
    }
  }
}

}  // namespace
}  // namespace grouphead
