#include "testing/pretrained_case.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "grouphead/core/tensor_functions.h"
#include "grouphead/files/pretrained.h"
#include "io/safetensors.h"
#include "ops/loss.h"
#include "testing/compare.h"

namespace grouphead::testing {
namespace {

namespace fs = std::filesystem;

constexpr double kTolerance = 2e-5;
constexpr double kGradientTolerance = 1e-4;
// A gradient that is 0 in exact arithmetic (of a key's bias without rotation: it moves all logits
// of a query alike) is rounding alone in both; four units of f32 of the largest gradient.
constexpr double kZeroGradient = 0x1p-22;
// Two logits that are nearer than this may change places by rounding.
constexpr float kTie = 1e-3F;

std::vector<double> bounds_of(const Tensor& want) {
  std::vector<double> bounds;
  for (Index i = 0; i < want.size(); ++i) {
    bounds.push_back(kTolerance * (1 + std::abs(double{want.data<float>()[i]})));
  }
  return bounds;
}

Tensor as_batch(const Tensor& x) {  // [T] -> [1, T]
  return x.reshaped({1, x.size()});
}

/// Zero where the mask is.
Tensor visible(const Tensor& x, const Tensor& mask) {
  Tensor out = x.clone();
  const Index width = x.shape().back();
  for (Index row = 0; row < mask.size(); ++row) {
    if (!mask.data<bool>()[row]) std::fill_n(out.data<float>() + row * width, width, 0.0F);
  }
  return out;
}

/// Runs the comparisons of one folder.
class Runner {
 public:
  Runner(Context& ctx, const fs::path& folder)
      : ctx_(ctx),
        name_(folder.filename().string()),
        expected_(io::read_safetensors(folder / "expect.safetensors")),
        // The generator runs transformers with eager attention.
        pretrained_(load_pretrained(folder, {.dtype = {}, .eager_alibi = true})) {}

  std::vector<GoldenResult> run() {
    if (has("hidden")) {
      attempt("hidden", [&] { run_encoder(); });
    } else {
      attempt("logits", [&] { run_text(); });
      attempt("batch", [&] { run_batch(); });
      attempt("attention", [&] { run_attention(); });
      attempt("greedy", [&] { run_greedy(); });
    }
    return std::move(results_);
  }

 private:
  bool has(const std::string& tensor) const { return expected_.tensors.contains(tensor); }
  Tensor numbers(const std::string& tensor) const { return cast(expected_.at(tensor), Dtype::i32); }
  Tensor mask(const std::string& tensor) const {
    return cast(expected_.at(tensor), Dtype::boolean);
  }
  const TransformerModel& model() const { return *pretrained_.model; }

  void add(bool passed, const std::string& text) {
    results_.push_back({passed, fmt::format("{} {}", name_, text)});
  }
  void add(const Comparison& result) { add(result.ok(), result.to_string()); }
  void add(const std::string& what, const Tensor& got, const Tensor& want) {
    const std::vector<double> bounds = bounds_of(want);
    add(compare(what, got, want, ConstView(bounds.data(), want.shape())));
  }

  template <class Body>
  void attempt(const std::string& what, const Body& body) {
    try {
      body();
    } catch (const Error& error) {
      add(false, fmt::format("{}: {}", what, error.what()));
    }
  }

  // The worst of all gradients, and those that are missing.
  void add_gradients(const std::map<std::string, ConstView>& gradients) {
    const std::map<std::string, Tensor> got =
        pretrained_tensors(pretrained_, gradients, PretrainedNames::in_memory);
    double largest = 0;
    for (const auto& [tensor, want] : expected_.tensors) {
      if (tensor.starts_with("grad.")) largest = std::max(largest, max_abs(want));
    }
    Comparison worst;
    double worst_share = -1;
    std::size_t found = 0;
    for (const auto& [tensor, want] : expected_.tensors) {
      if (!tensor.starts_with("grad.")) continue;
      ++found;
      const auto own = got.find(tensor.substr(5));
      if (own == got.end()) return add(false, tensor + ": no such parameter");
      const double bound = std::max(kGradientTolerance * max_abs(want), kZeroGradient * largest);
      Comparison one = compare(tensor, own->second, want, bound);
      const double share = one.error / std::max(one.bound, 1e-300);
      if (one.ok() && share <= worst_share) continue;
      worst = std::move(one);
      worst_share = worst.ok() ? share : 1e300;
      if (!worst.ok()) return add(worst);
    }
    if (found != got.size()) {
      return add(false, fmt::format("gradients: expected {}, got {}", found, got.size()));
    }
    add(worst.ok(), fmt::format("{} gradients, worst {}", found, worst.to_string()));
  }

  std::map<std::string, ConstView> gradients_of(Saved& saved, ConstView d_out, Grads& grads) {
    View none[2];
    model().backward(ctx_, saved, std::span(&d_out, 1), none, grads);
    std::map<std::string, ConstView> gradients;
    for (const NamedConstParameter& one : model().parameters()) {
      gradients.emplace(one.path, grads.of(*one.parameter));
    }
    return gradients;
  }

