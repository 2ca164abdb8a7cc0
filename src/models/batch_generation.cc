#include "grouphead/models/batch_generation.h"

#include <algorithm>
#include <exception>
#include <functional>
#include <map>

#include "core/check.h"
#include "models/prompt_pieces.h"
#include "ops/attention.h"

namespace grouphead {
namespace {

constexpr std::string_view kBatch = "batch_generator";
constexpr Index kBlock = 64;  // positions of a block of a paged cache

void require(bool holds, std::string_view option, std::string_view expected, Index got) {
  if (!holds) core::throw_config_error(kBatch, option, expected, std::to_string(got));
}

Index blocks_of(Index positions) { return (positions + kBlock - 1) / kBlock; }

/// One text from add() to take().
struct Sequence {
  Index id = 0;
  GenerationOptions options{};
  Sampler sampler;
  std::vector<std::int32_t> tokens{};  // the prompt and the text
  Index prompt = 0;
  Index slot = -1;  // its place in the cache while it runs
  Index read = 0;   // so many of tokens are in the cache
  Index remaining = 0;
  std::exception_ptr error{};

  Index size() const { return static_cast<Index>(tokens.size()); }
  /// Positions that it may take in all: the last token is not read.
  Index most_positions() const { return prompt + std::max<Index>(options.max_tokens, 1) - 1; }
  /// Where the piece that is read next ends.
  Index piece_end() const { return std::min((read / kPromptPiece + 1) * kPromptPiece, size()); }
};

/// The model behind a batch.
struct BatchModel {
  Index vocab_size = 0;
  Index group = 1;          // query heads of a key/value head
  Index max_positions = 0;  // 0: no limit
  Dtype dtype = Dtype::f32;
  std::function<void(ConstView, std::span<const SequenceRows>, KvCache&, View)> step{};
};

template <class Model>
BatchModel batch_model(Context& ctx, const Model& model, Index query_heads, Index key_value_heads) {
  return {
      .vocab_size = model.config().vocab_size,
      .group = query_heads / key_value_heads,
      .dtype = model.dtype(),
      .step = [&ctx, &model](ConstView tokens, std::span<const SequenceRows> rows, KvCache& cache,
                             View logits) { model.step(ctx, tokens, rows, cache, logits); }};
}

template <class Model>
KvCache make_cache(Context& ctx, const Model& model, const BatchGeneratorConfig& config,
                   Index max_positions) {
  require(config.max_sequences >= 1, "max_sequences", "1 or more", config.max_sequences);
  require(config.capacity >= 1, "capacity", "1 or more", config.capacity);
  require(config.num_blocks >= 0, "num_blocks", "0 or more", config.num_blocks);
  KvCacheConfig cache = model.make_cache(ctx, 1, kBlock, config.cache_dtype).config();
  cache.batch = config.max_sequences;
  cache.capacity = max_positions > 0 ? std::min(config.capacity, max_positions) : config.capacity;
  cache.num_blocks =
      config.num_blocks > 0 ? config.num_blocks : config.max_sequences * blocks_of(cache.capacity);
  return {ctx, cache};
}

}  // namespace

struct BatchGenerator::State {
  Context& ctx;
  BatchModel model;
  KvCache cache;
  Index capacity;                                    // tokens of one sequence
  std::map<Index, std::unique_ptr<Sequence>> all{};  // by number
  std::vector<Sequence*> running{}, waiting{};       // in the order of add()
  Index next_id = 0;
  Index num_shared = 0;

  Sequence& find(Index id) const {
    const auto found = all.find(id);
    if (found != all.end()) return *found->second;
    core::throw_config_error(kBatch, "id", "a sequence of this batch", std::to_string(id));
  }
  bool runs(const Sequence& one) const {
    return std::find(running.begin(), running.end(), &one) != running.end() ||
           std::find(waiting.begin(), waiting.end(), &one) != waiting.end();
  }
  void end(Sequence& one) {
    if (one.slot >= 0) cache.truncate(one.slot, 0);
    one.slot = -1;
    std::erase(running, &one);
    std::erase(waiting, &one);
  }

