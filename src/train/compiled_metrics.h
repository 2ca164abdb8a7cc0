#pragma once

#include "grouphead/train/fit.h"
#include "train/job_sums.h"

namespace grouphead::train {

/// The metrics of a model's outputs, made from the first batch. Source:
/// keras.trainers.CompileMetrics.
class CompiledMetrics {
 public:
  using Lists = std::vector<std::vector<MetricChoice>>;
  CompiledMetrics(Lists metrics, Lists weighted)
      : choices_(std::move(metrics)), weighted_choices_(std::move(weighted)) {}

  void update(Context& ctx, const Data& batch, std::span<const Value> outputs);
  /// Under Keras's names: with several outputs `<output>_<metric>`; a name that is there already
  /// becomes `weighted_<metric>` or gets a number.
  void append_logs(const std::vector<std::string>& output_names, Logs& logs) const;
  void reset();
  /// After the blocks of a batch: from then on results are those of all processes of the job. All
  /// call it.
  void collect(Communicator& job);
  std::optional<bool> higher_is_better(std::string_view name) const;

 private:
  using Metrics = std::vector<std::vector<std::shared_ptr<Metric>>>;
  JobSums::Parts sums() const;
  static Metrics resolve(const Lists& choices, const Data& batch, std::span<const Value> outputs);

  Lists choices_;
  Lists weighted_choices_;
  Metrics metrics_;
  Metrics weighted_;
  bool is_resolved_ = false;
  JobSums totals_;
};

}  // namespace grouphead::train
