// KerasHub's tasks, a backbone with what makes logits of it, and how files name its models.

#include "graph/package_models.h"
#include "models/hub/hub_layers.h"
#include "models/hub/hub_model.h"
#include "models/hub/parts.h"
#include "nn/layer_checks.h"

namespace grouphead {
namespace models::hub {
namespace {

struct Task {
  std::string_view class_name;
  std::string_view module;
  std::string_view backbone;
  std::string_view name;
  bool is_masked;  ///< MaskedLM, else CausalLM
};
constexpr Task kTasks[] = {
    {"BertMaskedLM", "keras_hub.src.models.bert.bert_masked_lm", "BertBackbone", "bert_masked_lm",
     true},
    {"DistilBertMaskedLM", "keras_hub.src.models.distil_bert.distil_bert_masked_lm",
     "DistilBertBackbone", "distil_bert_masked_lm", true},
    {"GemmaCausalLM", "keras_hub.src.models.gemma.gemma_causal_lm", "GemmaBackbone",
     "gemma_causal_lm", false},
    {"GPT2CausalLM", "keras_hub.src.models.gpt2.gpt2_causal_lm", "GPT2Backbone", "gpt2_causal_lm",
     false},
    {"Llama3CausalLM", "keras_hub.src.models.llama3.llama3_causal_lm", "Llama3Backbone",
     "llama3_causal_lm", false},
    {"LlamaCausalLM", "keras_hub.src.models.llama.llama_causal_lm", "LlamaBackbone",
     "llama_causal_lm", false},
    {"MistralCausalLM", "keras_hub.src.models.mistral.mistral_causal_lm", "MistralBackbone",
     "mistral_causal_lm", false},
    {"RobertaMaskedLM", "keras_hub.src.models.roberta.roberta_masked_lm", "RobertaBackbone",
     "roberta_masked_lm", true},
};

const Task* task_of(std::string_view class_name) noexcept {
  for (const Task& task : kTasks) {
    if (task.class_name == class_name) return &task;
  }
  return nullptr;
}

// The class in KerasHub; empty for another package's.
std::string_view class_in(const ConfigValue& envelope) {
  const ConfigValue& registered = envelope["registered_name"];
  if (!registered.is_string()) return {};
  const std::string_view name = registered.as_string("registered_name");
  for (const std::string_view package : {"keras_hub>", "keras_nlp>"}) {
    if (name.starts_with(package)) return name.substr(package.size());
  }
  return {};
}

std::shared_ptr<Layer> head_of(const Backbone& backbone) {
  return masked_lm_head({.vocabulary_size = backbone.vocabulary_size,
                         .token_embedding = backbone.token_embedding,
                         .embedding_dim = backbone.hidden_dim,
                         .intermediate_activation = {Activation::gelu, "gelu"},
                         .kernel_initializer = initializers::truncated_normal(0, 0.02),
                         .has_stored_logits = true,
                         .name = "mlm_head",
                         .dtype = backbone.dtype});
}

// The backbone's last hidden states: of several outputs the one of that name.
Symbol sequence_of(const HubModel& model, const Outputs& outputs) {
  const std::vector<std::string>& keys = model.output_keys();
  for (std::size_t i = 0; i < keys.size(); ++i) {
    if (keys[i] == "sequence_output") return outputs[i];
  }
  return outputs[0];
}

std::shared_ptr<Model> make_task(const Task& task, const ConfigValue& given, std::uint64_t seed) {
  nn::ConfigReader reader(task.class_name, given);
  const ConfigValue& envelope = reader.value("backbone");
  if (class_in(envelope) != task.backbone) {
    core::throw_config_error(task.class_name, "backbone", task.backbone,
                             envelope["registered_name"].to_string());
  }
  const Backbone backbone = make_backbone(task.backbone, envelope["config"], seed);
  reader.value("preprocessor");  // text to tokens: the model takes tokens
  ModelConfig config{.name = reader.name(task.name), .seed = seed};
  reader.finish();

  std::vector<Operand> operands;
  for (const Symbol& symbol : backbone.model->inputs()) {
    operands.emplace_back(symbol);
    config.inputs.push_back(symbol);
  }
  config.input_keys = backbone.model->input_keys();
  const Symbol hidden =
      sequence_of(*backbone.model, connect(backbone.model, Operands(std::move(operands))));
  if (task.is_masked) {
    const Symbol positions = input({.shape = {-1}, .dtype = Dtype::i32, .name = "mask_positions"});
    config.inputs.insert(config.inputs.begin(), positions);  // in the order of the keys
    config.input_keys.insert(config.input_keys.begin(), "mask_positions");
    config.outputs = {connect(head_of(backbone), {hidden, positions})};
  } else {
    set_stored_logits(*backbone.token_embedding);
    config.outputs = {connect(backbone.token_embedding, hidden, {{"reverse", ConfigValue(true)}})};
  }
  ConfigValue kept = given;
  kept.set("preprocessor", nullptr);  // its vocabulary is in files beside the configuration
  return std::make_shared<HubModel>(config, HubModel::Identity{task.class_name, task.module, kept});
}

}  // namespace
}  // namespace models::hub

bool graph::is_package_model(const ConfigValue& envelope) {
  const std::string_view name = models::hub::class_in(envelope);
  return models::hub::has_backbone(name) || models::hub::task_of(name) != nullptr;
}

std::shared_ptr<Model> graph::make_package_model(const ConfigValue& envelope, std::uint64_t seed) {
  const std::string_view name = models::hub::class_in(envelope);
  if (const models::hub::Task* task = models::hub::task_of(name)) {
    return models::hub::make_task(*task, envelope["config"], seed);
  }
  return models::hub::make_backbone(name, envelope["config"], seed).model;
}

}  // namespace grouphead
