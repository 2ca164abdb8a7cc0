#include <unordered_set>
#include <vector>

#include "core/check.h"
#include "graph/run.h"
#include "graph/run_saved.h"
#include "nn/error_path.h"
#include "nn/layer_checks.h"
#include "nn/whole_gradients.h"
#include "ops/arithmetic.h"
#include "ops/convert.h"

namespace grouphead::graph {
namespace {

// The sum of the gradients that come back to one tensor. A single one that nobody adds to is not
// copied.
struct GradientSum {
  ConstView borrowed{};
  Tensor own{};
  View target{};  // of an input: what the caller gave

  bool has_value() const noexcept {
    return borrowed.has_value() || own.has_value() || target.has_value();
  }
};

class BackwardRun {
 public:
  BackwardRun(Context& ctx, const Graph& graph, GraphSaved& saved, Grads& grads)
      : ctx_(ctx), graph_(graph), saved_(saved), grads_(grads) {
    const auto num_places = static_cast<std::size_t>(graph.num_places());
    sums_.resize(num_places);
    dtypes_.resize(num_places, Dtype::f32);
    is_wanted_.resize(num_places, false);
  }

  /// `d_in` of the inputs: those that are present are wanted.
  void find_wanted(std::span<View> d_in) {
    for (std::size_t i = 0; i < d_in.size(); ++i) {
      if (!d_in[i].has_value()) continue;
      is_wanted_[i] = saved_.tensors[i].is_floating;
      sums_[i].target = d_in[i].reshaped(saved_.tensors[i].shape);
      dtypes_[i] = d_in[i].dtype();
    }
    for (const Step& step : graph_.steps()) {
      const bool is_wanted = wants_backward(step);
      for (std::size_t i = 0; i < step.num_outputs(); ++i) {
        const std::size_t place = static_cast<std::size_t>(step.first_output) + i;
        dtypes_[place] = step.layer().dtype();
        is_wanted_[place] = is_wanted && saved_.tensors[place].is_floating;
      }
    }
  }

  void receive(std::string_view model, std::span<const ConstView> d_out) {
    for (std::size_t i = 0; i < d_out.size(); ++i) {
      const Place place = graph_.output_places()[i];
      if (!d_out[i].has_value() || !is_wanted(place)) continue;
      const Shape& shape = saved_.tensors[static_cast<std::size_t>(place)].shape;
      if (d_out[i].shape() != shape) {
        core::throw_shape_error(model, "d_out", shape.to_string(), d_out[i].shape().to_string());
      }
      add(place, d_out[i]);
    }
  }

  void take(const Step& step, SavedCall& call) {
    std::vector<ConstView> d_out(step.num_outputs());
    bool has_any = call.adds_losses;
    for (std::size_t i = 0; i < d_out.size(); ++i) {
      d_out[i] = value(step.first_output + static_cast<Place>(i));
      has_any = has_any || d_out[i].has_value();
    }
    if (has_any && wants_backward(step)) run(step, *call.saved, d_out);
    call.saved.reset();
    for (std::size_t i = 0; i < d_out.size(); ++i) {
      sum(step.first_output + static_cast<Place>(i)) = {};
    }
  }

 private:
  GradientSum& sum(Place place) { return sums_[static_cast<std::size_t>(place)]; }
  Dtype dtype(Place place) const { return dtypes_[static_cast<std::size_t>(place)]; }
  bool is_wanted(Place place) const {
    return place != kNoPlace && is_wanted_[static_cast<std::size_t>(place)];
  }

  bool wants_backward(const Step& step) {
    for (const Parameter* parameter : step.parameters) {
      if (grads_.of(*parameter).has_value()) return true;
    }
    for (const Place place : step.operands) {
      if (is_wanted(place)) return true;
    }
    return false;
  }

  ConstView value(Place place) {
    const GradientSum& found = sum(place);
    return found.own.has_value() ? found.own.view() : found.borrowed;
  }

  // Where one may add to the tensor's gradient.
  View writable(Place place) {
    GradientSum& found = sum(place);
    if (found.target.has_value()) return found.target;
    if (!found.own.has_value()) {
      const Shape& shape = saved_.tensors[static_cast<std::size_t>(place)].shape;
      found.own = ctx_.zeros(shape, dtype(place));
      if (found.borrowed.has_value()) copy(found.borrowed, found.own);
    }
    return found.own;
  }

