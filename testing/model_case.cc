#include <algorithm>

#include "grouphead/models/models.h"
#include "grouphead/train/fit.h"
#include "testing/cases.h"
#include "testing/inputs.h"
#include "testing/reference_layer.h"

namespace grouphead::testing {
namespace {

constexpr int kCheckedSteps = 3;
constexpr double kLearningRate = 1e-3;

LanguageModelConfig model_config(const Problem& p, Dtype dtype) {
  LanguageModelConfig config;
  config.vocab_size = p.V;
  config.transformer = {.hidden_size = p.M,
                        .num_heads = p.Hq,
                        .num_key_value_heads = p.Hkv,
                        .num_layers = p.L,
                        .feed_forward = p.F,
                        .rope = RopeConfig{},
                        .dtype = dtype};
  config.seed = static_cast<std::uint64_t>(p.seed);
  return config;
}

/// Additions on a path through the model, forward: what rounding may add up along it.
double path_length(const Problem& p, Index positions) {
  const Index block = 2 * p.M + p.F + p.M / p.Hq + positions;
  return static_cast<double>(p.L * block + p.M);
}

std::map<std::string, Tensor> parameters_of(Context& ctx, const Layer& model) {
  std::map<std::string, Tensor> tensors;
  for (const auto& each : model.parameters()) {
    tensors[each.path] = convert(ctx, each.parameter->value(), each.parameter->dtype());
  }
  return tensors;
}

/// A model with its optimizer, in one element type.
struct Trained {
  Trained(const Problem& p, Dtype dtype)
      : model(model_config(p, dtype)),
        compiled(
            model,
            {.optimizer = std::make_shared<AdamW>(AdamWConfig{.learning_rate = kLearningRate,
                                                              .weight_decay = 0.1,
                                                              .options = {.global_clipnorm = 1.0}}),
             .loss = {sparse_categorical_crossentropy({.from_logits = true})}}) {}

  double step(Context& ctx, const Tensor& tokens, const Tensor& labels) {
    return compiled.train_on_batch(ctx, {.x = {tokens}, .y = {labels}});
  }
  View gradient(const Parameter& parameter) { return compiled.gradients().of(parameter); }

  LanguageModel model;
  CompiledModel compiled;
};

class TrainingCase final : public Case {
 public:
  TrainingCase(Context& ctx, const Problem& p) : ctx_(ctx), p_(p), trained_(p, p.dtype) {
    for (Index i = 0; i < kCheckedSteps; ++i) {
      tokens_.push_back(random_tokens(ctx, {p.B, p.T}, p.V, p.seed + 2 * i));
      labels_.push_back(random_tokens(ctx, {p.B, p.T}, p.V, p.seed + 2 * i + 1));
    }
  }

  void run() override {
    trained_.step(ctx_, tokens_[next_], labels_[next_]);
    next_ = (next_ + 1) % tokens_.size();
  }

  /// Gradients of the first step, and the loss of each: Adam divides a gradient by its own size, so
  /// parameters whose gradient is nothing but rounding may step either way.
  std::vector<Comparison> check() override {
    Trained oracle(p_, Dtype::f64);
    copy_parameters(ctx_, trained_.model, oracle.model);
    std::vector<Comparison> results;
    std::vector<double> got;
    std::vector<double> want;
    double gradient_bound = 0;
    for (std::size_t i = 0; i < tokens_.size(); ++i) {
      got.push_back(trained_.step(ctx_, tokens_[i], labels_[i]));
      want.push_back(oracle.step(ctx_, tokens_[i], labels_[i]));
      if (i == 0) gradient_bound = compare_gradients(oracle, results);
    }
    // A parameter that stepped the other way is 2 lr off; the loss follows by its gradient at most.
    const double loss_bound = path_bound(p_.dtype, path_length(p_, p_.T), want[0]);
    const double drift = 2 * kLearningRate * gradient_bound *
                         static_cast<double>(count_elements(trained_.model.parameters()));
    std::vector<double> bounds;
    for (int i = 0; i < kCheckedSteps; ++i) bounds.push_back(loss_bound + i * drift);
    const Shape steps{kCheckedSteps};
    results.push_back(compare("loss", ConstView(got.data(), steps), ConstView(want.data(), steps),
                              ConstView(bounds.data(), steps)));
    return results;
  }

  /// The model before a step, what it learns from, and the loss.
  std::map<std::string, Tensor> record() override {
    std::map<std::string, Tensor> tensors = parameters_of(ctx_, trained_.model);
    tensors["tokens"] = tokens_[next_];
    tensors["labels"] = labels_[next_];
    tensors["loss"] = Tensor::zeros({1}, Dtype::f64);
    tensors["loss"].data<double>()[0] = trained_.step(ctx_, tokens_[next_], labels_[next_]);
    next_ = (next_ + 1) % tokens_.size();
    return tensors;
  }

  /// Parameters, gradients and both moments.
  double bytes() const override {
    return 4 * static_cast<double>(count_elements(trained_.model.parameters()) * size_of(p_.dtype));
  }

