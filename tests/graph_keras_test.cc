// Models that Keras saved: their configurations, run with their numbers, layer by layer.

#include <gmock/gmock.h>

#include <fstream>
#include <sstream>

#include "graph_support.h"
#include "grouphead/files/model_json.h"
#include "io/json.h"
#include "io/safetensors.h"
#include "ops/convert.h"

namespace grouphead {
namespace {

using namespace testing_support;  // NOLINT(google-build-using-namespace)

const std::string kKerasFolder = GROUPHEAD_SOURCE_DIR "/tests/golden/keras/";

std::string text_of_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

// A member of a zip archive that holds it as it is, as .keras files do.
std::string stored_member(const std::string& archive, const std::string& name) {
  const std::string bytes = text_of_file(archive);
  const auto number = [&](std::size_t at, int size) {
    std::size_t value = 0;
    for (int i = size; i-- > 0;) {
      value = value << 8 | static_cast<unsigned char>(bytes.at(at + static_cast<std::size_t>(i)));
    }
    return value;
  };
  for (std::size_t at = 0; number(at, 4) == 0x04034b50;) {
    const std::size_t size = number(at + 18, 4);
    const std::size_t name_size = number(at + 26, 2);
    const std::size_t begin = at + 30 + name_size + number(at + 28, 2);
    if (bytes.substr(at + 30, name_size) == name) return bytes.substr(begin, size);
    at = begin + size;
  }
  ADD_FAILURE() << archive << " has no " << name;
  return {};
}

ConfigValue all_cases() {
  return io::parse_json(text_of_file(kKerasFolder + "cases.json"), "cases.json");
}

// The weights that the file has, in the order of the case: Keras's order.
void set_case_weights(Model& model, const ConfigValue& each, const io::Safetensors& file) {
  std::vector<Tensor> weights;
  for (const ConfigValue& weight : each["weights"].as_list("weights")) {
    if (!weight["trainable"].as_bool("trainable")) continue;
    weights.push_back(file.at("weight." + weight["path"].as_string("path")));
  }
  set_weights(model, weights);
}

Tensor widened(const Tensor& x) {
  Tensor wide(x.shape(), Dtype::f64);
  ops::convert_rounded(x, Dtype::f64, wide);
  return wide;
}

// The outputs of all layers, then the model's own.
struct Probe {
  std::vector<std::string> names;
  std::vector<Symbol> symbols;
};

Probe probe_of(const Model& model) {
  Probe probe;
  const auto add = [&](const std::string& name, std::size_t k, const Symbol& symbol) {
    probe.names.push_back(k == 0 ? name : name + "." + std::to_string(k));
    probe.symbols.push_back(symbol);
  };
  for (const auto& layer : model.layers()) {
    if (layer->class_name() == "InputLayer") continue;
    const Outputs outputs = model.outputs_of(layer->name());
    for (std::size_t k = 0; k < outputs.size(); ++k) {
      add("expect.layer." + layer->name(), k, outputs[k]);
    }
  }
  for (std::size_t k = 0; k < model.outputs().size(); ++k) {
    add("expect.output", k, model.outputs()[k]);
  }
  return probe;
}

void run_case(const ConfigValue& each) {
  SCOPED_TRACE(each["name"].as_string("name"));
  const auto file = io::read_safetensors(kKerasFolder + each["file"].as_string("file"));
  const std::string config =
      stored_member(kKerasFolder + each["keras_file"].as_string("keras_file"), "config.json");
  const auto model = model_from_json(config);
  set_case_weights(*model, each, file);
  // What we write is read as the same model.
  const auto again = model_from_json(to_json(*model));
  set_weights(*again, get_weights(*model));
  EXPECT_EQ(to_json(*again), to_json(*model));

  std::map<std::string, Tensor> in;
  for (const auto& [name, tensor] : each["call"]["inputs"].as_object("inputs")) {
    in[name] = file.at(tensor.as_string("inputs"));
  }
  Context ctx({.num_threads = 2});
  for (const auto& one : {model, again}) {
    const Probe probe = probe_of(*one);
    Model probed({.inputs = one->inputs(), .outputs = probe.symbols, .name = "probe"});
    const std::vector<Tensor> got = probed(ctx, in);
    std::size_t num_compared = 0;
    for (std::size_t i = 0; i < got.size(); ++i) {
      const ConfigValue& tolerance = each["tolerance"][probe.names[i]];
      ASSERT_FALSE(tolerance.is_null()) << probe.names[i];
      CHECK_CLOSE(widened(got[i]), widened(file.at(probe.names[i])),
                  tolerance["atol"].as_number("atol"), probe.names[i]);
      ++num_compared;
    }
    EXPECT_EQ(num_compared, each["expect"].as_list("expect").size());
  }
}

TEST(KerasModels, GiveKerassNumbers) {
  int num_models = 0;
  const ConfigValue cases = all_cases();
  for (const ConfigValue& each : cases["cases"].as_list("cases")) {
    if (each["kind"] != ConfigValue("model")) continue;
    ++num_models;
    run_case(each);
  }
  EXPECT_EQ(num_models, 9);
}

}  // namespace
}  // namespace grouphead
