// Parameters that no optimizer trains: layers hand in their new values, and a training step
// applies them.

#include <gmock/gmock.h>

#include "grouphead/layers/dense.h"
#include "grouphead/models/model.h"
#include "grouphead/train/fit.h"
#include "model_support.h"

namespace grouphead {
namespace {

using ::testing::HasSubstr;
using testing_support::error_of;
using testing_support::random_tensor;

// y = x, and counts its calls in training.
class Counter final : public Layer {
 public:
  explicit Counter(std::string name = "counter") : Layer(std::move(name), Dtype::f64) {}
  std::vector<Value> forward(Context& /*ctx*/, std::span<const Value> in, const Mode& mode,
                             std::unique_ptr<Saved>* saved) const override {
    if (mode.training && mode.updates != nullptr && calls_->is_updated()) {
      Tensor next({1}, Dtype::f64);
      next.data<double>()[0] = mode.updates->value(*calls_).data<double>()[0] + 1;
      mode.updates->set(*calls_, std::move(next));
    }
    if (saved != nullptr) *saved = std::make_unique<Saved>();
    return {in[0]};
  }
  void backward(Context& /*ctx*/, Saved& /*saved*/, std::span<const ConstView> d_out,
                std::span<View> d_in, Grads& /*grads*/) const override {
    if (!d_in[0].has_value()) return;
    const auto* from = d_out[0].data<double>();
    for (Index i = 0; i < d_in[0].size(); ++i) d_in[0].data<double>()[i] += from[i];
  }
  void append_parameters(const std::string& prefix, ParameterList& out) override {
    if (calls_) out.push_back({prefix + "calls", calls_.get()});
  }

  double calls() const { return calls_->value().data<double>()[0]; }
  const Parameter& parameter() const { return *calls_; }

 private:
  void create_parameters(std::span<const Shape> /*inputs*/, RandomStream& /*random*/) override {
    ParameterOptions options;
    options.trainable = trainable();
    options.is_state = true;
    calls_ = std::make_unique<Parameter>("calls", Shape{1}, policy(), options);
  }
  std::unique_ptr<Parameter> calls_;
};

struct Counted {
  std::shared_ptr<Counter> counter = std::make_shared<Counter>();
  std::unique_ptr<Model> model;
  Data data{.x = {random_tensor({4, 3}, 1, Dtype::f64)},
            .y = {random_tensor({4, 2}, 2, Dtype::f64)}};

  // The counter is called twice by each step.
  Counted() {
    const Symbol x = input({.shape = {3}, .dtype = Dtype::f64});
    const Symbol twice = connect(counter, {connect(counter, {x})});
    model = std::make_unique<Model>(ModelConfig{
        .inputs = {x},
        .outputs = {layer<Dense>(DenseConfig{.units = 2, .dtype = Dtype::f64})(twice)}});
  }
};

TEST(StateUpdates, AreAppliedByTrainingStepsAlone) {
  Context ctx;
  Counted counted;
  CompiledModel compiled = compile(*counted.model, {.optimizer = "sgd", .loss = {"mse"}});
  compiled.fit(ctx, counted.data, {.batch_size = 2, .epochs = 3});
  EXPECT_EQ(counted.counter->calls(), 12);  // 3 epochs of 2 steps of 2 calls
  compiled.compute_gradients(ctx, counted.data);
  compiled.evaluate(ctx, counted.data);
  compiled.predict(ctx, counted.data.x);
  EXPECT_EQ(counted.counter->calls(), 12);
  compiled.train_on_batch(ctx, counted.data);
  EXPECT_EQ(counted.counter->calls(), 14);
}

TEST(StateUpdates, LeaveFrozenParametersAlone) {
  Context ctx;
  Counted counted;
  EXPECT_FALSE(counted.counter->parameter().trainable());
  EXPECT_TRUE(counted.counter->parameter().is_updated());
  counted.counter->set_trainable(false);
  CompiledModel compiled = compile(*counted.model, {.optimizer = "sgd", .loss = {"mse"}});
  compiled.train_on_batch(ctx, counted.data);
  EXPECT_EQ(counted.counter->calls(), 0);
  counted.counter->set_trainable(true);
  EXPECT_FALSE(counted.counter->parameter().trainable());
  compiled.train_on_batch(ctx, counted.data);
  EXPECT_EQ(counted.counter->calls(), 2);
}

TEST(StateUpdates, RefuseValuesThatDoNotFit) {
  const Counted counted;
  StateUpdates updates;
  EXPECT_THAT(error_of<ShapeError>([&] {
                updates.set(counted.counter->parameter(), Tensor::zeros({2}, Dtype::f64));
              }),
              HasSubstr("[state_updates] calls: expected [1], got [2]"));
  EXPECT_THAT(error_of<ShapeError>([&] {
                updates.set(counted.counter->parameter(), Tensor::zeros({1}, Dtype::f32));
              }),
              HasSubstr("calls"));
}

}  // namespace
}  // namespace grouphead
