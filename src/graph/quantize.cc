#include "grouphead/models/quantize.h"

#include <algorithm>
#include <set>

#include "core/check.h"
#include "grouphead/layers/lora.h"
#include "grouphead/layers/sub_layers.h"
#include "grouphead/models/model.h"
#include "nn/layer_checks.h"
#include "nn/quantization_config.h"
#include "nn/quantization_plan.h"

namespace grouphead {
namespace {

constexpr std::string_view kQuantize = "quantize";

/// A layer that is quantized.
struct Part {
  Layer* layer = nullptr;
  HasQuantization* takes = nullptr;
  bool is_called_inside = false;  // by a TimeDistributed, as if it were not quantized
};

class Walk {
 public:
  explicit Walk(QuantizationMode mode) : mode_(mode) {}

  void add(Layer& layer, bool is_called_inside) {
    if (!visited_.insert(&layer).second) return;
    if (auto* takes = dynamic_cast<HasQuantization*>(&layer)) {
      const bool computes = !is_called_inside || mode_ != QuantizationMode::float8;
      if (computes && takes->takes_quantization(mode_)) {
        parts.push_back({&layer, takes, is_called_inside});
      }
    } else if (const auto* model = dynamic_cast<const Model*>(&layer)) {
      for (const std::shared_ptr<Layer>& inner : model->layers()) add(*inner, false);
    } else if (const auto* composed = dynamic_cast<const HasSubLayers*>(&layer)) {
      const bool is_called = layer.class_name() == "TimeDistributed";
      for (const SubLayer& inner : composed->sub_layers()) add(*inner.layer, is_called);
    }
  }

  std::vector<Part> parts;

 private:
  QuantizationMode mode_;
  std::set<const Layer*> visited_;
};

/// Source: keras.Layer, `_check_quantize_args`.
void require_quantizable(const Part& part, const Quantization& how) {
  const std::string& name = part.layer->name();
  nn::require_built(name, part.layer->is_built());
  const ParameterList parameters = part.layer->parameters();
  const bool is_quantized =
      part.takes->quantization() != nullptr ||
      std::any_of(parameters.begin(), parameters.end(),
                  [](const auto& entry) { return entry.parameter->quantized() != nullptr; });
  if (is_quantized) {
    core::throw_config_error(kQuantize, name, "a layer that is not quantized", "one that is");
  }
  if (how.mode == QuantizationMode::int8 && part.layer->policy().compute() == Dtype::f16) {
    core::throw_config_error(kQuantize, name, "another policy beside int8",
                             part.layer->policy().name());
  }
  const auto* lora = dynamic_cast<const HasLora*>(part.layer);
  if (how.mode == QuantizationMode::float8 && lora != nullptr && lora->low_rank() != nullptr) {
    core::throw_config_error(kQuantize, name, "no LoRA beside float8", "LoRA");
  }
}

}  // namespace

Quantization default_quantization(QuantizationMode mode) {
  constexpr Index kBlock = 128;
  Quantization how{.mode = mode};
  if (mode == QuantizationMode::int8) how.inputs = InputRounding();
  if (mode == QuantizationMode::int4) how.block_size = kBlock;
  return how;
}

std::vector<std::string> quantize(Layer& layer, const Quantization& how) {
  nn::require_quantization(kQuantize, how);
  nn::require_built(layer.name(), layer.is_built());
  Walk walk(how.mode);
  walk.add(layer, false);
  for (const Part& part : walk.parts) require_quantizable(part, how);
  Quantization given = how;
  given.config = nn::quantization_config(how);
  nn::QuantizationPlan plan;
  std::vector<std::string> names;
  for (const Part& part : walk.parts) {
    plan.leave_out_scales(part.is_called_inside);
    part.takes->plan_quantization(given, plan);
    names.push_back(part.layer->name());
  }
  plan.apply();
  return names;
}

std::vector<std::string> quantize(Layer& layer, QuantizationMode mode) {
  return quantize(layer, default_quantization(mode));
}

}  // namespace grouphead
