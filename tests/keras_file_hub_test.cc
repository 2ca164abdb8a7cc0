// Models of KerasHub's files: its numbers and gradients, and the way back into files.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "grouphead/grouphead.h"
#include "support.h"
#include "training_support.h"

namespace grouphead::testing {
namespace {

namespace fs = std::filesystem;
using testing_support::isas_under_test;

const std::string kFolder = GROUPHEAD_SOURCE_DIR "/tests/golden/keras_hub";

double largest(const Tensor& x) {
  double most = 0;
  for (Index i = 0; i < x.size(); ++i) {
    most = std::max(most, std::abs(static_cast<double>(x.data<float>()[i])));
  }
  return most;
}

double distance(const ConstView& got, const Tensor& want) {
  if (got.shape() != want.shape()) return std::numeric_limits<double>::infinity();
  double most = 0;
  for (Index i = 0; i < want.size(); ++i) {
    const double difference =
        static_cast<double>(got.data<float>()[i]) - static_cast<double>(want.data<float>()[i]);
    most = std::max(most, std::abs(difference));
    if (std::isnan(difference)) return std::numeric_limits<double>::infinity();
  }
  return most;
}

constexpr double kRounding = 32 * 1.2e-7;  // of the largest number of a tensor

struct Case {
  explicit Case(const std::string& name)
      : file(kFolder + "/models/" + name + ".keras"),
        tensors(read_tensors(kFolder + "/models/" + name + ".safetensors")) {}

  Tensor tensor(const std::string& what, std::size_t i, std::size_t count) const {
    return tensors.at(count > 1 ? what + "." + std::to_string(i) : what);
  }
  std::map<std::string, Tensor> inputs() const {
    std::map<std::string, Tensor> found;
    for (const auto& [name, tensor] : tensors) {
      if (name.starts_with("inputs.")) found[name.substr(7)] = tensor;
    }
    return found;
  }

  fs::path file;
  std::map<std::string, Tensor> tensors;
};

std::vector<std::string> model_names() {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(kFolder + "/models")) {
    if (entry.path().extension() == ".keras") names.push_back(entry.path().stem().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

class KerasHubModels : public testing_support::FolderTest,
                       public ::testing::WithParamInterface<std::string> {};

void expect_outputs(Context& ctx, const Case& each, const Model& model) {
  const std::vector<Tensor> got = model(ctx, each.inputs());
  for (std::size_t i = 0; i < got.size(); ++i) {
    const Tensor want = each.tensor("expect.output", i, got.size());
    EXPECT_LE(distance(got[i], want), kRounding * largest(want)) << "output " << i;
  }
}

TEST_P(KerasHubModels, ComputeItsNumbers) {
  const Case each(GetParam());
  for (const Isa isa : isas_under_test()) {
    Context ctx({.num_threads = 2, .isa = isa});
    expect_outputs(ctx, each, *load_model(each.file));
  }
}

TEST_P(KerasHubModels, HaveItsGradientsInItsOrder) {
  const Case each(GetParam());
  Context ctx({.num_threads = 2});
  const std::shared_ptr<Model> model = load_model(each.file);
  std::vector<Value> inputs;
  for (const std::string& key : model->input_keys()) {
    inputs.push_back({each.tensors.at("inputs." + key), {}});
  }
  std::unique_ptr<Saved> saved;
  const std::vector<Value> outputs = model->forward(ctx, inputs, {}, &saved);
  std::vector<Tensor> cotangents;
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    cotangents.push_back(each.tensor("cotangent.output", i, outputs.size()));
  }
  const ParameterList parameters = model->parameters();
  Grads grads(ctx, parameters);
  const std::vector<ConstView> d_out(cotangents.begin(), cotangents.end());
  std::vector<View> d_in(inputs.size());
  model->backward(ctx, *saved, d_out, d_in, grads);
  double most = 0;
  for (const auto& [name, tensor] : each.tensors) {
    if (name.starts_with("grad.")) most = std::max(most, largest(tensor));
  }
  ASSERT_FALSE(each.tensors.contains("grad." + std::to_string(parameters.size())));
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const Tensor want = each.tensors.at("grad." + std::to_string(i));
    EXPECT_LE(distance(grads.of(*parameters[i].parameter), want), kRounding * most)
        << parameters[i].path;
  }
}

TEST_P(KerasHubModels, AreWrittenAsTheyWereRead) {
  const Case each(GetParam());
  Context ctx({.num_threads = 2});
  const std::shared_ptr<Model> model = load_model(each.file);
  const fs::path copy = folder_ / "copy.keras";
  save_model(*model, copy);
  const std::shared_ptr<Model> again = load_model(copy);
  EXPECT_EQ(model_to_config(*again), model_to_config(*model));
  const std::vector<Tensor> first = (*model)(ctx, each.inputs());
  const std::vector<Tensor> second = (*again)(ctx, each.inputs());
  for (std::size_t i = 0; i < first.size(); ++i) EXPECT_EQ(distance(second[i], first[i]), 0);
}

TEST_P(KerasHubModels, DoNotDependOnThreads) {
  const Case each(GetParam());
  const std::shared_ptr<Model> model = load_model(each.file);
  Context one({.num_threads = 1});
  Context five({.num_threads = 5});
  const std::vector<Tensor> want = (*model)(one, each.inputs());
  const std::vector<Tensor> got = (*model)(five, each.inputs());
  for (std::size_t i = 0; i < want.size(); ++i) EXPECT_EQ(distance(got[i], want[i]), 0);
}

INSTANTIATE_TEST_SUITE_P(All, KerasHubModels, ::testing::ValuesIn(model_names()),
                         [](const auto& each) { return each.param; });

}  // namespace
}  // namespace grouphead::testing
