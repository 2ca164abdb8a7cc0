#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include "grouphead/train/fit.h"
#include "parallel/process_grid.h"
#include "train/tensor_share.h"
#include "train/text_data.h"

namespace grouphead {

/// How a causal model is trained on text: everything that decides a run's bits, but the model, the
/// text and the instruction-set level.
struct TextTrainingConfig {
  Index sequence_length = 256;  ///< T
  Index batch_size = 16;        ///< B
  Index accumulate = 1;         ///< batches whose mean gradient is one step
  Index steps = 400;
  double learning_rate = 2e-3;  ///< reached after warm-up, then a cosine down to a tenth
  Index warmup_steps = 40;
  double weight_decay = 0.1;
  bool decays_all = true;  ///< false: neither biases nor gains
  double clipnorm = 1;
  std::uint64_t seed = 0;  ///< of batches and dropout
  Index batch_blocks = 1;  ///< CompileConfig::batch_blocks; 1 or more
};

/// Trains step by step, with CompiledModel's step. After restore(), with the same weights and
/// moments, it goes on as if it had never stopped: batches and dropout are functions of the step.
class TextTraining {
 public:
  virtual ~TextTraining() = default;
  TextTraining(const TextTraining&) = delete;
  TextTraining& operator=(const TextTraining&) = delete;

  struct StepResult {
    double loss = 0;  ///< nats per token, before the step
    double learning_rate = 0;
    double gradient_norm = 0;  ///< before clipping
  };
  StepResult step();
  /// Mean loss over windows spread over the held-out part, nats per token.
  double validate();

  Index steps_done() const noexcept { return steps_done_; }
  Index steps() const noexcept { return config_.steps; }
  bool is_done() const noexcept { return steps_done_ >= config_.steps; }
  Index tokens_per_step() const noexcept {
    return config_.accumulate * config_.batch_size * config_.sequence_length;
  }

  Context& context() const noexcept { return ctx_; }
  /// The processes that train; null: this one.
  Communicator* job() const noexcept { return grid_.job.get(); }
  /// Where step() writes when it did what; null: nowhere.
  void set_trace(StepTrace* trace) noexcept { compiled_->trace = trace; }
  const TextData& text() const noexcept { return text_; }
  AdamW& optimizer() noexcept { return *optimizer_; }
  /// Whether the model's tensors are here as a whole.
  bool has_whole_tensors() const noexcept { return share_ == nullptr; }
  /// The weights of what is trained, all of them, and the optimizer's state.
  std::vector<train::WholeTensor> model_weights();
  std::vector<train::WholeTensor> moments();
  /// In the first process write(), which may read them. All call it.
  void save(const std::function<void()>& write);
  const RandomStream& dropout_stream() const noexcept { return dropout_stream_; }
  /// Sets what is not in weights and moments.
  void restore(Index steps_done, std::uint64_t next_dropout_draw) noexcept;

 protected:
  /// `grid`: the communicators of CompileConfig. Errors: ConfigError.
  TextTraining(Context& ctx, const TextTrainingConfig& config, TextData text,
               parallel::ProcessGrid grid);
  const parallel::ProcessGrid& grid() const noexcept { return grid_; }
  /// Before the model is made, where grid() has processes for its tensors. Errors: ConfigError
  /// unless these divide its key/value heads and feed-forward columns.
  void share_tensors(Index heads, Index columns);
  /// What it is made with; null: as a whole.
  models::TensorParts* tensor_parts() noexcept { return share_ ? &share_->parts() : nullptr; }
  /// `model` lives as long as this. Before the first step.
  void compile(Layer& model);

 private:
  Context& ctx_;
  TextTrainingConfig config_;
  parallel::ProcessGrid grid_;
  TextData text_;
  std::shared_ptr<AdamW> optimizer_;
  std::unique_ptr<train::TensorShare> share_;  // null: tensors are whole
  ParameterList parameters_;                   // of the compiled model
  std::optional<CompiledModel> compiled_;
  RandomStream dropout_stream_;
  Tensor tokens_;  // [B, T]
  Tensor labels_;  // [B, T]
  Index steps_done_ = 0;
};

}  // namespace grouphead
