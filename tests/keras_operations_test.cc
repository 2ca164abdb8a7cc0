// The operations between layers against Keras's own numbers: results, types, shapes, gradients.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "grouphead/files/model_json.h"
#include "grouphead/layers/serialization.h"
#include "io/file.h"
#include "io/json.h"
#include "io/safetensors.h"
#include "ops/strided.h"
#include "support.h"

namespace grouphead {
namespace {

using testing_support::same_bits;

const std::string kFolder = GROUPHEAD_SOURCE_DIR "/tests/golden/keras_operations/";

const ConfigValue& all_cases() {
  static const ConfigValue document =
      io::parse_json(io::read_file(kFolder + "cases.json"), "cases");
  return document["cases"];
}

const io::Safetensors& all_tensors() {
  static const io::Safetensors file = io::read_safetensors(kFolder + "tensors.safetensors");
  return file;
}

Tensor as_doubles(Context& ctx, const Tensor& x) {
  Tensor wide(x.shape(), Dtype::f64);
  ops::cast(ctx, x, wide);
  return wide;
}

/// One stored case: the call as Keras's file has it, and its tensors.
class OperationCase {
 public:
  explicit OperationCase(const ConfigValue& fields)
      : fields_(fields),
        prefix_(fields["name"].as_string("name") + "/"),
        layer_(make_operation(fields["module"].as_string("module"),
                              fields["class_name"].as_string("class_name"), fields["config"])) {
    ConfigValue keywords = fields["kwargs"];
    ConfigValue::List literals;
    for (const ConfigValue& argument : fields["args"].as_list("args")) {
      read_argument(argument, literals);
    }
    keywords.set("args", literals);
    arguments_ = layer_->arguments_from_config(keywords);
  }

  void check(Context& ctx) {
    SCOPED_TRACE(fields_["name"].as_string("name"));
    const Tensor& want = tensor("expect.output");
    std::vector<Shape> shapes;
    std::vector<Dtype> types;
    for (const Value& value : operands_) {
      shapes.push_back(value.tensor.has_value() ? value.tensor.shape() : Shape());
      types.push_back(value.tensor.has_value() ? value.tensor.dtype() : Dtype::f32);
    }
    EXPECT_EQ(layer_->output_shapes(shapes, arguments_.get()).at(0), want.shape());
    EXPECT_EQ(layer_->output_dtype(types, arguments_.get()), want.dtype());
    std::unique_ptr<Saved> saved;
    const Mode mode{.arguments = arguments_.get()};
    const std::vector<Value> got = layer_->call(ctx, operands_, mode, &saved);
    ASSERT_EQ(got.size(), 1U);
    EXPECT_EQ(name_of(got[0].tensor.dtype()), name_of(want.dtype()));
    ASSERT_EQ(got[0].tensor.shape(), want.shape());
    EXPECT_FALSE(got[0].mask.has_value());
    compare(ctx, "expect.output", got[0].tensor);
    check_gradients(ctx, *saved);
  }

 private:
  bool has(const std::string& name) const { return all_tensors().tensors.contains(prefix_ + name); }
  const Tensor& tensor(const std::string& name) const { return all_tensors().at(prefix_ + name); }

  void read_argument(const ConfigValue& argument, ConfigValue::List& literals) {
    if (argument.is_object() && argument.contains("tensor")) {
      names_.push_back(argument["tensor"].as_string("tensor"));
      operands_.push_back({tensor(names_.back()), {}});
      literals.emplace_back();
    } else if (argument.is_list() && !argument.as_list("args").empty() &&
               argument.as_list("args")[0].is_object() &&
               argument.as_list("args")[0].contains("tensor")) {
      for (const ConfigValue& entry : argument.as_list("args")) read_argument(entry, literals);
    } else {
      names_.emplace_back();
      operands_.emplace_back();
      literals.push_back(argument);
    }
  }

  void check_gradients(Context& ctx, Saved& saved) {
    std::vector<Tensor> gradients(operands_.size());
    std::vector<View> d_in(operands_.size());
    for (std::size_t i = 0; i < operands_.size(); ++i) {
      if (!has("grad." + names_[i])) continue;
      gradients[i] = Tensor::zeros(operands_[i].tensor.shape());
      d_in[i] = gradients[i];
    }
    Grads grads(ctx, {});
    const bool has_cotangent = has("cotangent.output");
    const ConstView d_out = has_cotangent ? tensor("cotangent.output").view() : ConstView();
    layer_->call_backward(ctx, saved, std::span(&d_out, 1), d_in, grads);
    for (std::size_t i = 0; i < operands_.size(); ++i) {
      if (gradients[i].has_value()) compare(ctx, "grad." + names_[i], gradients[i]);
    }
  }

  void compare(Context& ctx, const std::string& name, const Tensor& got) {
    const double bound = fields_["tolerance"][name]["atol"].as_number("atol");
    const bool is_exact = got.dtype() == Dtype::boolean || got.dtype() == Dtype::i32;
    const Tensor want = as_doubles(ctx, tensor(name));
    CHECK_CLOSE(as_doubles(ctx, got), want, is_exact ? 0 : bound, name);
  }

  const ConfigValue& fields_;
  std::string prefix_;
  std::shared_ptr<Layer> layer_;
  std::vector<std::string> names_;
  std::vector<Value> operands_;
  std::unique_ptr<CallArguments> arguments_;
};

TEST(KerasOperations, NumbersTypesAndGradientsAreKeras) {
  Context ctx({.num_threads = 2});
  ASSERT_GT(all_cases().as_list("cases").size(), 150U);
  for (const ConfigValue& fields : all_cases().as_list("cases")) OperationCase(fields).check(ctx);
}

TEST(KerasOperations, EnvelopesAreKeras) {
  const ConfigValue envelope = layer_to_config(
      *make_operation("keras.src.ops.numpy", "NotEqual", ConfigValue::Object{{"name", "ne"}}));
  EXPECT_EQ(envelope.to_string(),
            R"({"module": "keras.src.ops.numpy", "class_name": "NotEqual", "config": )"
            R"({"name": "ne"}, "registered_name": "NotEqual"})");
  EXPECT_EQ(layer_from_config(envelope)->class_name(), "NotEqual");
}

// model.json is what Keras writes for y = concatenate([a, b], axis=1) and
// where(stack([a, b], axis=1) > 0.5, 1.0, 2 * expand_dims(y[:, 1:3], 1)).
TEST(KerasOperations, StandInModels) {
  const std::string text = io::read_file(kFolder + "model.json");
  const std::shared_ptr<Model> model = model_from_json(text);
  Context ctx;
  const std::vector<Tensor> out =
      (*model)(ctx, std::map<std::string, Tensor>{{"a", Tensor::from({1, 2}, {0.25F, 1})},
                                                  {"b", Tensor::from({1, 2}, {2, -3})}});
  ASSERT_EQ(out.size(), 2U);
  EXPECT_TRUE(same_bits(out[0], Tensor::from({1, 4}, {0.25F, 1, 2, -3})));
  EXPECT_TRUE(same_bits(out[1], Tensor::from({1, 2, 2}, {2, 1, 1, 4})));
  const ConfigValue written = io::parse_json(to_json(*model), "model");
  const ConfigValue read = io::parse_json(text, "model");
  EXPECT_EQ(written["config"]["layers"].to_string(), read["config"]["layers"].to_string());
}

}  // namespace
}  // namespace grouphead
