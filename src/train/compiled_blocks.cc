// One batch of a CompiledModel, as a whole or in blocks over the processes of a job.

#include <algorithm>

#include "core/check.h"
#include "grouphead/models/model.h"
#include "grouphead/models/models.h"
#include "grouphead/models/transformer.h"
#include "nn/sequence_scope.h"
#include "nn/whole_gradients.h"
#include "parallel/owners.h"
#include "parallel/watch.h"
#include "train/batches.h"
#include "train/compiled_state.h"

namespace grouphead {
namespace {

using parallel::BatchBlock;

/// Draws of dropout between two blocks: more than any model makes.
constexpr int kDrawsOfBlock = 32;  // 2^32
constexpr int kRingThread = 1;     // of a trace; 0: sums of gradients

/// `number`: of the block among those of a batch.
RandomStream stream_of(const RandomStream& step, Index number) {
  return RandomStream(step.seed(),
                      step.next_draw() + (static_cast<std::uint64_t>(number) << kDrawsOfBlock));
}

/// Whether backward() of the model says which gradients are whole, and is its only caller.
bool tells_whole_gradients(const Layer& model) {
  return dynamic_cast<const Model*>(&model) != nullptr ||
         dynamic_cast<const LanguageModel*>(&model) != nullptr ||
         dynamic_cast<const TransformerModel*>(&model) != nullptr;
}

/// Writes down what is watched.
parallel::Watch watch_of(StepTrace* trace) {
  return [trace](std::string name, bool is_communication, const std::function<void()>& work) {
    const double begin = trace->now();
    work();
    trace->add({.name = std::move(name),
                .is_communication = is_communication,
                .begin = begin,
                .end = trace->now(),
                .thread = is_communication ? kRingThread : 0});
  };
}

/// body(), as an event of the trace where there is one.
template <class Body>
void traced(std::string name, Body&& body) {
  parallel::watched(parallel::WatchScope::current(), std::move(name), false, body);
}

double weighted_sum(const std::vector<BatchBlock>& blocks, const std::vector<double>& values,
                    Index samples) {
  double sum = 0;
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    sum += values[i] * static_cast<double>(blocks[i].end - blocks[i].begin) /
           static_cast<double>(samples);
  }
  return sum;
}

}  // namespace

void CompiledModel::State::prepare(Index samples) {
  if (is_prepared) return;
  is_prepared = true;
  blocks = config.batch_blocks;
  if (blocks == 0) blocks = config.communicator ? parallel::default_blocks(samples) : 1;
  if (blocks == 1 && !config.communicator) return;
  const auto job = config.communicator ? config.communicator : Communicator::alone();
  const Index processes = job->size() / sequence_size();
  if (blocks < processes) {
    core::throw_config_error("compile", "batch_blocks",
                             "1 or more for each of " + std::to_string(processes) +
                                 " processes; a batch of " + std::to_string(samples) +
                                 " has, where none are given,",
                             std::to_string(blocks));
  }
  ParameterList trained;
  std::vector<Index> elements;
  for (const NamedParameter& named : parameters) {
    if (!named.parameter->trainable()) continue;
    trained.push_back(named);
    elements.push_back(named.parameter->shape().size());
  }
  auto owners = parallel::owners_of(elements, job->size());
  sums = std::make_unique<train::GradientSums>(job, blocks * sequence_size(), std::move(trained),
                                               std::move(owners));
}

Data CompiledModel::State::part_of(const Data& batch, const BatchBlock& block) const {
  const Index samples = train::num_samples(batch);
  const Index first = block.begin % samples;
  const Data part = train::slice(batch, first, first + block.end - block.begin);
  return config.sequence ? train::sequence_part(part, *config.sequence) : part;
}

