#pragma once

#include "grouphead/train/fit.h"
#include "train/compiled_loss.h"
#include "train/compiled_metrics.h"
#include "train/gradient_sums.h"

namespace grouphead {

struct CompiledModel::State {
  Layer& model;
  CompileConfig config;
  std::shared_ptr<Optimizer> optimizer;
  train::CompiledLoss loss;
  train::CompiledMetrics metrics;
  std::vector<std::string> output_names{};  // this and the next are empty until is_ready
  ParameterList parameters{};
  bool is_ready = false;  // whether the model is built, and the optimizer for its parameters
  std::unique_ptr<Grads> grads{};               // made for the first step
  StateUpdates updates{};                       // of the last batch, until its step
  std::unique_ptr<train::GradientSums> sums{};  // null: batches are not cut; made with grads
  double gradient_norm = 0;
  Mean mean_loss{MetricConfig{.name = "loss"}};
  bool is_between_validations = false;
  bool is_interrupted = false;
  bool is_prepared = false;
  Index blocks = 1;                 // of a batch
  bool has_several_losses = false;  // as all processes of a job know
  RandomStream own_random{0};       // of blocks, where the caller has none

  /// Processes that share out a sequence.
  Index sequence_size() const noexcept { return config.sequence ? config.sequence->size() : 1; }
  /// What this process has of a block. Blocks are those of the samples as often as sequences have
  /// parts: first of all first parts, then of all second ones, ...
  Data part_of(const Data& batch, const parallel::BatchBlock& block) const;
  /// Takes what a built model has. Errors: ConfigError.
  void adopt();
  /// The same, of a model that is built first, as Keras does at the first batch, where it is not.
  /// Errors: ConfigError where x has no tensor; what build() throws.
  void build_for(const std::vector<Tensor>& x);
  /// Makes `sums` for a first batch of so many samples. Errors: ConfigError.
  void prepare(Index samples);
  /// Forward, loss and backward of a batch: grads has the gradients, without penalties of weights.
  double run(Context& ctx, const Data& batch, RandomStream* random, LossSink& penalties);
  /// The same of a batch's blocks over all processes. The gradients of a parameter are where its
  /// owner is.
  double run_blocks(Context& ctx, const Data& batch, RandomStream* random, StepTrace* events);
  /// Forward and loss alone.
  double test(Context& ctx, const Data& batch, LossSink& penalties);
  double test_blocks(Context& ctx, const Data& batch);
  /// After the blocks of a batch: metrics and losses of outputs become those of the job.
  void collect();
};

}  // namespace grouphead
