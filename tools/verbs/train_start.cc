#include <fmt/format.h>

#include <utility>

#include "grouphead/models/model.h"
#include "saved/checkpoint.h"
#include "tools/output.h"
#include "tools/verbs/train.h"

namespace grouphead::tools {
namespace {

std::string text_of(Dtype dtype, const Shape& shape) {
  return fmt::format("{} {}", name_of(dtype), shape.to_string());
}

}  // namespace

void print_first_loss(const Job& job, const TrainingRun& run) {
  const double loss = run.training.validate();
  if (!job.is_first()) return;
  print_out("validation loss {:.4f} nats per {} before the first step\n", loss, run.unit);
}

void take_weights(const saved::LoadedLanguageModel& from, Trainer& trainer,
                  const std::string& folder) {
  const ConstParameterList given = std::as_const(*from.model).parameters();
  const std::vector<train::WholeTensor> weights = trainer.model_weights();
  const auto require = [&](const std::string& what, const std::string& want,
                           const std::string& got) {
    if (want == got) return;
    throw ConfigError(
        fmt::format("[train] --init-from {}: {}: expected {}, got {}", folder, what, want, got));
  };
  require("number of weights", std::to_string(weights.size()), std::to_string(given.size()));
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const Parameter& parameter = *given[i].parameter;
    require(given[i].path, text_of(weights[i].dtype, weights[i].shape),
            text_of(parameter.dtype(), parameter.shape()));
  }
  for (std::size_t i = 0; i < weights.size(); ++i) weights[i].take(given[i].parameter->value());
}

// FNV-1a.
std::uint64_t number_of(ConstView weight, std::uint64_t number) {
  for (const std::byte byte : bytes_of(weight)) {
    number = (number ^ static_cast<unsigned>(byte)) * 0x100000001b3;
  }
  return number;
}

std::uint64_t number_of(const ConstParameterList& parameters) {
  std::uint64_t number = kNumberOfNothing;
  for (const auto& named : parameters) number = number_of(named.parameter->value(), number);
  return number;
}

std::uint64_t number_of(const saved::Checkpoint& checkpoint, Trainer& trainer) {
  std::uint64_t number = kNumberOfNothing;
  for (const train::WholeTensor& weight : trainer.model_weights()) {
    const Tensor whole = checkpoint.contents.read(weight.path);
    number = number_of(whole, number);
  }
  return number;
}

void require_same_start(const Job& job, const TextTraining& training, std::uint64_t number) {
  job.require_same({{"steps done", std::to_string(training.steps_done())},
                    {"weights (a number made from them)", fmt::format("{:016x}", number)}});
}

}  // namespace grouphead::tools