  void add(Place place, ConstView gradient) {
    Tensor converted;
    if (gradient.dtype() != dtype(place)) {
      converted = ctx_.tensor(gradient.shape(), dtype(place));
      ops::convert_rounded(gradient, dtype(place), converted);
      gradient = std::as_const(converted).view();
    }
    if (!sum(place).has_value()) {
      sum(place).borrowed = gradient;
      sum(place).own = converted;  // absent where the gradient is the caller's
      return;
    }
    const View target = writable(place);
    ops::add(ctx_, target, gradient, target);
  }

  // A layer adds to each operand's gradient on its own. So an operand given twice, or one of
  // another type than the layer's, gets a tensor of its own first.
  void run(const Step& step, Saved& saved, std::span<const ConstView> d_out) {
    const Layer& layer = step.layer();
    std::vector<View> d_in(step.operands.size());
    std::vector<Tensor> apart(step.operands.size());
    for (std::size_t i = 0; i < d_in.size(); ++i) {
      const Place place = step.operands[i];
      if (!is_wanted(place)) continue;
      const auto end = step.operands.begin() + static_cast<std::ptrdiff_t>(i);
      const bool is_repeated = std::find(step.operands.begin(), end, place) != end;
      if (!is_repeated && dtype(place) == layer.dtype()) {
        d_in[i] = writable(place);
      } else {
        apart[i] = ctx_.zeros(saved_.tensors[static_cast<std::size_t>(place)].shape, layer.dtype());
        d_in[i] = apart[i];
      }
    }
    nn::in_layer(layer.name(), [&] {
      if (step.model != nullptr) {
        step.model->backward(ctx_, saved, d_out, d_in, grads_);
      } else {
        layer.call_backward(ctx_, saved, d_out, d_in, grads_);
      }
    });
    for (std::size_t i = 0; i < apart.size(); ++i) {
      if (apart[i].has_value()) add(step.operands[i], std::as_const(apart[i]).view());
    }
  }

  Context& ctx_;
  const Graph& graph_;
  GraphSaved& saved_;
  Grads& grads_;
  std::vector<GradientSum> sums_;  // at the tensors' places
  std::vector<Dtype> dtypes_;      // of these sums: the arithmetic type of the layer before
  std::vector<bool> is_wanted_;
};

/// For each step the parameters that no earlier step has: after it, on the way back, their
/// gradients are whole.
std::vector<std::vector<const Parameter*>> first_uses(const Graph& graph) {
  std::vector<std::vector<const Parameter*>> uses(graph.steps().size());
  std::unordered_set<const Parameter*> seen;
  for (std::size_t i = 0; i < graph.steps().size(); ++i) {
    for (const auto& named : graph.steps()[i].layer().parameters()) {
      if (seen.insert(named.parameter).second) uses[i].push_back(named.parameter);
    }
  }
  return uses;
}

}  // namespace

void run_backward(Context& ctx, std::string_view model, const Graph& graph, Saved& saved,
                  std::span<const ConstView> d_out, std::span<View> d_in, Grads& grads) {
  auto& kept = nn::saved_as<GraphSaved>(model, saved);
  nn::require_count(model, "number of output gradients", d_out.size(), 1, graph.outputs().size());
  nn::require_count(model, "number of input gradients", d_in.size(), 0, graph.inputs().size());
  BackwardRun run(ctx, graph, kept, grads);
  run.find_wanted(d_in);
  run.receive(model, d_out);
  const auto* const listener = nn::whole_gradients_listener();
  const nn::WholeGradientsScope none_inside(nullptr);
  const std::vector<std::vector<const Parameter*>> whole_after =
      listener != nullptr ? first_uses(graph) : std::vector<std::vector<const Parameter*>>();
  for (std::size_t i = graph.steps().size(); i-- > 0;) {
    run.take(graph.steps()[i], kept.calls[i]);
    if (listener == nullptr) continue;
    for (const Parameter* parameter : whole_after[i]) (*listener)(*parameter);
  }
}

}  // namespace grouphead::graph
