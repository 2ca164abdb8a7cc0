#pragma once

#include <map>
#include <memory>
#include <string>

#include "grouphead/models/lora.h"
#include "train/text_training.h"

namespace grouphead {

/// Which weights of a model are trained: all, those of its attention, or low-rank changes of the
/// latter's kernels.
enum class TunedPart : int { all, attention, lora };
/// `all`, `attention`, `lora`. Errors: ConfigError.
TunedPart tuned_part_from_name(std::string_view name);
std::string_view name_of(TunedPart part);

struct TunerConfig {
  TextTrainingConfig training{.sequence_length = 256,
                              .batch_size = 8,
                              .steps = 100,
                              .learning_rate = 1e-4,
                              .warmup_steps = 10,
                              .weight_decay = 0.01,
                              .decays_all = false};
  TunedPart part = TunedPart::all;
  Index lora_rank = 8;
  double lora_alpha = 16;
  DtypePolicy dtype{};  ///< the model's own: what products are computed in
};

/// Trains a causal model that there is already.
class Tuner final : public TextTraining {
 public:
  /// Errors: ConfigError, also for a model without a head, and for sequences longer than its table
  /// of positions.
  /// `grid`: the processes that train together. Where they share out tensors, the first process
  /// alone keeps `model`, which save() brings up to date.
  Tuner(Context& ctx, std::shared_ptr<TransformerModel> model, const TunerConfig& config,
        TextData text, parallel::ProcessGrid grid = {});

  const TunerConfig& config() const noexcept { return config_; }
  /// With the weights of now; low-rank changes are in its kernels.
  const TransformerModel& model();
  /// The model's weights as another Tuner is made of them, under their paths: kernels without their
  /// low-rank changes. Within save().
  std::map<std::string, ConstView> weights();
  /// The low-rank matrices; none where part is another.
  ParameterList low_rank();

 private:
  void make_share();

  TunerConfig config_;
  std::shared_ptr<TransformerModel> model_;   // whole; null where another process has it
  std::unique_ptr<TransformerModel> shared_;  // what is trained where tensors are shared out
  std::unique_ptr<LoraModel> lora_;           // null unless part is lora
};

}  // namespace grouphead