  void run_text() {
    const Tensor tokens = as_batch(numbers("tokens"));
    const Index length = tokens.size();
    const Index vocabulary = model().config().vocab_size;
    std::unique_ptr<Saved> saved;
    const Value input{tokens, {}};
    const Tensor logits = model().forward(ctx_, std::span(&input, 1), {}, &saved).front().tensor;
    const Shape rows{length, vocabulary};
    add("logits", logits.reshaped(rows), expected_.at("logits"));

    const ConstView known = logits.view().reshaped(rows).slice(0, 0, length - 1);
    const ConstView labels = tokens.view().reshaped({length}).slice(0, 1, length);
    Tensor lse({length - 1});
    const double loss = ops::softmax_cross_entropy_forward(ctx_, known, labels, lse);
    add("loss", Tensor::from({}, {static_cast<float>(loss)}), expected_.at("loss"));

    Tensor d_logits = Tensor::zeros({1, length, vocabulary});
    const View d_known = d_logits.view().reshaped(rows).slice(0, 0, length - 1);
    ops::softmax_cross_entropy_backward(ctx_, known, labels, lse,
                                        1 / static_cast<double>(length - 1), d_known);
    Grads grads(ctx_, model().parameters());
    add_gradients(gradients_of(*saved, d_logits, grads));
  }

  void run_batch() {
    const Tensor real = mask("batch.mask");
    const Tensor got =
        model()(ctx_, {.tokens = numbers("batch.tokens"), .mask = real, .token_types = {}});
    add("batch.logits", visible(got, real), visible(expected_.at("batch.logits"), real));
  }

  void run_attention() {
    if (!has("attention.0")) return;
    const Tensor tokens = as_batch(numbers("tokens"));
    const std::vector<Tensor> maps =
        model().attention_scores(ctx_, {.tokens = tokens, .mask = {}, .token_types = {}});
    for (std::size_t i = 0; i < maps.size(); ++i) {
      const std::string tensor = "attention." + std::to_string(i);
      const Tensor& want = expected_.at(tensor);
      add(tensor, maps[i].reshaped(want.shape()), want);
    }
  }

  // The tokens that were expected go on, so that every step is compared.
  void run_greedy() {
    const Tensor prompt = as_batch(numbers("prompt"));
    const Tensor wanted = numbers("greedy");
    const Tensor& logits = expected_.at("greedy.logits");
    KvCache cache = model().make_cache(ctx_, 1, prompt.size() + wanted.size());
    Tensor got(logits.shape());
    Index differing = 0;
    Tensor next = prompt;
    for (Index i = 0; i < wanted.size(); ++i) {
      model().step(ctx_, next, cache, got.view().slice(0, i, i + 1));
      const std::int32_t token = wanted.data<std::int32_t>()[i];
      if (!is_choice(got.view().slice(0, i, i + 1), logits.view().slice(0, i, i + 1), token)) {
        ++differing;
      }
      next = Tensor({1, 1}, Dtype::i32);
      next.data<std::int32_t>()[0] = token;
    }
    add("greedy.logits", got, logits);
    add(differing == 0, fmt::format("greedy: {} of {} tokens differ", differing, wanted.size()));
  }

  /// Whether `token` is the likeliest of `got`, or the expected logits say that it is a tie.
  static bool is_choice(ConstView got, ConstView want, std::int32_t token) {
    const auto* values = got.data<float>();
    const auto best = std::max_element(values, values + got.size()) - values;
    if (best == token) return true;
    std::vector<float> sorted(want.data<float>(), want.data<float>() + want.size());
    std::partial_sort(sorted.begin(), sorted.begin() + 2, sorted.end(), std::greater<>());
    return sorted[0] - sorted[1] <= kTie;
  }

  void run_encoder() {
    const Tensor real = mask("mask");
    const Tensor types = numbers("types");
    const bool has_types = model().config().token_types > 0;
    const Value inputs[] = {{numbers("tokens"), real}, {has_types ? types : Tensor(), {}}};
    std::unique_ptr<Saved> saved;
    const Tensor hidden = model().forward(ctx_, inputs, {}, &saved).front().tensor;
    add("hidden", visible(hidden, real), visible(expected_.at("hidden"), real));
    const Tensor d_hidden = visible(expected_.at("weight"), real);
    Grads grads(ctx_, model().parameters());
    add_gradients(gradients_of(*saved, d_hidden, grads));
  }

  Context& ctx_;
  std::string name_;
  io::Safetensors expected_;
  PretrainedModel pretrained_;
  std::vector<GoldenResult> results_;
};

}  // namespace

bool is_pretrained_case(const fs::path& folder) {
  std::error_code ignored;
  return fs::exists(folder / "config.json", ignored) &&
         fs::exists(folder / "expect.safetensors", ignored);
}

std::vector<GoldenResult> run_pretrained_case(Context& ctx, const fs::path& folder) {
  try {
    return Runner(ctx, folder).run();
  } catch (const Error& error) {
    return {{.passed = false, .line = folder.filename().string() + ": " + error.what()}};
  }
}

}  // namespace grouphead::testing
