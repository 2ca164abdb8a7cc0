// A layer of your own: used in a model, trained, saved, and loaded again by its registered name.

#include <grouphead/grouphead.h>
#include <grouphead/layers/serialization.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace gh = grouphead;

namespace {

/// y = x * gain, with one trained value for each feature.
class FeatureGain final : public gh::Layer {
 public:
  struct Config {
    std::string name = "feature_gain";
    double start = 1;
  };
  explicit FeatureGain(const Config& config)
      : Layer(config.name, gh::DtypePolicy()), start_(config.start) {}

  // What a file says of the layer, and the layer of it.
  std::string_view class_name() const override { return "FeatureGain"; }
  gh::ConfigValue get_config() const override {
    gh::ConfigValue config = Layer::get_config();
    config.set("start", start_);
    return config;
  }
  static std::shared_ptr<gh::Layer> from_config(const gh::ConfigValue& config) {
    return std::make_shared<FeatureGain>(Config{.name = config["name"].as_string("name"),
                                                .start = config["start"].as_number("start")});
  }

  void create_parameters(std::span<const gh::Shape> inputs, gh::RandomStream& /*random*/) override {
    const gh::Index width = inputs[0].back();
    gain_ = std::make_unique<gh::Parameter>("gain", gh::Shape{width}, policy());
    std::fill_n(gain_->edit().data<float>(), width, static_cast<float>(start_));
  }

  std::vector<gh::Value> forward(gh::Context& ctx, std::span<const gh::Value> in,
                                 const gh::Mode& /*mode*/,
                                 std::unique_ptr<gh::Saved>* saved) const override {
    const gh::Tensor& x = in[0].tensor;
    gh::Tensor y = ctx.tensor(x.shape());
    const float* gain = gain_->numbers().data<float>();
    const gh::Index width = x.shape().back();
    for (gh::Index i = 0; i < x.size(); ++i) {
      y.data<float>()[i] = x.data<float>()[i] * gain[i % width];
    }
    if (saved != nullptr) *saved = std::make_unique<Inputs>(x);
    return {{y, in[0].mask}};
  }

  // Gradients are added: a tensor may be used several times.
  void backward(gh::Context& /*ctx*/, gh::Saved& saved, std::span<const gh::ConstView> d_out,
                std::span<gh::View> d_in, gh::Grads& grads) const override {
    if (!d_out[0].has_value()) return;
    const gh::Tensor& x = static_cast<Inputs&>(saved).x;
    const float* gain = gain_->numbers().data<float>();
    const float* d_y = d_out[0].data<float>();
    const gh::View d_gain = grads.of(*gain_);
    const gh::Index width = x.shape().back();
    for (gh::Index i = 0; i < x.size(); ++i) {
      if (d_in[0].has_value()) d_in[0].data<float>()[i] += d_y[i] * gain[i % width];
      if (d_gain.has_value()) d_gain.data<float>()[i % width] += d_y[i] * x.data<float>()[i];
    }
  }

  void append_parameters(const std::string& prefix, gh::ParameterList& out) override {
    if (gain_) out.push_back({prefix + "gain", gain_.get()});
  }

 private:
  struct Inputs : gh::Saved {
    explicit Inputs(const gh::Tensor& tensor) : x(tensor) {}
    gh::Tensor x;
  };
  double start_;
  std::unique_ptr<gh::Parameter> gain_;
};

}  // namespace

int main() {
  gh::register_layer<FeatureGain>("example>FeatureGain");

  gh::Context ctx;
  const gh::Symbol x = gh::input({.shape = {8}});
  const gh::Symbol scaled = gh::layer<FeatureGain>({.start = 0.5})(x);
  gh::Model model({.inputs = {x}, .outputs = {gh::layer<gh::Dense>({.units = 1})(scaled)}});
  const gh::Data data{.x = {gh::random_normal({64, 8}, /*seed=*/1)},
                      .y = {gh::random_normal({64, 1}, /*seed=*/2)}};
  gh::CompiledModel training = gh::compile(model, {.optimizer = "adam", .loss = {"mse"}});
  const gh::History history = training.fit(ctx, data, {.epochs = 10});
  std::printf("loss %.3f, then %.3f\n", history["loss"].front(), history["loss"].back());

  gh::save_model_folder(model, "own_layer_model");
  const auto loaded = gh::load_model_folder<gh::Model>("own_layer_model");
  const gh::Tensor before = model(ctx, data.x[0]);
  const gh::Tensor after = (*loaded)(ctx, data.x[0]);
  const auto bytes = static_cast<std::size_t>(before.size()) * sizeof(float);
  const bool is_same = std::memcmp(before.data<float>(), after.data<float>(), bytes) == 0;
  std::printf("loaded again: %s\n", is_same ? "the same predictions" : "other predictions");
  return is_same ? 0 : 1;
}
