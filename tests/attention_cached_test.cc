#include <gmock/gmock.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "attention_support.h"

namespace grouphead {
namespace {

using testing_support::AttentionCase;
using testing_support::AttentionInputs;
using testing_support::isas_under_test;
using testing_support::make_inputs;

Index round_up(Index x) { return (x + 15) / 16 * 16; }

// A cache for the keys and values of a case; its bytes are NaN where nothing was stored.
struct Cache {
  Cache(const AttentionCase& c, Index capacity, Dtype dtype)
      : keys({c.B, c.Hkv, round_up(capacity) / 16, c.D, 16}, dtype),
        values({c.B, c.Hkv, round_up(capacity), round_up(c.Dv)}, dtype) {
    std::memset(keys.view().raw(), 0xff, static_cast<std::size_t>(keys.bytes()));
    std::memset(values.view().raw(), 0xff, static_cast<std::size_t>(values.bytes()));
  }
  ops::CacheSlice slice() { return {keys, values}; }
  Tensor keys, values;
};

void expect_oracle(const AttentionCase& c, Dtype dtype, const std::vector<Isa>& isas) {
  AttentionInputs in = make_inputs(c, dtype);
  const auto want = check::attention_forward_oracle(in.q, in.k, in.v, c.options());
  for (const Isa isa : isas) {
    Context ctx({.num_threads = 2, .isa = isa});
    Cache cache(c, c.S + 40, dtype);
    // In three pieces, which meet inside panels.
    const Index first = c.S / 3;
    const Index second = c.S / 2;
    for (const auto& [begin, end] : {std::pair{Index{0}, first}, {first, second}, {second, c.S}}) {
      ops::cache_store(ctx, in.k.view().slice(1, begin, end), in.v.view().slice(1, begin, end),
                       cache.slice(), begin);
    }
    Tensor got({c.B, c.T, c.Hq, c.Dv}, dtype);
    ops::attention_cached(ctx, in.q, cache.slice(), c.S, c.options(), got);
    CHECK_CLOSE(got, want.out.value, bounds_of(want.out, dtype), c.key("decode", dtype, isa));
  }
}

std::vector<AttentionCase> cases() {
  std::vector<AttentionCase> all = testing_support::attention_cases();
  const std::vector<AttentionCase> few_rows = {
      {2, 1, 1057, 6, 2, 64, 64, false, 0},     {1, 1, 2500, 8, 1, 128, 72, true, 2499},
      {1, 4, 1030, 8, 2, 40, 5, true, 1026},    {3, 1, 16, 7, 1, 1, 16, false, 0},
      {1, 16, 2049, 1, 1, 64, 128, true, 2033}, {1, 5, 1024, 3, 1, 72, 80, true, -2},
      {1, 2, 0, 2, 1, 8, 8, false, 0},          {1, 40, 0, 2, 1, 8, 8, false, 0},
  };
  all.insert(all.end(), few_rows.begin(), few_rows.end());
  return all;
}

TEST(AttentionCached, EveryLevelAgreesWithTheOracleAndIgnoresWhatIsBehindTheLength) {
  for (const AttentionCase& c : cases()) expect_oracle(c, Dtype::f32, isas_under_test());
}

TEST(AttentionCached, DoublesAgreeWithTheOracle) {
  for (const AttentionCase& c : cases()) expect_oracle(c, Dtype::f64, {Isa::ref});
}

}  // namespace
}  // namespace grouphead
