#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "grouphead/models/generation.h"

#pragma GCC visibility push(default)
namespace grouphead {

struct BatchGeneratorConfig {
  Index max_sequences = 8;  ///< that run beside each other; others wait
  Index capacity = 1024;    ///< tokens of a sequence, its prompt counted
  Index num_blocks = 0;     ///< of 64 tokens, which the sequences share; 0: enough for all
  std::optional<Dtype> cache_dtype{};  ///< see KvCacheConfig; absent: the model's own
};

/// Continues many prompts at once, which come and go at any step: each step reads the weights once
/// for all of them.
///
/// A sequence gets the tokens that a Generation of it alone draws, bit for bit, whoever runs beside
/// it. Prompts are read in the same pieces as there, beside the others' steps. Where a prompt
/// begins like that of a sequence that runs, it shares whole blocks of the cache with it and does
/// not read them again (not with a cache of u8, whose bits depend on how tokens arrive).
///
///     BatchGenerator batch(ctx, model);
///     const Index id = batch.add(prompt, {.max_tokens = 100});
///     while (!batch.is_idle()) {
///       for (const BatchToken& one : batch.step()) show(one.id, one.token);
///     }
///     const std::vector<std::int32_t> text = batch.take(id);
///
/// Memory   a paged KvCache of num_blocks, taken once; blocks for a whole sequence are promised to
///          it before it starts, so that none runs out of them
/// Threads  one caller at a time; `model` may serve others meanwhile, each with its own Context
class BatchGenerator {
 public:
  /// `model` and `ctx` must outlive this. A table of positions limits the capacity.
  /// Errors: ConfigError for sizes below 1, or a model that is not causal or has no head.
  BatchGenerator(Context& ctx, const LanguageModel& model, const BatchGeneratorConfig& config = {});
  BatchGenerator(Context& ctx, const TransformerModel& model,
                 const BatchGeneratorConfig& config = {});
  ~BatchGenerator();
  BatchGenerator(BatchGenerator&&) noexcept;
  BatchGenerator& operator=(BatchGenerator&&) noexcept;

  /// A new sequence; its number. It starts in the next step that has room for it, in the order of
  /// the calls.
  /// Errors: ConfigError for an empty prompt, options out of range, a draft or a cache_dtype of its
  /// own, and for more tokens than fit; ShapeError for a token outside [0, V).
  Index add(std::span<const std::int32_t> prompt, const GenerationOptions& options = {});

  struct Token {
    Index id = 0;
    std::int32_t token = 0;
    bool is_last = false;
  };
  /// One step of all that run: a token of each whose prompt is read, in the order of add(). A
  /// sequence whose processor throws, or whose logits are not finite, ends; take() throws that.
  std::vector<Token> step();
  /// Whether nothing runs or waits.
  bool is_idle() const noexcept;
  Index num_running() const noexcept;
  Index num_waiting() const noexcept;

  /// Ends a sequence with the tokens it has; one that has ended stays. Errors, here and below:
  /// ConfigError for a number that is not there.
  void cancel(Index id);
  bool is_done(Index id) const;
  /// The tokens after the prompt, once: then the sequence is forgotten. Errors: ConfigError while
  /// it runs; what ended it.
  std::vector<std::int32_t> take(Index id);
  /// How many tokens of prompts were not read, as others had read them.
  Index num_shared() const noexcept;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

using BatchToken = BatchGenerator::Token;

}  // namespace grouphead
#pragma GCC visibility pop
