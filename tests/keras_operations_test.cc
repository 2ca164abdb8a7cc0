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
#include "nn/operations/operation.h"
#include "ops/strided.h"
#include "support.h"

namespace grouphead {
namespace {

using testing_support::same_bits;

const std::string kOperationsGolden = GROUPHEAD_SOURCE_DIR "/tests/golden/";

/// A folder of cases.
struct Folder {
  explicit Folder(const std::string& name)
      : cases(io::parse_json(io::read_file(kOperationsGolden + name + "/cases.json"), "cases")),
        tensors(io::read_safetensors(kOperationsGolden + name + "/tensors.safetensors")) {}
  ConfigValue cases;
  io::Safetensors tensors;
};

Tensor as_doubles(Context& ctx, const Tensor& x) {
  Tensor wide(x.shape(), Dtype::f64);
  ops::cast(ctx, x, wide);
  return wide;
}

/// One stored case: the call as Keras's file has it, and its tensors.
class OperationCase {
 public:
  OperationCase(const Folder& folder, const ConfigValue& fields)
      : tensors_(folder.tensors),
        fields_(fields),
        prefix_(fields["name"].as_string("name") + "/"),
        layer_(make_operation(fields["module"].as_string("module"),
                              fields["class_name"].as_string("class_name"), fields["config"])) {
    ConfigValue keywords = ConfigValue::Object{};
    ConfigValue::List literals;
    for (const ConfigValue& argument : fields["args"].as_list("args")) {
      read_argument(argument, literals);
    }
    for (const auto& [key, value] : fields["kwargs"].as_object("kwargs")) {
      if (value.is_object() && value.contains("tensor")) {
        const auto names = layer_->input_names();
        const auto place = std::find(names.begin(), names.end(), key) - names.begin();
        while (static_cast<std::ptrdiff_t>(operands_.size()) < place) {
          read_argument(nullptr, literals);
        }
        read_argument(value, literals);
      } else {
        keywords.set(key, value);
      }
    }
    keywords.set("args", literals);
    arguments_ = layer_->arguments_from_config(keywords);
  }

  void check(Context& ctx) {
    std::vector<Shape> shapes;
    std::vector<Dtype> types;
    for (const Value& value : operands_) {
      shapes.push_back(value.tensor.has_value() ? value.tensor.shape() : Shape());
      types.push_back(value.tensor.has_value() ? value.tensor.dtype() : Dtype::f32);
    }
    const auto& operation = dynamic_cast<const nn::Operation&>(*layer_);
    const auto told = operation.outputs_for(shapes, types, arguments_.get());
    std::unique_ptr<Saved> saved;
    const Mode mode{.arguments = arguments_.get()};
    const std::vector<Value> got = layer_->call(ctx, operands_, mode, &saved);
    ASSERT_EQ(got.size(), told.size());
    for (std::size_t i = 0; i < got.size(); ++i) {
      const std::string name = "expect." + output_name(i);
      const Tensor& want = tensor(name);
      EXPECT_EQ(told[i].shape, want.shape());
      EXPECT_EQ(name_of(told[i].dtype), name_of(want.dtype()));
      EXPECT_EQ(name_of(got[i].tensor.dtype()), name_of(want.dtype()));
      ASSERT_EQ(got[i].tensor.shape(), want.shape());
      EXPECT_FALSE(got[i].mask.has_value());
      compare(ctx, name, got[i].tensor);
    }
    EXPECT_FALSE(has("expect." + output_name(got.size())));
    check_unknown_shapes(operation, shapes, types, told);
    check_gradients(ctx, *saved, got.size());
  }

 private:
  bool has(const std::string& name) const { return tensors_.tensors.contains(prefix_ + name); }
  const Tensor& tensor(const std::string& name) const { return tensors_.at(prefix_ + name); }

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

  static std::string output_name(std::size_t i) {
    return i == 0 ? "output" : "output." + std::to_string(i);
  }

  // Unknown sizes of operands may leave sizes unknown, never make them others.
  void check_unknown_shapes(const nn::Operation& operation, std::span<const Shape> shapes,
                            std::span<const Dtype> types,
                            std::span<const nn::OperationOutput> told) {
    if (fields_["needs_sizes"] == ConfigValue(true)) return;
    std::vector<Shape> unknown;
    for (const Shape& shape : shapes) {
      std::vector<Index> dims(shape.begin(), shape.end());
      if (!dims.empty()) dims[0] = -1;
      unknown.push_back(Shape::partial(dims));
    }
    const auto made = operation.outputs_for(unknown, types, arguments_.get());
    ASSERT_EQ(made.size(), told.size());
    for (std::size_t i = 0; i < made.size(); ++i) {
      EXPECT_EQ(made[i].dtype, told[i].dtype);
      ASSERT_EQ(made[i].shape.rank(), told[i].shape.rank());
      for (int axis = 0; axis < made[i].shape.rank(); ++axis) {
        if (made[i].shape[axis] < 0) continue;
        EXPECT_EQ(made[i].shape[axis], told[i].shape[axis]) << "axis " << axis;
      }
    }
  }

  void check_gradients(Context& ctx, Saved& saved, std::size_t num_outputs) {
    std::vector<Tensor> gradients(operands_.size());
    std::vector<View> d_in(operands_.size());
    for (std::size_t i = 0; i < operands_.size(); ++i) {
      if (!has("grad." + names_[i])) continue;
      gradients[i] = Tensor::zeros(operands_[i].tensor.shape());
      d_in[i] = gradients[i];
    }
    Grads grads(ctx, {});
    std::vector<ConstView> d_out(num_outputs);
    for (std::size_t i = 0; i < num_outputs; ++i) {
      const std::string name = "cotangent." + output_name(i);
      if (has(name)) d_out[i] = tensor(name).view();
    }
    layer_->call_backward(ctx, saved, d_out, d_in, grads);
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

  const io::Safetensors& tensors_;
  const ConfigValue& fields_;
  std::string prefix_;
  std::shared_ptr<Layer> layer_;
  std::vector<std::string> names_;
  std::vector<Value> operands_;
  std::unique_ptr<CallArguments> arguments_;
};

void check_folder(const std::string& name, std::size_t least) {
  const Folder folder(name);
  Context ctx({.num_threads = 2});
  const ConfigValue::List& cases = folder.cases["cases"].as_list("cases");
  ASSERT_GT(cases.size(), least);
  for (const ConfigValue& fields : cases) {
    SCOPED_TRACE(fields["name"].as_string("name"));
    EXPECT_NO_THROW(OperationCase(folder, fields).check(ctx));
  }
}

TEST(KerasOperations, NumbersTypesAndGradientsAreKeras) { check_folder("keras_operations", 150); }
TEST(KerasOperations, ThoseOfSeveralStepsAreKeras) { check_folder("keras_ops", 300); }

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
  const std::string text = io::read_file(kOperationsGolden + "keras_operations/model.json");
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
