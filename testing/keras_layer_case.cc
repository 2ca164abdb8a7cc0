// Layers of golden folders in Keras's format: any layer that make_layer() knows.

#include <fmt/format.h>

#include <algorithm>

#include "grouphead/layers/serialization.h"
#include "ops/convert.h"
#include "testing/keras_call.h"
#include "testing/keras_case.h"

namespace grouphead::testing {
namespace {

std::string file_name_of(const ConfigValue& operand) { return operand.as_string("call"); }

double element(const ConstView& x, Index i) {
  return x.dtype() == Dtype::f64 ? x.data<double>()[i] : static_cast<double>(x.data<float>()[i]);
}

Tensor widened(const Tensor& x, Dtype dtype) {
  Tensor numbers(x.shape(), dtype);
  ops::convert_rounded(x, dtype, numbers);
  return numbers;
}

/// A built layer with the weights of the case, and one call of it, forwards and backwards.
class LayerCase {
 public:
  LayerCase(KerasCase& each, bool with_losses)
      : each_(each),
        ctx_(each.ctx()),
        layer_(make_layer(each["layer"].as_string("layer"), each["config"])),
        call_(read_call(*layer_, each["call"])),
        with_losses_(with_losses),
        operands_(operand_values(
            call_, [&each](const ConfigValue& name) { return each.tensor(file_name_of(name)); })) {
    RandomStream random(0);
    layer_->build(shapes_of(operands_), random);
    assign_weights();
    forward();
  }

  void compare_outputs() {
    const std::vector<std::string> names = output_names();
    if (outputs_.size() != names.size()) {
      each_.fail("expect.output",
                 fmt::format("expected {} outputs, got {}", names.size(), outputs_.size()));
      return;
    }
    for (std::size_t i = 0; i < names.size(); ++i) {
      const Tensor& output = outputs_[i].tensor;
      const std::string name = "expect." + names[i];
      each_.compare(name, output);
      if (each_.expects(name) && output.dtype() != each_.tensor(name).dtype()) {
        each_.fail(name, fmt::format("expected {}, got {}", name_of(each_.tensor(name).dtype()),
                                     name_of(output.dtype())));
      }
    }
    compare_mask();
    for (const auto& [path, parameter] : std::as_const(*layer_).parameters()) {
      const std::string name = "expect.update." + path;
      if (each_.expects(name)) each_.compare(name, widened(updated(*parameter), Dtype::f64));
    }
    each_.compare("expect.loss", loss());
  }

  /// Keras's order of the penalties is a detail of its implementation.
  void compare_losses() { each_.compare_sorted("expect.losses", sink_.losses()); }

  void compare_gradients() {
    const std::vector<std::string> names = output_names();
    std::vector<Tensor> cotangents;
    for (const std::string& name : names) {
      cotangents.push_back(widened(each_.tensor("cotangent." + name), layer_->dtype()));
    }
    std::vector<Tensor> gradients;
    for (const Value& value : operands_) {
      const bool has_one = value.tensor.has_value() && ops::is_floating(value.tensor.dtype());
      gradients.push_back(has_one ? Tensor::zeros(value.tensor.shape(), layer_->dtype())
                                  : Tensor());
    }
    const std::vector<ConstView> d_out(cotangents.begin(), cotangents.end());
    std::vector<View> d_in(gradients.begin(), gradients.end());
    const auto parameters = layer_->parameters();
    Grads grads(ctx_, parameters);
    layer_->call_backward(ctx_, *saved_, d_out, d_in, grads);
    if (with_losses_) add_weight_penalties(ctx_, parameters, nullptr, &grads);
    for (const auto& [path, parameter] : parameters) {
      each_.compare("grad." + path, grads.of(*parameter));
    }
    compare_input_gradients(gradients);
  }

 private:
  bool returns_scores() const {
    const ConfigValue& asked = call_.keywords["return_attention_scores"];
    return asked.is_bool() && asked.as_bool("return_attention_scores");
  }
  std::vector<std::string> output_names() const {
    if (const ConfigValue& named = each_["outputs"]; named.is_list()) {
      std::vector<std::string> names;
      for (const ConfigValue& name : named.as_list("outputs")) {
        names.push_back(name.as_string("outputs"));
      }
      return names;
    }
    if (returns_scores()) return {"output", "attention_scores"};
    return {"output"};
  }

  /// The parameter's value after a training step of no gradients.
  Tensor updated(const Parameter& parameter) const {
    const ConstView value = updates_.value(parameter);
    Tensor copied(value.shape(), value.dtype());
    copy(value, copied);
    return copied;
  }

