#include "core/check.h"
#include "graph/composite.h"
#include "graph/input_layer.h"
#include "graph/run.h"
#include "graph/run_saved.h"
#include "nn/error_path.h"
#include "nn/layer_checks.h"
#include "ops/convert.h"

namespace grouphead::graph {
namespace {

bool fits(const Shape& got, const InputLayer& layer, bool is_decoding) noexcept {
  const Shape& expected = layer.shape();
  if (got.rank() != expected.rank()) return false;
  if (layer.is_example()) return true;
  for (int axis = 0; axis < got.rank(); ++axis) {
    if (axis == 1 && is_decoding) continue;  // a part of the positions
    if (expected[axis] != -1 && expected[axis] != got[axis]) return false;
  }
  return true;
}

// Keras adds or drops a last axis of size 1 where that makes the rank fit.
Tensor with_expected_rank(const Tensor& tensor, const Shape& expected) {
  const Shape& got = tensor.shape();
  std::vector<Index> dims(got.begin(), got.end());
  if (got.rank() == expected.rank() + 1 && got.back() == 1) {
    dims.pop_back();
  } else if (got.rank() + 1 == expected.rank() && expected.back() == 1) {
    dims.push_back(1);
  } else {
    return tensor;
  }
  return tensor.reshaped(Shape(dims));
}

// Texts without their axis of 1.
Tensor with_text_axis(const Tensor& tensor, const Shape& expected) {
  const bool lacks_one = tensor.rank() == 2 && expected.rank() == 3 && expected[1] == 1;
  return lacks_one ? tensor.reshaped({tensor.dim(0), 1, tensor.dim(1)}) : tensor;
}

Value received(std::string_view model, const Symbol& input, const Value& given, bool is_decoding) {
  const auto& layer = *input_layer_of(input);
  if (!given.tensor.has_value()) {
    if (!layer.is_optional()) core::throw_shape_error(model, input.name(), "a tensor", "nothing");
    return given;
  }
  Value value = given;
  value.tensor = layer.is_text() ? with_text_axis(given.tensor, layer.shape())
                                 : with_expected_rank(given.tensor, layer.shape());
  if (!fits(value.tensor.shape(), layer, is_decoding)) {
    core::throw_shape_error(model, input.name(), layer.shape().to_string(),
                            given.tensor.shape().to_string());
  }
  if (ops::is_floating(value.tensor.dtype()) != ops::is_floating(layer.input_dtype())) {
    core::throw_shape_error(model, input.name(), name_of(layer.input_dtype()),
                            name_of(value.tensor.dtype()));
  }
  return value;
}

// Of how many of its first operands a layer's call takes the masks off.
std::size_t masks_taken_by(const Layer& layer) {
  if (layer.class_name() == "MultiHeadAttention") return 3;
  const auto* composite = dynamic_cast<const Composite*>(&layer);
  return composite != nullptr && composite->takes_first_mask() ? 1 : 0;
}

class ForwardRun {
 public:
  ForwardRun(Context& ctx, const Graph& graph, const RunMode& mode, GraphSaved* keep)
      : ctx_(ctx), graph_(graph), mode_(mode), keep_(keep) {
    values_.resize(static_cast<std::size_t>(graph.num_places()));
    for (const GraphConstant& constant : graph.constants()) {
      at(constant.place).tensor = constant.tensor;
    }
  }

  void receive(std::string_view model, std::span<const Value> in) {
    for (std::size_t i = 0; i < graph_.inputs().size(); ++i) {
      const Value given = i < in.size() ? in[i] : Value{};
      set(static_cast<Place>(i),
          received(model, graph_.inputs()[i], given, mode_.mode.decoding != nullptr));
      inputs_.push_back(identity(at(static_cast<Place>(i)).tensor));
    }
    taken_.resize(inputs_.size());
  }

  void take(const Step& step, std::size_t index) {
    std::vector<Value> operands;
    for (const Place place : step.operands) {
      operands.push_back(place == kNoPlace ? Value{} : at(place));
    }
    for (std::size_t i = 0; i < step.masks.size() && i < operands.size(); ++i) {
      if (step.masks[i] != kNoPlace) operands[i].mask = at(step.masks[i]).tensor;
    }
    std::vector<bool> taken_inside;
    std::vector<Value> made =
        call(step, operands, keep_ ? &keep_->calls[index] : nullptr, taken_inside);
    if (!mode_.keeps_masks) take_masks(step, taken_inside);
    nn::require_count(step.layer().name(), "number of outputs", made.size(), step.num_outputs(),
                      step.num_outputs());
    for (std::size_t i = 0; i < made.size(); ++i) {
      set(step.first_output + static_cast<Place>(i), std::move(made[i]));
    }
    for (const Place place : step.last_uses) at(place) = Value{};
  }

