// Arithmetic on symbols.

#include <gmock/gmock.h>

#include <cmath>

#include "graph_support.h"
#include "grouphead/files/model_json.h"
#include "grouphead/layers/dense.h"
#include "grouphead/models/symbol_operations.h"

namespace grouphead {
namespace {

using ::testing::HasSubstr;
using namespace testing_support;  // NOLINT(google-build-using-namespace)

TEST(Operations, CalculateAsTheirSignsSay) {
  const Symbol x = input({.shape = {3}, .name = "x"});
  const Symbol y = input({.shape = {3}, .name = "y"});
  Model model({.inputs = {x, y},
               .outputs = {x + y, x - 1, 2 * y, x / y, -x, 1 - x, 4 + x, 1 / y,
                           operation("NotEqual", {x, y})}});
  Context ctx;
  const std::vector<Tensor> in = {Tensor::from({1, 3}, {1, -2, 4}),
                                  Tensor::from({1, 3}, {2, -2, 0.5})};
  const std::vector<Tensor> out = model(ctx, in);
  const std::vector<std::vector<float>> want = {{3, -4, 4.5}, {0, -3, 3},    {4, -4, 1},
                                                {0.5, 1, 8},  {-1, 2, -4},   {0, 3, -3},
                                                {5, 2, 8},    {0.5, -0.5, 2}};
  for (std::size_t k = 0; k < want.size(); ++k) {
    for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(out[k].data<float>()[i], want[k][i]) << k;
  }
  EXPECT_EQ(model.outputs()[8].dtype(), Dtype::boolean);
  EXPECT_TRUE(out[8].data<bool>()[0]);
  EXPECT_FALSE(out[8].data<bool>()[1]);
}

TEST(Operations, HaveGradients) {
  const Symbol x = input({.shape = {3}, .dtype = Dtype::f64, .name = "x"});
  const Symbol h = layer<Dense>({.units = 3, .activation = "tanh", .dtype = Dtype::f64})(x);
  Model model({.inputs = {x}, .outputs = {h * h + 2 * x - h / (x * x + 3)}});
  randomize(model, 1);
  Context ctx({.num_threads = 1});
  const Tensor in = random_tensor({4, 3}, 1, Dtype::f64);
  check_gradients(ctx, {.layer = model, .in = {in}});
  // A file does not say that the operations' gradients are f64.
  const auto again = model_from_json(to_json(model));
  randomize(*again, 1);
  check_gradients(ctx, {.layer = *again, .in = {in}});
}

// Keras makes no model of a file whose call leaves these out.
TEST(Operations, WriteOperandsThatAreNull) {
  const Symbol x = input({.shape = {3}, .name = "x"});
  const Model model({.inputs = {x}, .outputs = {operation("RMSNorm", {x})}});
  const ConfigValue config = model.get_config();
  const ConfigValue& node = config["layers"].as_list("layers")[1]["inbound_nodes"];
  const ConfigValue& args = node.as_list("inbound_nodes")[0]["args"];
  ASSERT_EQ(args.as_list("args").size(), 2U);
  EXPECT_TRUE(args.as_list("args")[1].is_null());
  EXPECT_EQ(model_from_json(to_json(model))->get_config(), config);
}

TEST(Operations, AreNoLayersOfTheModel) {
  const Symbol x = input({.shape = {3}, .name = "x"});
  Model model({.inputs = {x}, .outputs = {layer<Dense>({.units = 3})(x + 1)}});
  ASSERT_EQ(model.layers().size(), 2U);
  EXPECT_THAT(model.summary(), HasSubstr("add (Add)"));
  EXPECT_THAT(error_of<ConfigError>([&] { operation("Unique", {x}); }), HasSubstr("Unique"));
}

TEST(Operations, OfAllOfKerassModulesAreFoundByTheirNames) {
  const Symbol x = input({.shape = {3}, .name = "x"});
  // numpy, nn, core, math.
  const Symbol y = operation("Cast", {operation("Softmax", {x * 2})}, {{"dtype", "float32"}});
  Model model({.inputs = {x}, .outputs = {operation("Logsumexp", {y}, {{"axis", 1}})}});
  Context ctx({.num_threads = 1});
  const Tensor in = Tensor::from({1, 3}, {0.0F, 0.5F, 1.0F});
  // softmax(0, 1, 2) = 0.09003057, 0.24472848, 0.66524094
  const double want = std::log(std::exp(0.09003057) + std::exp(0.24472848) + std::exp(0.66524094));
  const Tensor out = model(ctx, in);
  EXPECT_NEAR(out.data<float>()[0], want, 1e-6);
}

}  // namespace
}  // namespace grouphead
