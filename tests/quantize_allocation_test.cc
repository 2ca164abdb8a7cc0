// quantize() that runs out of memory changes nothing, wherever that happens.

#include <gmock/gmock.h>

#include <new>

#include "allocation_counter.h"
#include "grouphead/layers/dense.h"
#include "grouphead/layers/embedding.h"
#include "grouphead/layers/group_query_attention.h"
#include "grouphead/layers/quantization.h"
#include "grouphead/layers/wrappers.h"
#include "grouphead/models/model.h"
#include "grouphead/models/quantize.h"

namespace grouphead {
namespace {

/// Tokens, attention, a layer within TimeDistributed, and one that is called directly.
std::shared_ptr<Sequential> some_model() {
  auto model = std::make_shared<Sequential>();
  model->add(std::make_shared<Embedding>(EmbeddingConfig{.input_dim = 9, .output_dim = 6}));
  model->add(std::make_shared<TimeDistributed>(TimeDistributedConfig{
      .layer = std::make_shared<Dense>(DenseConfig{.units = 5, .name = "inner"})}));
  model->add(std::make_shared<Dense>(DenseConfig{.units = 4, .name = "outer"}));
  model->build({{2, 3}}, 1);
  return model;
}

std::vector<float> numbers_of(const Layer& layer) {
  std::vector<float> all;
  for (const auto& [path, parameter] : layer.parameters()) {
    const ConstView value = parameter->value();
    all.insert(all.end(), value.data<float>(), value.data<float>() + value.size());
  }
  return all;
}

int quantized_parameters(const Layer& layer) {
  int count = 0;
  for (const auto& [path, parameter] : layer.parameters()) {
    count += parameter->quantized() != nullptr ? 1 : 0;
  }
  return count;
}

/// Whether the call found enough memory where an allocation fails after `more` others.
bool succeeds(Layer& layer, QuantizationMode mode, long more) {
  testing_support::fail_allocation(more);
  bool done = true;
  try {
    quantize(layer, mode);
  } catch (const std::bad_alloc&) {
    done = false;
  }
  testing_support::fail_allocation(-1);
  return done;
}

/// Fails at each allocation in turn, and returns at how many.
int failures(Layer& layer, QuantizationMode mode) {
  const std::vector<float> before = numbers_of(layer);
  const std::size_t parameters = layer.parameters().size();
  const std::string config = layer.get_config().to_string();
  int count = 0;
  while (!succeeds(layer, mode, count)) {
    ++count;
    EXPECT_EQ(quantized_parameters(layer), 0) << count;
    EXPECT_EQ(layer.parameters().size(), parameters) << count;
    EXPECT_EQ(layer.get_config().to_string(), config) << count;
    EXPECT_EQ(numbers_of(layer), before) << count;
    const auto* takes = dynamic_cast<const HasQuantization*>(&layer);
    EXPECT_TRUE(takes == nullptr || takes->quantization() == nullptr) << count;
  }
  return count;
}

TEST(QuantizeAllocation, AFailureLeavesTheModelAsItWas) {
  for (const QuantizationMode mode : {QuantizationMode::int8, QuantizationMode::int4}) {
    const auto model = some_model();
    EXPECT_GT(failures(*model, mode), 20);
    EXPECT_EQ(quantized_parameters(*model), 3);
  }
  const auto model = some_model();
  EXPECT_GT(failures(*model, QuantizationMode::float8), 10);
  EXPECT_EQ(quantized_parameters(*model), 0);
}

TEST(QuantizeAllocation, ProjectionsOfAttentionChangeTogether) {
  for (const QuantizationMode mode : {QuantizationMode::int8, QuantizationMode::float8}) {
    GroupQueryAttention attention({.head_dim = 4, .num_query_heads = 2, .num_key_value_heads = 1});
    attention.build({{2, 3, 6}}, 1);
    EXPECT_GT(failures(attention, mode), 20);
    EXPECT_EQ(quantized_parameters(attention), mode == QuantizationMode::int8 ? 4 : 0);
    EXPECT_NE(attention.quantization(), nullptr);
  }
}

}  // namespace
}  // namespace grouphead
