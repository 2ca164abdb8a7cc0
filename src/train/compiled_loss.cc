#include "train/compiled_loss.h"

#include <algorithm>

#include "core/check.h"

namespace grouphead::train {

ConstView sample_weight_of(const Data& batch, std::size_t output) {
  const auto& weights = batch.sample_weight;
  if (weights.empty()) return {};
  const Tensor& weight = weights[weights.size() == 1 ? 0 : output];
  return weight.has_value() ? weight.view() : ConstView();
}

CompiledLoss::CompiledLoss(const std::vector<Loss>& losses, const std::vector<double>& weights)
    : losses_(losses), weights_(weights) {
  for (const Loss& loss : losses_) {
    if (loss && loss->reduction() == Reduction::none) {
      core::throw_config_error("compile", loss->name(), "a loss that is reduced", "none");
    }
  }
}

void CompiledLoss::resolve(std::size_t num_outputs) {
  if (is_resolved_) return;
  if (losses_.size() == 1) {
    losses_.resize(num_outputs, losses_[0]);
    if (weights_.size() == 1) weights_.resize(num_outputs, weights_[0]);
  }
  if (!losses_.empty() && losses_.size() != num_outputs) {
    core::throw_config_error("compile", "loss",
                             "one, or one for each of " + std::to_string(num_outputs) + " outputs",
                             std::to_string(losses_.size()));
  }
  if (weights_.empty()) weights_.assign(losses_.size(), 1);
  if (weights_.size() != losses_.size()) {
    core::throw_config_error("compile", "loss_weights", "one for each loss",
                             std::to_string(weights_.size()));
  }
  for (std::size_t i = 0; i < losses_.size(); ++i) means_.push_back(std::make_unique<Mean>());
  is_resolved_ = true;
}

double CompiledLoss::value(Context& ctx, const Data& batch, std::span<const Value> outputs,
                           std::vector<Tensor>* d_outputs) {
  resolve(outputs.size());
  if (d_outputs != nullptr) d_outputs->resize(outputs.size());
  if (!losses_.empty() && batch.y.size() != outputs.size()) {
    core::throw_shape_error("fit", "y", std::to_string(outputs.size()) + " tensors",
                            std::to_string(batch.y.size()));
  }
  double sum = 0;
  for (std::size_t i = 0; i < losses_.size(); ++i) {
    if (!losses_[i]) continue;
    const Value& output = outputs[i];
    const LossOperands operands = {.target = batch.y[i],
                                   .prediction = output.tensor,
                                   .mask = output.mask ? output.mask->view() : ConstView(),
                                   .sample_weight = sample_weight_of(batch, i)};
    double value = 0;
    if (d_outputs != nullptr) {
      LossResult result = losses_[i]->value_and_gradient(ctx, operands, weights_[i]);
      (*d_outputs)[i] = std::move(result.d_prediction);
      value = result.value;
    } else {
      value = losses_[i]->value(ctx, operands);
    }
    means_[i]->add(value, static_cast<double>(output.tensor.dim(0)));
    sum += weights_[i] * value;
  }
  return sum;
}

void CompiledLoss::append_logs(const std::vector<std::string>& output_names, Logs& logs) const {
  const auto given = [](const Loss& loss) { return static_cast<bool>(loss); };
  if (std::count_if(losses_.begin(), losses_.end(), given) < 2) return;
  const JobSums::Parts parts = sums();
  const JobSums::Shown shown(totals_, parts);
  for (std::size_t i = 0; i < means_.size(); ++i) {
    if (!losses_[i]) continue;
    const std::string name = output_names[i] + "_loss";
    const auto same =
        std::find_if(logs.begin(), logs.end(), [&](const auto& log) { return log.first == name; });
    // Of outputs of one name Keras tells the last loss.
    if (same != logs.end()) {
      same->second = means_[i]->result();
    } else {
      logs.emplace_back(name, means_[i]->result());
    }
  }
}

JobSums::Parts CompiledLoss::sums() const {
  JobSums::Parts parts;
  for (const auto& mean : means_) parts.push_back(mean->sums());
  return parts;
}

void CompiledLoss::collect(Communicator& job) { totals_.collect(job, sums()); }

void CompiledLoss::reset() {
  totals_.clear();
  for (const auto& mean : means_) mean->reset();
}

}  // namespace grouphead::train