 private:
  /// Returns the bound.
  double compare_gradients(Trained& oracle, std::vector<Comparison>& results) {
    const auto wanted = oracle.model.parameters();
    const auto computed = trained_.model.parameters();
    double largest = 0;
    for (const auto& each : wanted) {
      largest = std::max(largest, max_abs(oracle.gradient(*each.parameter)));
    }
    const double length = 3 * path_length(p_, p_.T) + static_cast<double>(p_.B * p_.T);
    const double bound = path_bound(p_.dtype, length, largest);
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      results.push_back(compare("d " + wanted[i].path, trained_.gradient(*computed[i].parameter),
                                oracle.gradient(*wanted[i].parameter), bound));
    }
    return bound;
  }

  Context& ctx_;
  Problem p_;
  Trained trained_;
  std::vector<Tensor> tokens_;
  std::vector<Tensor> labels_;
  std::size_t next_ = 0;
};

/// A prompt of S positions, then T tokens one by one through the cache.
class GenerationCase final : public Case {
 public:
  GenerationCase(Context& ctx, const Problem& p)
      : ctx_(ctx),
        p_(p),
        model_(model_config(p, p.dtype)),
        cache_(model_.make_cache(ctx, p.B, p.S + p.T)),
        tokens_(random_tokens(ctx, {p.B, p.S + p.T}, p.V, p.seed)),
        token_(ctx.tensor({p.B, 1}, Dtype::i32)),
        logits_(ctx.tensor({p.B, p.V}, p.dtype)) {
    if (p.weights && p.weights != p.dtype) pack_weights(model_.parameters(), *p.weights);
    fill_cache();
  }

  /// Each token is the likeliest after the one before.
  void run() override {
    cache_.truncate(p_.S);
    for (Index t = 0; t < p_.T; ++t) {
      take_likeliest();
      model_.step(ctx_, token_, cache_, logits_);
    }
  }

  std::vector<Comparison> check() override {
    LanguageModel oracle(model_config(p_, Dtype::f64));
    copy_parameters(ctx_, model_, oracle);
    if (p_.weights) round_kernels(oracle, *p_.weights);
    const Value in{tokens_, {}};
    const std::vector<Value> full = oracle.forward(ctx_, std::span(&in, 1), {}, nullptr);
    const Tensor want = full[0].tensor;
    const double bound = path_bound(p_.dtype, path_length(p_, p_.S + p_.T), max_abs(want));
    fill_cache();
    std::vector<Comparison> results{compare_logits(want, p_.S - 1, bound)};
    for (Index at = p_.S; at < p_.S + p_.T; ++at) {
      copy(tokens_.view().slice(1, at, at + 1), token_);
      model_.step(ctx_, token_, cache_, logits_);
      results.push_back(compare_logits(want, at, bound));
    }
    return results;
  }

  /// The model, its prompt, and what it answers: the last token's logits come last.
  std::map<std::string, Tensor> record() override {
    std::map<std::string, Tensor> tensors = parameters_of(ctx_, model_);
    tensors["prompt"] = ctx_.tensor({p_.B, p_.S}, Dtype::i32);
    copy(tokens_.view().slice(1, 0, p_.S), tensors["prompt"]);
    fill_cache();
    run();
    tensors["logits"] = logits_;
    return tensors;
  }

  /// The model reads its parameters once for each token.
  double bytes() const override {
    double sum = 0;
    for (const auto& each : model_.parameters()) {
      const Index size = each.parameter->shape().size();
      const Index columns = kernel_columns(each.path, *each.parameter);
      sum += each.parameter->name() == "kernel" ? weight_bytes(p_, size / columns, columns)
                                                : static_cast<double>(size * size_of(p_.dtype));
    }
    return static_cast<double>(p_.T) * sum;
  }

 private:
  void fill_cache() {
    cache_.truncate(0);
    Tensor prompt = ctx_.tensor({p_.B, p_.S}, Dtype::i32);
    copy(tokens_.view().slice(1, 0, p_.S), prompt);
    model_.step(ctx_, prompt, cache_, logits_);
  }

  void take_likeliest() {
    p_.dtype == Dtype::f64 ? take_likeliest_of<double>() : take_likeliest_of<float>();
  }

  template <class F>
  void take_likeliest_of() {
    for (Index b = 0; b < p_.B; ++b) {
      const F* row = logits_.data<F>() + b * p_.V;
      token_.data<std::int32_t>()[b] =
          static_cast<std::int32_t>(std::max_element(row, row + p_.V) - row);
    }
  }

  Comparison compare_logits(const Tensor& want, Index position, double bound) {
    Tensor row = ctx_.tensor({p_.B, 1, p_.V}, Dtype::f64);
    copy(want.view().slice(1, position, position + 1), row);
    return compare("logits at position " + std::to_string(position),
                   logits_.view().reshaped({p_.B, 1, p_.V}), row, bound);
  }

  Context& ctx_;
  Problem p_;
  LanguageModel model_;
  KvCache cache_;
  Tensor tokens_;
  Tensor token_;
  Tensor logits_;
};

}  // namespace

std::unique_ptr<Case> make_training_case(Context& ctx, const Problem& problem) {
  return std::make_unique<TrainingCase>(ctx, problem);
}

std::unique_ptr<Case> make_generation_case(Context& ctx, const Problem& problem) {
  return std::make_unique<GenerationCase>(ctx, problem);
}

}  // namespace grouphead::testing
