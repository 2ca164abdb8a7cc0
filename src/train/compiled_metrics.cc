#include "train/compiled_metrics.h"

#include <map>

#include "core/check.h"
#include "train/compiled_loss.h"

namespace grouphead::train {

CompiledMetrics::Metrics CompiledMetrics::resolve(const Lists& choices, const Data& batch,
                                                  std::span<const Value> outputs) {
  if (choices.empty()) return {};
  if (choices.size() != outputs.size()) {
    core::throw_config_error("compile", "metrics",
                             "a list for each of " + std::to_string(outputs.size()) + " outputs",
                             std::to_string(choices.size()));
  }
  Metrics metrics(outputs.size());
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    for (const MetricChoice& choice : choices[i]) {
      metrics[i].push_back(choice.resolve(batch.y[i].shape(), outputs[i].tensor.shape()));
    }
  }
  return metrics;
}

void CompiledMetrics::update(Context& ctx, const Data& batch, std::span<const Value> outputs) {
  if (choices_.empty() && weighted_choices_.empty()) return;
  if (batch.y.size() != outputs.size()) {
    core::throw_shape_error("fit", "y", std::to_string(outputs.size()) + " tensors",
                            std::to_string(batch.y.size()));
  }
  if (!is_resolved_) {
    metrics_ = resolve(choices_, batch, outputs);
    weighted_ = resolve(weighted_choices_, batch, outputs);
    is_resolved_ = true;
  }
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    LossOperands operands = {.target = batch.y[i],
                             .prediction = outputs[i].tensor,
                             .mask = outputs[i].mask ? outputs[i].mask->view() : ConstView()};
    if (!metrics_.empty()) {
      for (const auto& metric : metrics_[i]) metric->update(ctx, operands);
    }
    operands.sample_weight = sample_weight_of(batch, i);
    if (!weighted_.empty()) {
      for (const auto& metric : weighted_[i]) metric->update(ctx, operands);
    }
  }
}

void CompiledMetrics::append_logs(const std::vector<std::string>& output_names, Logs& logs) const {
  const JobSums::Parts parts = sums();
  const JobSums::Shown shown(totals_, parts);
  std::map<std::string, int> seen;
  // `name`, or with a number when it is taken.
  const auto append = [&](const std::string& name, double result) {
    const int count = seen[name]++;
    logs.emplace_back(count == 0 ? name : name + "_" + std::to_string(count), result);
  };
  const auto prefix = [&](std::size_t output) {
    return output_names.size() > 1 ? output_names[output] + "_" : std::string();
  };
  for (std::size_t i = 0; i < metrics_.size(); ++i) {
    for (const auto& metric : metrics_[i]) append(prefix(i) + metric->name(), metric->result());
  }
  for (std::size_t i = 0; i < weighted_.size(); ++i) {
    for (const auto& metric : weighted_[i]) {
      const bool is_taken = seen.contains(prefix(i) + metric->name());
      append(prefix(i) + (is_taken ? "weighted_" : "") + metric->name(), metric->result());
    }
  }
}

JobSums::Parts CompiledMetrics::sums() const {
  JobSums::Parts parts;
  for (const Metrics* lists : {&metrics_, &weighted_}) {
    for (const auto& list : *lists) {
      for (const auto& metric : list) parts.push_back(metric->sums());
    }
  }
  return parts;
}

void CompiledMetrics::collect(Communicator& job) { totals_.collect(job, sums()); }

void CompiledMetrics::reset() {
  totals_.clear();
  for (const Metrics* lists : {&metrics_, &weighted_}) {
    for (const auto& list : *lists) {
      for (const auto& metric : list) metric->reset();
    }
  }
}

std::optional<bool> CompiledMetrics::higher_is_better(std::string_view name) const {
  for (const Metrics* lists : {&metrics_, &weighted_}) {
    for (const auto& list : *lists) {
      for (const auto& metric : list) {
        if (metric->name() == name) return metric->higher_is_better();
      }
    }
  }
  return {};
}

}  // namespace grouphead::train
