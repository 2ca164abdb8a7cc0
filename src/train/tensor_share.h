#pragma once

#include <memory>

#include "grouphead/models/models.h"
#include "grouphead/train/optimizers.h"

namespace grouphead::train {

/// A process's share of a language model whose heads and feed-forward columns several share out
/// (models/tensor_scope.h), and its way from and to the whole model, which files hold.
class TensorShare {
 public:
  /// `whole` outlives this. Errors: ConfigError unless the processes divide its key/value heads and
  /// its columns.
  TensorShare(std::shared_ptr<Communicator> job, LanguageModel& whole);

  LanguageModel& model() noexcept { return *model_; }
  /// `optimizer` is that of model(), built; `whole` gets the state of all, and is built here.
  /// `gathers`: whether gather() will be called.
  void own(AdamW& optimizer, std::shared_ptr<AdamW> whole, bool gathers);
  AdamW& whole_optimizer() noexcept { return *whole_optimizer_; }

  /// Copies this process's parts of weights and state. From here on the whole state is there in the
  /// process that gathers it alone.
  void share_out();
  /// The first process gets all parts of weights and state. All of `job` call it.
  void gather();

 private:
  void collect(ConstView part, const Shape& shape, View whole);

  std::shared_ptr<Communicator> job_;
  LanguageModel& whole_;
  std::unique_ptr<LanguageModel> model_;
  AdamW* optimizer_ = nullptr;
  std::shared_ptr<AdamW> whole_optimizer_;
  bool keeps_state_ = false;
};

}  // namespace grouphead::train
