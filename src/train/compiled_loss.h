#pragma once

#include "grouphead/train/fit.h"
#include "train/job_sums.h"

namespace grouphead::train {

/// The losses of a model's outputs, and their running means. Source: keras.trainers.CompileLoss.
class CompiledLoss {
 public:
  CompiledLoss(const std::vector<Loss>& losses, const std::vector<double>& weights);

  /// The weighted sum of the losses; `d_outputs` get their gradients where not null. Batches bring
  /// the number of outputs: errors ConfigError where it is not that of the losses.
  double value(Context& ctx, const Data& batch, std::span<const Value> outputs,
               std::vector<Tensor>* d_outputs);
  /// `<output>_loss`, where there are several.
  void append_logs(const std::vector<std::string>& output_names, Logs& logs) const;
  void reset();
  /// As CompiledMetrics::collect().
  void collect(Communicator& job);

 private:
  JobSums::Parts sums() const;
  void resolve(std::size_t num_outputs);

  std::vector<Loss> losses_;
  std::vector<double> weights_;
  std::vector<std::unique_ptr<Mean>> means_;
  bool is_resolved_ = false;
  JobSums totals_;
};

/// The weights of one output; absent when there are none.
ConstView sample_weight_of(const Data& batch, std::size_t output);

}  // namespace grouphead::train
