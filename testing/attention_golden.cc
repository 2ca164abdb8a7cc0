#include "testing/attention_golden.h"

#include <fmt/format.h>

#include "grouphead/attention.h"
#include "grouphead/core/tensor_functions.h"
#include "io/json.h"
#include "testing/compare.h"

namespace grouphead::testing {
namespace {

constexpr std::string_view kOptions = "options";

struct Tolerances {
  double values;
  double gradients;
};

/// A case in one element type.
class AttentionGolden {
 public:
  AttentionGolden(Context& ctx, const io::Safetensors& file, std::string name, Dtype dtype)
      : ctx_(ctx), file_(file), name_(std::move(name)), dtype_(dtype) {
    read_numbers(io::parse_json(file.metadata.at(std::string(kOptions)), name_ + ": options"));
    read_tensors();
  }

  std::vector<GoldenResult> run(const Tolerances& tolerances) {
    const Tensor q = tensor("q", dtype_), k = tensor("k", dtype_), v = tensor("v", dtype_);
    const Tensor d_out = tensor("d_out", dtype_);
    Tensor out(d_out.shape(), dtype_), lse({q.dim(0), q.dim(2), q.dim(1)}, dtype_);
    Tensor statistics({2, q.dim(0), q.dim(2), q.dim(1)}, dtype_);
    attention(ctx_, q, k, v, options_, out, {.lse = lse, .statistics = statistics});
    expect("out", out, tolerances.values);
    expect("lse", lse, tolerances.values);
    Tensor d_q(q.shape(), dtype_), d_k(k.shape(), dtype_), d_v(v.shape(), dtype_);
    AttentionGradients gradients{.d_out = d_out, .d_q = d_q, .d_k = d_k, .d_v = d_v};
    Tensor d_bias, d_sinks;
    if (bias_.has_value()) gradients.d_bias = d_bias = Tensor(bias_.shape(), dtype_);
    if (sinks_.has_value()) gradients.d_sinks = d_sinks = Tensor(sinks_.shape(), dtype_);
    attention_backward(ctx_, q, k, v, options_, out, statistics, gradients);
    expect("d_q", d_q, tolerances.gradients);
    expect("d_k", d_k, tolerances.gradients);
    expect("d_v", d_v, tolerances.gradients);
    if (bias_.has_value()) expect("d_bias", d_bias, tolerances.gradients);
    if (sinks_.has_value()) expect("d_sinks", d_sinks, tolerances.gradients);
    return std::move(results_);
  }

 private:
  Tensor tensor(const std::string& key, Dtype dtype) const { return cast(file_.at(key), dtype); }

  void read_numbers(const ConfigValue& given) {
    for (const auto& [key, value] : given.as_object(kOptions)) {
      if (key == "scale") {
        options_.scale = value.as_number(key);
      } else if (key == "softcap") {
        options_.softcap = value.as_number(key);
      } else if (key == "causal") {
        options_.causal = value.as_bool(key);
      } else if (key == "offset") {
        options_.causal_offset = value.as_integer(key);
      } else if (key == "window_left") {
        options_.window_left = value.as_integer(key);
      } else if (key == "window_right") {
        options_.window_right = value.as_integer(key);
      } else {
        throw IoError(
            fmt::format("[golden] {}: expected options of attention, got {}", name_, key));
      }
    }
  }

  void read_tensors() {
    const auto set = [&](const char* key, Tensor& memory, ConstView& option, Dtype type) {
      if (file_.tensors.contains(key)) option = memory = tensor(key, type);
    };
    set("mask", mask_, options_.mask, Dtype::u8);
    set("bias", bias_, options_.bias, dtype_);
    set("sinks", sinks_, options_.sinks, dtype_);
    set("slopes", slopes_, options_.alibi_slopes, dtype_);
    set("lengths", lengths_, options_.lengths, Dtype::i32);
    set("segments_q", segments_, options_.segments, Dtype::i32);
    set("segments_k", key_segments_, options_.key_segments, Dtype::i32);
  }

  void expect(const std::string& key, const Tensor& got, double tolerance) {
    const Tensor want = tensor(key, Dtype::f64);
    const Comparison result = compare(key, cast(got, Dtype::f64), want, tolerance * max_abs(want));
    results_.push_back(
        {result.ok(), fmt::format("{} {} {}", name_, name_of(dtype_), result.to_string())});
  }

  Context& ctx_;
  const io::Safetensors& file_;
  std::string name_;
  Dtype dtype_;
  Tensor mask_, bias_, sinks_, slopes_, lengths_, segments_, key_segments_;
  AttentionOptions options_;
  std::vector<GoldenResult> results_;
};

}  // namespace

bool is_attention_golden(const io::Safetensors& file) {
  const bool has_operands = file.tensors.contains("q") && file.tensors.contains("k") &&
                            file.tensors.contains("v") && file.tensors.contains("d_out");
  return has_operands && file.metadata.contains(std::string(kOptions));
}

std::vector<GoldenResult> run_attention_golden(Context& ctx, const io::Safetensors& file,
                                               const std::string& name) {
  std::vector<GoldenResult> results =
      AttentionGolden(ctx, file, name, Dtype::f32).run({.values = 1e-5, .gradients = 3e-5});
  for (GoldenResult& result :
       AttentionGolden(ctx, file, name, Dtype::f64).run({.values = 1e-12, .gradients = 1e-12})) {
    results.push_back(std::move(result));
  }
  return results;
}

}  // namespace grouphead::testing
