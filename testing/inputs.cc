#include "testing/inputs.h"

#include <random>
#include <vector>

#include "core/check.h"
#include "ops/convert.h"

namespace grouphead::testing {
namespace {

constexpr std::size_t kPool = 65521;  // a prime: no stride of a tensor meets the period

std::mt19937_64 generator(Index seed) { return std::mt19937_64(static_cast<std::uint64_t>(seed)); }

template <class F>
void repeat(const std::vector<float>& pool, View out) {
  F* y = out.data<F>();
  for (std::size_t i = 0; i < static_cast<std::size_t>(out.size()); ++i) {
    if constexpr (std::is_same_v<F, Bf16>) {
      y[i] = to_bf16(pool[i % kPool]);
    } else {
      y[i] = static_cast<F>(pool[i % kPool]);
    }
  }
}

}  // namespace

Tensor random_tensor(Context& ctx, const Shape& shape, Dtype dtype, Index seed) {
  std::mt19937_64 random = generator(seed);
  std::normal_distribution<float> normal;
  std::vector<float> pool(kPool);
  for (float& x : pool) x = normal(random);
  Tensor out = ctx.tensor(shape, dtype);
  if (dtype == Dtype::bf16) {
    repeat<Bf16>(pool, out);
  } else {
    dtype == Dtype::f64 ? repeat<double>(pool, out) : repeat<float>(pool, out);
  }
  return out;
}

Tensor random_tokens(Context& ctx, const Shape& shape, Index limit, Index seed) {
  std::mt19937_64 random = generator(seed);
  std::uniform_int_distribution<std::int32_t> below(0, static_cast<std::int32_t>(limit - 1));
  Tensor out = ctx.tensor(shape, Dtype::i32);
  auto* tokens = out.data<std::int32_t>();
  for (Index i = 0; i < out.size(); ++i) tokens[i] = below(random);
  return out;
}

Tensor convert(Context& ctx, ConstView x, Dtype dtype) {
  core::require_contiguous("convert", "x", x);
  Tensor out = ctx.tensor(x.shape(), dtype);
  ops::convert_rounded(x, dtype, out);
  return out;
}

}  // namespace grouphead::testing