  /// Whose masks were taken off, for each input.
  std::vector<bool> taken() { return std::move(taken_); }

  std::vector<Value> results() {
    std::vector<Value> out;
    for (const Place place : graph_.output_places()) out.push_back(at(place));
    return out;
  }

 private:
  Value& at(Place place) { return values_[static_cast<std::size_t>(place)]; }

  /// What makes two places one tensor: layers may hand on what they were given.
  struct Identity {
    const void* data = nullptr;
    Shape shape{};
    bool operator==(const Identity&) const = default;
  };
  static Identity identity(const Tensor& tensor) {
    if (!tensor.has_value()) return {};
    return {tensor.view().raw(), tensor.shape()};
  }

  // Source: keras.layers.MultiHeadAttention.call, which takes the masks off query, value and key,
  // but for those that were cast for it. Whatever reads these tensors later sees none.
  void take_masks(const Step& step, const std::vector<bool>& taken_inside) {
    const std::size_t num_taken = masks_taken_by(step.layer());
    for (std::size_t i = 0; i < step.operands.size(); ++i) {
      const Place place = step.operands[i];
      if (place == kNoPlace || !at(place).tensor.has_value()) continue;
      const Dtype dtype = at(place).tensor.dtype();
      const bool is_cast = ops::is_floating(dtype) && dtype != step.layer().policy().compute();
      const bool is_inside = i < taken_inside.size() && taken_inside[i];
      if (is_inside || (i < num_taken && !is_cast)) take_mask(place);
    }
  }

  void take_mask(Place place) {
    const Identity same = identity(at(place).tensor);
    for (Value& value : values_) {
      if (value.mask && identity(value.tensor) == same) value.mask.reset();
    }
    for (std::size_t i = 0; i < inputs_.size(); ++i) {
      if (inputs_[i] == same) taken_[i] = true;
    }
  }

  void set(Place place, Value value) {
    if (keep_ != nullptr && value.tensor.has_value()) {
      keep_->tensors[static_cast<std::size_t>(place)] = {value.tensor.shape(),
                                                         ops::is_floating(value.tensor.dtype())};
    }
    at(place) = std::move(value);
  }

  std::vector<Value> call(const Step& step, std::span<const Value> operands, SavedCall* keep,
                          std::vector<bool>& taken) {
    Mode mode = mode_.mode;
    mode.arguments = step.node->arguments.get();
    const std::optional<bool> training = mode_.training ? mode_.training : step.node->training;
    mode.training = training.value_or(false);
    std::unique_ptr<Saved>* saved = keep != nullptr ? &keep->saved : nullptr;
    const std::size_t losses_before = num_losses();
    std::vector<Value> made = nn::in_layer(step.layer().name(), [&] {
      if (step.model == nullptr) return step.layer().call(ctx_, operands, mode, saved);
      return run_forward(ctx_, step.model->name(), graph_of(*step.model), operands,
                         {.mode = mode,
                          .training = training,
                          .observer = mode_.observer,
                          .keeps_masks = mode_.keeps_masks},
                         saved, &taken);
    });
    if (mode_.observer != nullptr) (*mode_.observer)(step, operands, made);
    if (keep != nullptr) keep->adds_losses = num_losses() > losses_before;
    return made;
  }

  std::size_t num_losses() const {
    return mode_.mode.losses != nullptr ? mode_.mode.losses->losses().size() : 0;
  }

  Context& ctx_;
  const Graph& graph_;
  const RunMode& mode_;
  GraphSaved* keep_;
  std::vector<Value> values_;
  std::vector<Identity> inputs_;
  std::vector<bool> taken_;
};

}  // namespace

std::vector<Value> run_forward(Context& ctx, std::string_view model, const Graph& graph,
                               std::span<const Value> in, const RunMode& mode,
                               std::unique_ptr<Saved>* saved, std::vector<bool>* taken) {
  nn::require_count(model, "number of inputs", in.size(), 0, graph.inputs().size());
  std::unique_ptr<GraphSaved> keep;
  if (saved != nullptr) {
    keep = std::make_unique<GraphSaved>();
    keep->calls.resize(graph.steps().size());
    keep->tensors.resize(static_cast<std::size_t>(graph.num_places()));
  }
  ForwardRun run(ctx, graph, mode, keep.get());
  run.receive(model, in);
  for (std::size_t i = 0; i < graph.steps().size(); ++i) run.take(graph.steps()[i], i);
  if (saved != nullptr) *saved = std::move(keep);
  if (taken != nullptr) *taken = run.taken();
  return run.results();
}

}  // namespace grouphead::graph