  void assign_weights() {
    const ConfigValue::List& names = each_["weights"].as_list("weights");
    const auto parameters = layer_->parameters();
    std::vector<std::string> got;
    for (const auto& parameter : parameters) got.push_back(parameter.path);
    std::vector<std::string> want;
    for (const ConfigValue& name : names) want.push_back(name.as_string("weights"));
    if (got != want) {
      throw IoError(fmt::format("[golden] weights: expected {}, got {}", fmt::join(want, " "),
                                fmt::join(got, " ")));
    }
    for (const auto& [path, parameter] : parameters) {
      const Tensor& weight = each_.tensor(path);
      if (weight.shape() != parameter->shape() || weight.dtype() != parameter->dtype()) {
        throw IoError(fmt::format("[golden] {}: expected {} {}, got {} {}", path,
                                  name_of(weight.dtype()), weight.shape().to_string(),
                                  name_of(parameter->dtype()), parameter->shape().to_string()));
      }
      copy(weight, parameter->edit());
    }
  }

  void forward() {
    const auto arguments = layer_->arguments_from_config(call_.keywords);
    Mode mode;
    mode.training = call_.training;
    mode.losses = with_losses_ ? &sink_ : nullptr;
    mode.updates = &updates_;
    mode.arguments = arguments.get();
    outputs_ = layer_->call(ctx_, operands_, mode, &saved_);
    if (with_losses_) add_weight_penalties(ctx_, layer_->parameters(), &sink_, nullptr);
  }

  /// `expect.output_mask` is the mask that Keras attaches to the output, [0] where there is none.
  void compare_mask() {
    constexpr const char* kName = "expect.output_mask";
    if (!each_.expects(kName)) return;
    const Tensor& want = each_.tensor(kName);
    const std::optional<Tensor>& got = outputs_[0].mask;
    const bool wants_none = want.shape() == Shape{0};
    if (wants_none == got.has_value()) {
      return each_.fail(kName, wants_none ? "expected none, got one" : "expected one, got none");
    }
    const bool is_equal =
        wants_none ||
        (want.shape() == got->shape() &&
         std::equal(want.data<bool>(), want.data<bool>() + want.size(), got->data<bool>()));
    each_.expect_equal(kName, is_equal);
  }

  double loss() const {
    double sum = 0;
    const std::vector<std::string> names = output_names();
    for (std::size_t i = 0; i < names.size(); ++i) {
      const Tensor output = widened(outputs_[i].tensor, Dtype::f64);
      const Tensor cotangent = widened(each_.tensor("cotangent." + names[i]), Dtype::f64);
      if (output.shape() != cotangent.shape()) throw IoError("[golden] cotangent: another shape");
      for (Index k = 0; k < output.size(); ++k) sum += element(output, k) * element(cotangent, k);
    }
    for (const double penalty : sink_.losses()) sum += penalty;
    return sum;
  }

  /// A tensor that is several operands gets the sum of their gradients.
  void compare_input_gradients(const std::vector<Tensor>& gradients) {
    std::map<std::string, Tensor> sums;
    for (std::size_t i = 0; i < gradients.size(); ++i) {
      if (!gradients[i].has_value()) continue;
      Tensor& sum = sums[file_name_of(call_.operands[i])];
      if (!sum.has_value()) sum = Tensor::zeros(gradients[i].shape(), Dtype::f64);
      double* to = sum.data<double>();
      for (Index k = 0; k < sum.size(); ++k) to[k] += element(gradients[i], k);
    }
    for (const auto& [name, sum] : sums) each_.compare("grad." + name, sum);
  }

  KerasCase& each_;
  Context& ctx_;
  std::shared_ptr<Layer> layer_;
  KerasCall call_;
  bool with_losses_;
  std::vector<Value> operands_;
  LossSink sink_;
  StateUpdates updates_;
  std::unique_ptr<Saved> saved_;
  std::vector<Value> outputs_;
};

}  // namespace

void run_layer_case(KerasCase& each) {
  require_known_fields(each["loss"], "loss", {"add_layer_losses"});
  const bool adds_losses = each["loss"]["add_layer_losses"].as_bool("add_layer_losses");
  LayerCase layer(each, adds_losses);
  layer.compare_outputs();
  layer.compare_gradients();
  if (adds_losses) return layer.compare_losses();
  // The penalties are compared, but the loss that is differentiated lacks them.
  if (each.expects("expect.losses")) LayerCase(each, true).compare_losses();
}

}  // namespace grouphead::testing
