// Attention with each option against tests/golden/attention: float64 values, and their gradients.

#include <gmock/gmock.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "attention_support.h"
#include "grouphead/attention.h"
#include "grouphead/core/tensor_functions.h"
#include "io/safetensors.h"

namespace grouphead {
namespace {

struct GoldenCase {
  std::string name;
  io::Safetensors file;
  nlohmann::json given;  // the file's options

  Tensor tensor(const std::string& key, Dtype dtype) const { return cast(file.at(key), dtype); }
  bool has(const std::string& key) const { return file.tensors.contains(key); }
};

std::vector<GoldenCase> golden_cases() {
  std::vector<GoldenCase> found;
  const auto folder = std::filesystem::path(GROUPHEAD_SOURCE_DIR) / "tests/golden/attention";
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() != ".safetensors") continue;
    GoldenCase c{entry.path().stem().string(), io::read_safetensors(entry.path()), {}};
    c.given = nlohmann::json::parse(c.file.metadata.at("options"));
    found.push_back(std::move(c));
  }
  return found;
}

// What the options point to.
struct Operands {
  Tensor mask{}, bias{}, sinks{}, slopes{}, lengths{}, segments{}, key_segments{};
  AttentionOptions options{};

  Operands(const GoldenCase& c, Dtype dtype) {
    if (c.given.contains("scale")) options.scale = c.given["scale"].get<double>();
    if (c.given.contains("softcap")) options.softcap = c.given["softcap"].get<double>();
    options.causal = c.given.value("causal", false);
    options.causal_offset = c.given.value("offset", Index{0});
    const auto set = [&](const char* key, Tensor& memory, ConstView& option, Dtype type) {
      if (c.has(key)) option = memory = c.tensor(key, type);
    };
    set("mask", mask, options.mask, Dtype::u8);
    set("bias", bias, options.bias, dtype);
    set("sinks", sinks, options.sinks, dtype);
    set("slopes", slopes, options.alibi_slopes, dtype);
    set("lengths", lengths, options.lengths, Dtype::i32);
    set("segments_q", segments, options.segments, Dtype::i32);
    set("segments_k", key_segments, options.key_segments, Dtype::i32);
    const auto width = [&](const char* side) -> std::optional<Index> {
      if (!c.given.contains(side)) return std::nullopt;
      return c.given[side].get<Index>();
    };
    options.window_left = width("window_left");
    options.window_right = width("window_right");
  }
};

// Within `bound` of the largest value, and infinities in their places.
void expect_near(const GoldenCase& c, const char* key, const Tensor& got, double bound) {
  const Tensor want = c.tensor(key, Dtype::f64);
  const Tensor wide = cast(got, Dtype::f64);
  double largest = 0;
  for (Index i = 0; i < want.size(); ++i) {
    const double x = std::abs(want.data<double>()[i]);
    if (std::isfinite(x)) largest = std::max(largest, x);
  }
  Index wrong = 0;
  for (Index i = 0; i < want.size(); ++i) {
    const double x = wide.data<double>()[i], y = want.data<double>()[i];
    if (x != y && !(std::abs(x - y) <= bound * largest)) ++wrong;
  }
  EXPECT_EQ(wrong, 0) << key << " of " << c.name << ", of " << want.size();
}

void expect_golden(const GoldenCase& c, Isa isa, Dtype dtype, double bound, double gradient_bound) {
  const Tensor q = c.tensor("q", dtype), k = c.tensor("k", dtype), v = c.tensor("v", dtype);
  const Tensor d_out = c.tensor("d_out", dtype);
  const Operands o(c, dtype);
  Context ctx({.num_threads = 2, .isa = isa});
  Tensor out(d_out.shape(), dtype), lse({q.dim(0), q.dim(2), q.dim(1)}, dtype);
  Tensor statistics({2, q.dim(0), q.dim(2), q.dim(1)}, dtype);
  attention(ctx, q, k, v, o.options, out, {.lse = lse, .statistics = statistics});
  expect_near(c, "out", out, bound);
  expect_near(c, "lse", lse, bound);
  Tensor d_q(q.shape(), dtype), d_k(k.shape(), dtype), d_v(v.shape(), dtype);
  AttentionGradients gradients{.d_out = d_out, .d_q = d_q, .d_k = d_k, .d_v = d_v};
  Tensor d_bias, d_sinks;
  if (o.bias.has_value()) gradients.d_bias = d_bias = Tensor(o.bias.shape(), dtype);
  if (o.sinks.has_value()) gradients.d_sinks = d_sinks = Tensor(o.sinks.shape(), dtype);
  attention_backward(ctx, q, k, v, o.options, out, statistics, gradients);
  expect_near(c, "d_q", d_q, gradient_bound);
  expect_near(c, "d_k", d_k, gradient_bound);
  expect_near(c, "d_v", d_v, gradient_bound);
  if (o.bias.has_value()) expect_near(c, "d_bias", d_bias, gradient_bound);
  if (o.sinks.has_value()) expect_near(c, "d_sinks", d_sinks, gradient_bound);
}

TEST(AttentionGolden, EveryLevelAgrees) {
  const std::vector<GoldenCase> cases = golden_cases();
  ASSERT_EQ(cases.size(), 28U);
  for (const GoldenCase& c : cases) {
    for (const Isa isa : testing_support::isas_under_test()) {
      expect_golden(c, isa, Dtype::f32, 1e-5, 3e-5);
    }
  }
}

TEST(AttentionGolden, DoublesAgree) {
  for (const GoldenCase& c : golden_cases()) {
    expect_golden(c, Isa::ref, Dtype::f64, 1e-12, 1e-12);
  }
}

}  // namespace
}  // namespace grouphead