double CompiledModel::State::run(Context& ctx, const Data& batch, RandomStream* random,
                                 LossSink& penalties) {
  if (!grads) grads = std::make_unique<Grads>(ctx, parameters);
  updates = {};
  const Mode mode{.training = true, .random = random, .losses = &penalties, .updates = &updates};
  const std::vector<Value> in = train::values_of(batch.x);
  std::unique_ptr<Saved> saved;
  const std::vector<Value> out = model.call(ctx, in, mode, &saved);
  output_names.resize(out.size());

  std::vector<Tensor> d_outputs;
  const double value = loss.value(ctx, batch, out, &d_outputs);
  const std::vector<ConstView> d_out(d_outputs.begin(), d_outputs.end());
  std::vector<View> d_in(in.size());
  grads->zero();
  model.call_backward(ctx, *saved, d_out, d_in, *grads);
  metrics.update(ctx, batch, out);
  return value;
}

double CompiledModel::State::run_blocks(Context& ctx, const Data& batch, RandomStream* random,
                                        StepTrace* events) {
  if (!grads) grads = std::make_unique<Grads>(ctx, parameters);
  const Index samples = train::num_samples(batch) * sequence_size();
  const nn::SequenceScope sequence(config.sequence.get());
  const parallel::Watch watch = watch_of(events);
  const parallel::WatchScope watching(events != nullptr ? &watch : nullptr);
  const std::vector<BatchBlock>& own = sums->begin(samples, events);
  if (random == nullptr) random = &own_random;
  const RandomStream step = *random;
  std::uint64_t draws = 0;
  std::vector<double> losses;
  const nn::WholeGradientsScope::Listener mark = [this](const Parameter& parameter) {
    sums->mark_whole(parameter);
  };
  for (const BatchBlock& block : own) {
    const bool is_last = &block == &own.back();
    RandomStream stream = stream_of(step, block.number % blocks);
    const std::uint64_t first = stream.next_draw();
    LossSink penalties;
    traced("forward and backward of block " + std::to_string(block.number), [&] {
      const Data part = part_of(batch, block);
      if (is_last) sums->begin_last(*grads);
      const nn::WholeGradientsScope scope(is_last && tells_whole_gradients(model) ? &mark
                                                                                  : nullptr);
      losses.push_back(run(ctx, part, &stream, penalties));
    });
    for (const double penalty : penalties.losses()) losses.back() += penalty;
    draws = stream.next_draw() - first;
    if (!is_last) traced("adding", [&] { sums->add(block, *grads); });
  }
  if (own.empty()) sums->begin_last(*grads);
  traced("waiting for the sums", [&] { sums->finish(); });
  // A process without samples has drawn nothing.
  const std::vector<double> all_draws = sums->job().all_gather(static_cast<double>(draws));
  draws = static_cast<std::uint64_t>(*std::max_element(all_draws.begin(), all_draws.end()));
  *random = RandomStream(step.seed(), step.next_draw() + draws);
  collect();
  return weighted_sum(sums->all_blocks(), sums->gather(losses), samples);
}

double CompiledModel::State::test(Context& ctx, const Data& batch, LossSink& penalties) {
  const Mode mode{.losses = &penalties};
  const std::vector<Value> out = model.call(ctx, train::values_of(batch.x), mode, nullptr);
  output_names.resize(out.size());
  const double value = loss.value(ctx, batch, out, nullptr);
  metrics.update(ctx, batch, out);
  return value;
}

double CompiledModel::State::test_blocks(Context& ctx, const Data& batch) {
  const Index samples = train::num_samples(batch) * sequence_size();
  const nn::SequenceScope sequence(config.sequence.get());
  std::vector<double> losses;
  for (const BatchBlock& block : sums->begin(samples, nullptr)) {
    LossSink penalties;
    losses.push_back(test(ctx, part_of(batch, block), penalties));
    for (const double penalty : penalties.losses()) losses.back() += penalty;
  }
  collect();
  return weighted_sum(sums->all_blocks(), sums->gather(losses), samples);
}

void CompiledModel::State::collect() {
  if (!config.metrics.empty() || !config.weighted_metrics.empty()) metrics.collect(sums->job());
  if (has_several_losses) loss.collect(sums->job());
}

bool CompiledModel::any_process(bool own) const {
  const auto& job = state_->config.communicator;
  return job ? job->any(own) : own;
}

}  // namespace grouphead
