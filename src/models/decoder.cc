#include "grouphead/models/decoder.h"

#include "core/check.h"

namespace grouphead {
namespace {

/// Of LanguageModel and TransformerModel, which have the same functions for it.
template <class Model>
class CachedDecoder final : public Decoder {
 public:
  CachedDecoder(Context& ctx, const Model& model, const DecoderOptions& options)
      : model_(model), cache_(model.make_cache(ctx, 1, options.capacity, options.cache_dtype)) {}

  Index vocab_size() const override { return model_.config().vocab_size; }
  Dtype dtype() const override { return model_.dtype(); }
  Index length() const override { return cache_.length(); }
  Index capacity() const override { return cache_.capacity(); }
  void reserve(Context& ctx, Index capacity) override { cache_.reserve(ctx, capacity); }
  void truncate(Index length) override { cache_.truncate(length); }
  std::unique_ptr<Decoder> fork(Context& ctx) const override {
    auto other = std::make_unique<CachedDecoder>(
        ctx, model_,
        DecoderOptions{.capacity = cache_.capacity(), .cache_dtype = cache_.config().dtype});
    other->cache_.fork(cache_, 0, 0);
    return other;
  }
  void read(Context& ctx, ConstView tokens, View logits) override {
    core::require_dense("decode", "tokens", tokens, {-1}, Dtype::i32);
    const Index count = tokens.dim(0);
    const bool is_last = logits.shape().rank() == 1;
    model_.step(
        ctx, tokens.reshaped({1, count}), cache_,
        is_last ? logits.reshaped({1, logits.size()}) : logits.reshaped({1, count, vocab_size()}));
  }

 private:
  const Model& model_;
  KvCache cache_;
};

}  // namespace

std::unique_ptr<Decoder> make_decoder(Context& ctx, const LanguageModel& model,
                                      const DecoderOptions& options) {
  return std::make_unique<CachedDecoder<LanguageModel>>(ctx, model, options);
}

std::unique_ptr<Decoder> make_decoder(Context& ctx, const TransformerModel& model,
                                      const DecoderOptions& options) {
  if (!model.config().head) {
    core::throw_config_error("decode", "model", "one with a head", "one without");
  }
  return std::make_unique<CachedDecoder<TransformerModel>>(ctx, model, options);
}

}  // namespace grouphead
