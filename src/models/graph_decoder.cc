// A Decoder of any model that is a graph of layers.

#include <algorithm>
#include <cmath>
#include <string>

#include "core/check.h"
#include "graph/graph.h"
#include "grouphead/core/tensor_functions.h"
#include "grouphead/models/decoder.h"
#include "nn/decoding.h"

namespace grouphead {
namespace {

constexpr std::string_view kDecode = "decode";

/// Which input takes the tokens. Errors: ConfigError for others than it and a padding mask.
std::size_t tokens_input(const Model& model) {
  const std::vector<Symbol>& inputs = model.inputs();
  std::optional<std::size_t> found;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const std::string& name = inputs[i].name();
    if (name == "padding_mask") continue;
    if (found || inputs[i].shape().rank() != 2) {
      core::throw_config_error(kDecode, "inputs of " + model.name(),
                               "tokens [B, T], and a padding_mask or none",
                               name + inputs[i].shape().to_string());
    }
    found = i;
  }
  if (!found) {
    core::throw_config_error(kDecode, "inputs of " + model.name(), "tokens [B, T]", "none");
  }
  return *found;
}

Index checked_vocabulary(const Model& model) {
  const std::vector<Symbol>& outputs = model.outputs();
  const Shape shape = outputs[0].shape();
  if (outputs.size() != 1 || shape.rank() != 3 || shape.back() < 1) {
    core::throw_config_error(
        kDecode, "outputs of " + model.name(), "logits or probabilities [B, T, V]",
        outputs.size() == 1 ? shape.to_string() : std::to_string(outputs.size()) + " outputs");
  }
  return shape.back();
}

/// Whether the outputs are probabilities: the last layer ends in a softmax.
bool ends_in_softmax(const Model& model) {
  const Layer& last = *model.outputs()[0].node()->layer;
  if (const auto* inner = dynamic_cast<const Model*>(&last)) return ends_in_softmax(*inner);
  if (last.class_name() == "Softmax") return true;
  return last.get_config()["activation"] == ConfigValue("softmax");
}

class GraphDecoder final : public Decoder {
 public:
  GraphDecoder(Context& ctx, const Model& model, const DecoderOptions& options)
      : model_(model),
        tokens_input_(tokens_input(model)),
        vocabulary_(checked_vocabulary(model)),
        are_probabilities_(ends_in_softmax(model)) {
    if (options.capacity < 1) {
      core::throw_config_error(kDecode, "capacity", "1 or more", std::to_string(options.capacity));
    }
    state_.capacity = options.capacity;
    state_.cache_dtype = options.cache_dtype;
    // Every layer says now whether it can decode, and the caches are made.
    const std::int32_t first = 1;
    Tensor logits({vocabulary_}, dtype());
    read(ctx, ConstView(&first, {1}), logits);
    truncate(0);
  }

  Index vocab_size() const override { return vocabulary_; }
  Dtype dtype() const override {
    return model_.outputs()[0].dtype() == Dtype::f64 ? Dtype::f64 : Dtype::f32;
  }
  Index length() const override { return length_; }
  Index capacity() const override { return state_.capacity; }
  void reserve(Context& ctx, Index capacity) override {
    for (KvCache& cache : state_.caches) cache.reserve(ctx, capacity);
    state_.capacity = std::max(capacity, state_.capacity);
  }
  void truncate(Index length) override {
    if (length < 0 || length > length_) {
      core::throw_shape_error(kDecode, "length", "at most " + std::to_string(length_),
                              std::to_string(length));
    }
    for (KvCache& cache : state_.caches) cache.truncate(length);
    length_ = length;
  }
  std::unique_ptr<Decoder> fork(Context& ctx) const override {
    auto other = std::make_unique<GraphDecoder>(
        ctx, model_,
        DecoderOptions{.capacity = state_.capacity, .cache_dtype = state_.cache_dtype});
    for (std::size_t i = 0; i < state_.caches.size(); ++i) {
      other->state_.caches[i].fork(state_.caches[i], 0, 0);
    }
    other->length_ = length_;
    return other;
  }

  void read(Context& ctx, ConstView tokens, View logits) override {
    core::require_dense(kDecode, "tokens", tokens, {-1}, Dtype::i32);
    const Index count = tokens.dim(0);
    const bool is_last = logits.shape().rank() == 1;
    if (is_last) {
      core::require_dense(kDecode, "logits", logits, {vocabulary_}, dtype());
    } else {
      core::require_dense(kDecode, "logits", logits, {count, vocabulary_}, dtype());
    }
    if (count < 1 || length_ + count > state_.capacity) {
      core::throw_shape_error(
          kDecode, "tokens",
          "1 to " + std::to_string(state_.capacity - length_) + ", for which there is room",
          std::to_string(count));
    }
    const Tensor made = run(ctx, tokens);
    const Index first = is_last ? count - 1 : 0;
    copy(made.view().slice(1, first, count).reshaped(logits.shape()), logits);
    if (are_probabilities_) make_logits(logits);
    for (KvCache& cache : state_.caches) cache.advance(count);
    length_ += count;
  }

 private:
  /// [1, T, V] of the new tokens, in dtype().
  Tensor run(Context& ctx, ConstView tokens) {
    const Shape shape{1, tokens.dim(0)};
    std::vector<Value> in(model_.inputs().size());
    for (std::size_t i = 0; i < in.size(); ++i) {
      const Dtype wanted = model_.inputs()[i].dtype();
      if (i == tokens_input_) {
        in[i].tensor = cast(tokens.reshaped(shape), wanted);
      } else {
        in[i].tensor =
            cast(Tensor::from<float>(shape,
                                     std::vector<float>(static_cast<std::size_t>(shape.size()), 1)),
                 wanted);
      }
    }
    state_.next = 0;
    const Mode mode{.first_position = length_, .decoding = &state_};
    const Tensor made = model_.run(ctx, in, mode, false, nullptr).front().tensor;
    return made.dtype() == dtype() ? made : cast(made, dtype());
  }

  static void make_logits(View probabilities) {
    const auto each = [&](auto* numbers) {
      for (Index i = 0; i < probabilities.size(); ++i) {
        using Number = std::remove_pointer_t<decltype(numbers)>;
        numbers[i] = std::log(std::max(numbers[i], std::numeric_limits<Number>::min()));
      }
    };
    if (probabilities.dtype() == Dtype::f64) {
      each(probabilities.data<double>());
    } else {
      each(probabilities.data<float>());
    }
  }

  const Model& model_;
  std::size_t tokens_input_;
  Index vocabulary_;
  bool are_probabilities_;
  nn::DecodingState state_;
  Index length_ = 0;
};

}  // namespace

std::unique_ptr<Decoder> make_decoder(Context& ctx, const Model& model,
                                      const DecoderOptions& options) {
  return std::make_unique<GraphDecoder>(ctx, model, options);
}

}  // namespace grouphead