  void admit();
  bool has_room(const Sequence& one, Index shared) const;
  Index free_slot() const;
  Index large_until(const Sequence& one) const;
  Index shareable(const Sequence& from, const Sequence& one) const;
  std::vector<Sequence*> next_rows(std::vector<SequenceRows>& rows,
                                   std::vector<std::int32_t>& tokens) const;
  bool draw(Sequence& one, ConstView logits, std::vector<Token>& out);
};

Index BatchGenerator::State::free_slot() const {
  for (Index slot = 0; slot < cache.config().batch; ++slot) {
    if (std::none_of(running.begin(), running.end(),
                     [slot](const Sequence* one) { return one->slot == slot; })) {
      return slot;
    }
  }
  return -1;
}

// Blocks for all that it may read, beside those that the others were promised.
bool BatchGenerator::State::has_room(const Sequence& one, Index shared) const {
  Index wanted = blocks_of(one.most_positions()) - shared / kBlock;
  for (const Sequence* other : running) {
    wanted += blocks_of(other->most_positions()) - blocks_of(other->read);
  }
  return wanted <= cache.num_free_blocks();
}

// Few rows run through other kernels than many (kMostDecodeRows), whose last bits differ: so many
// positions of its prompt are read as one of many.
Index BatchGenerator::State::large_until(const Sequence& one) const {
  const Index last = (one.prompt - 1) / kPromptPiece * kPromptPiece;
  return (one.prompt - last) * model.group > ops::kMostDecodeRows ? one.prompt : last;
}

// How many positions `one` can take from `from`: whole blocks of the same tokens, which both read
// by the same kernels, and behind which `one` goes on with those it would have read them by.
Index BatchGenerator::State::shareable(const Sequence& from, const Sequence& one) const {
  if (cache.config().dtype == Dtype::u8) return 0;
  const Index most =
      std::min(std::min(from.read, large_until(from)), std::min(one.prompt - 1, large_until(one)));
  const auto apart =
      std::mismatch(one.tokens.begin(), one.tokens.begin() + most, from.tokens.begin());
  Index shared = (apart.first - one.tokens.begin()) / kBlock * kBlock;
  const Index piece_end = std::min((shared / kPromptPiece + 1) * kPromptPiece, one.prompt);
  const bool is_small = (piece_end - shared) * model.group <= ops::kMostDecodeRows;
  if (is_small && shared % kPromptPiece != 0) shared -= kBlock;
  return shared;
}

void BatchGenerator::State::admit() {
  while (!waiting.empty()) {
    Sequence& one = *waiting.front();
    const Sequence* source = nullptr;
    Index shared = 0;
    for (const Sequence* other : running) {
      const Index positions = shareable(*other, one);
      if (positions > shared) {
        source = other;
        shared = positions;
      }
    }
    const Index slot = free_slot();
    if (slot < 0 || !has_room(one, shared)) return;
    if (source != nullptr) {
      cache.fork(source->slot, slot);
      cache.truncate(slot, shared);
    }
    one.slot = slot;
    one.read = shared;
    num_shared += shared;
    waiting.erase(waiting.begin());
    running.push_back(&one);
  }
}

// One token of each whose prompt is read, and as many pieces of prompts as fit into one more.
std::vector<Sequence*> BatchGenerator::State::next_rows(std::vector<SequenceRows>& rows,
                                                        std::vector<std::int32_t>& tokens) const {
  std::vector<Sequence*> owners;
  Index prompts = 0;
  for (Sequence* one : running) {
    const Index count = one->piece_end() - one->read;
    const bool reads_prompt = one->read < one->prompt;
    if (reads_prompt && prompts > 0 && prompts + count > kPromptPiece) continue;
    if (reads_prompt) prompts += count;
    rows.push_back({.sequence = one->slot, .count = count});
    tokens.insert(tokens.end(), one->tokens.begin() + one->read,
                  one->tokens.begin() + one->piece_end());
    owners.push_back(one);
  }
  return owners;
}

// Its next token from logits [V]. Whether it goes on.
bool BatchGenerator::State::draw(Sequence& one, ConstView logits, std::vector<Token>& out) {
  try {
    if (one.read <= one.prompt && one.options.on_prompt) one.options.on_prompt(one.read);
    if (one.read < one.size()) return true;
    const std::int32_t token = one.sampler.draw(static_cast<std::uint64_t>(one.size() - one.prompt),
                                                logits, one.tokens, one.prompt);
    one.tokens.push_back(token);
    const std::vector<std::int32_t>& stops = one.options.stop_tokens;
    const bool is_stop = std::find(stops.begin(), stops.end(), token) != stops.end();
    one.remaining = is_stop ? 0 : one.remaining - 1;
    out.push_back({.id = one.id, .token = token, .is_last = one.remaining == 0});
  } catch (...) {
    one.error = std::current_exception();
    return false;
  }
  return one.remaining > 0;
}

BatchGenerator::BatchGenerator(Context& ctx, const LanguageModel& model,
                               const BatchGeneratorConfig& config) {
  const TransformerConfig& stack = model.config().transformer;
  state_ = std::make_unique<State>(
      State{.ctx = ctx,
            .model = batch_model(ctx, model, stack.num_heads, stack.num_key_value_heads),
            .cache = make_cache(ctx, model, config, 0),
            .capacity = config.capacity});
}

BatchGenerator::BatchGenerator(Context& ctx, const TransformerModel& model,
                               const BatchGeneratorConfig& config) {
  const TransformerModelConfig& c = model.config();
  if (!c.head) core::throw_config_error(kBatch, "model", "one with a head", "one without");
  const Index positions = c.max_positions > 0 ? c.max_positions - c.position_offset : 0;
  state_ = std::make_unique<State>(State{
      .ctx = ctx,
      .model = batch_model(ctx, model, c.attention.num_heads, c.attention.num_key_value_heads),
      .cache = make_cache(ctx, model, config, positions),
      .capacity = positions > 0 ? std::min(config.capacity, positions) : config.capacity});
}

BatchGenerator::~BatchGenerator() = default;
BatchGenerator::BatchGenerator(BatchGenerator&&) noexcept = default;
BatchGenerator& BatchGenerator::operator=(BatchGenerator&&) noexcept = default;

Index BatchGenerator::add(std::span<const std::int32_t> prompt, const GenerationOptions& options) {
  State& s = *state_;
  require(!prompt.empty(), "prompt", "1 token or more", 0);
  require(options.max_tokens >= 0, "max_tokens", "0 or more", options.max_tokens);
  require(!options.draft, "draft", "none in a batch", 1);
  require(!options.cache_dtype, "cache_dtype", "the batch's", 1);
  for (const std::int32_t token : prompt) {
    if (token >= 0 && token < s.model.vocab_size) continue;
    core::throw_shape_error(kBatch, "prompt",
                            "tokens in [0, " + std::to_string(s.model.vocab_size) + ")",
                            std::to_string(token));
  }
  auto one = std::make_unique<Sequence>(
      Sequence{.id = s.next_id,
               .options = options,
               .sampler = Sampler(options.sampling, s.model.vocab_size, options.processors),
               .tokens = {prompt.begin(), prompt.end()},
               .prompt = static_cast<Index>(prompt.size()),
               .remaining = options.max_tokens});
  const Index most =
      std::min(s.capacity, std::min(s.cache.capacity(), s.cache.config().num_blocks * kBlock));
  require(options.max_tokens <= most && one->most_positions() <= most, "prompt and max_tokens",
          "room for them, at most " + std::to_string(most) + " tokens",
          one->prompt + options.max_tokens);
  if (options.max_tokens > 0) s.waiting.push_back(one.get());
  s.all.emplace(s.next_id, std::move(one));
  return s.next_id++;
}

std::vector<BatchGenerator::Token> BatchGenerator::step() {
  State& s = *state_;
  s.admit();
  std::vector<SequenceRows> rows;
  std::vector<std::int32_t> tokens;
  const std::vector<Sequence*> owners = s.next_rows(rows, tokens);
  std::vector<Token> drawn;
  if (owners.empty()) return drawn;
  const auto count = static_cast<Index>(rows.size());
  Tensor logits = s.ctx.tensor({count, s.model.vocab_size}, s.model.dtype);
  s.model.step(ConstView(tokens.data(), Shape{static_cast<Index>(tokens.size())}), rows, s.cache,
               logits);
  for (Index i = 0; i < count; ++i) {
    Sequence& one = *owners[static_cast<std::size_t>(i)];
    one.read += rows[static_cast<std::size_t>(i)].count;
    const ConstView row = logits.view().slice(0, i, i + 1).reshaped({s.model.vocab_size});
    if (!s.draw(one, row, drawn)) s.end(one);
  }
  return drawn;
}

bool BatchGenerator::is_idle() const noexcept {
  return state_->running.empty() && state_->waiting.empty();
}
Index BatchGenerator::num_running() const noexcept {
  return static_cast<Index>(state_->running.size());
}
Index BatchGenerator::num_waiting() const noexcept {
  return static_cast<Index>(state_->waiting.size());
}
Index BatchGenerator::num_shared() const noexcept { return state_->num_shared; }

void BatchGenerator::cancel(Index id) { state_->end(state_->find(id)); }

bool BatchGenerator::is_done(Index id) const { return !state_->runs(state_->find(id)); }

std::vector<std::int32_t> BatchGenerator::take(Index id) {
  Sequence& one = state_->find(id);
  if (state_->runs(one)) {
    core::throw_config_error(kBatch, "id", "a sequence that has ended", std::to_string(id));
  }
  const std::unique_ptr<Sequence> taken = std::move(state_->all.at(id));
  state_->all.erase(id);
  if (taken->error) std::rethrow_exception(taken->error);
  return {taken->tokens.begin() + taken->prompt, taken->tokens.end()};
}

}  // namespace grouphead
