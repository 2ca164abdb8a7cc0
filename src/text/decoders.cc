#include "text/decoders.h"

#include <utility>

#include "text/characters.h"
#include "text/problem.h"
#include "text/steps.h"
#include "text/token_decoders.h"

namespace grouphead::text {

/// The end of a chain: all text there is.
class DecoderChain::Collector final : public DecoderStage {
 public:
  void part(std::string_view part) override { text += part; }
  void end_token() override {}
  void finish() override {}

  std::string text;
};

namespace {

/// GPT-2's characters back to bytes, and these to text; a token that has other characters is text.
class ByteLevel final : public DecoderStage {
 public:
  void part(std::string_view text) override { token_ += text; }
  void end_token() override {
    const ByteAlphabet& alphabet = byte_alphabet();
    bytes_.clear();
    for (std::size_t at = 0; at < token_.size();) {
      const char32_t c = next_character(token_, at);
      const int byte = c < alphabet.bytes.size() ? alphabet.bytes[c] : -1;
      if (byte < 0) {
        bytes_ = token_;
        break;
      }
      bytes_ += static_cast<char>(byte);
    }
    token_.clear();
    has_tokens_ = true;
    text_.clear();
    repair_.add(bytes_, text_);
    next().part(text_);
  }
  void finish() override {
    text_.clear();
    repair_.finish(text_);
    next().part(text_);
    if (has_tokens_) next().end_token();
    has_tokens_ = false;
    next().finish();
  }

 private:
  std::string token_;
  std::string bytes_;
  std::string text_;
  bool has_tokens_ = false;
  Utf8Repair repair_;
};

/// All tokens become one.
class Fuse final : public DecoderStage {
 public:
  void part(std::string_view text) override { next().part(text); }
  void end_token() override { has_tokens_ = true; }
  void finish() override {
    if (has_tokens_) next().end_token();
    has_tokens_ = false;
    next().finish();
  }

 private:
  bool has_tokens_ = false;
};

/// Takes up to so many of one character from each end of a token.
class Strip final : public DecoderStage {
 public:
  Strip(std::string content, Index start, Index stop)
      : content_(std::move(content)), start_(start), stop_(stop) {}

  void part(std::string_view text) override {
    if (stop_ > 0) {  // what the end is shows at the end
      token_ += text;
    } else {
      next().part(without_start(text));
    }
  }
  void end_token() override {
    if (stop_ > 0) {
      std::string_view text = without_start(token_);
      for (Index i = 0; i < stop_ && text.ends_with(content_); ++i) {
        text.remove_suffix(content_.size());
      }
      next().part(text);
      token_.clear();
    }
    removed_ = 0;
    in_start_ = true;
    next().end_token();
  }
  void finish() override { next().finish(); }

 private:
  std::string_view without_start(std::string_view text) {
    while (in_start_ && !text.empty()) {
      in_start_ = removed_ < start_ && text.starts_with(content_);
      if (!in_start_) break;
      text.remove_prefix(content_.size());
      ++removed_;
    }
    return text;
  }

  std::string content_;
  Index start_;
  Index stop_;
  Index removed_ = 0;
  bool in_start_ = true;
  std::string token_;
};

/// Tokens with a space between, where a file has no decoder.
class Join final : public DecoderStage {
 public:
  void part(std::string_view text) override {
    if (needs_space_) next().part(" ");
    needs_space_ = false;
    next().part(text);
  }
  void end_token() override { needs_space_ = true; }
  void finish() override {
    needs_space_ = false;
    next().finish();
  }

 private:
  bool needs_space_ = false;
};

MakeStages make(const ConfigValue& config, StepCounter& steps) {
  steps.add();
  const std::string& type = config["type"].as_string("decoder's type");
  if (type == "Sequence") {
    std::vector<MakeStages> all;
    for (const ConfigValue& each : config["decoders"].as_list("decoders")) {
      all.push_back(make(each, steps));
    }
    return [all](std::vector<std::unique_ptr<DecoderStage>>& stages) {
      for (const MakeStages& each : all) each(stages);
    };
  }
  if (type == "ByteLevel") {
    return [](auto& stages) { stages.push_back(std::make_unique<ByteLevel>()); };
  }
  if (type == "Fuse") {
    return [](auto& stages) { stages.push_back(std::make_unique<Fuse>()); };
  }
  if (type == "Strip") {
    const std::string content = character_from(config["content"], "content");
    const Index start = config["start"].as_integer("start");
    const Index stop = config["stop"].as_integer("stop");
    return [=](auto& stages) { stages.push_back(std::make_unique<Strip>(content, start, stop)); };
  }
  MakeStages made = token_decoder_from(type, config);
  if (made == nullptr) refuse("decoder", "a type that is known", type);
  return made;
}

}  // namespace

DecoderChain::DecoderChain(std::vector<std::unique_ptr<DecoderStage>> stages)
    : stages_(std::move(stages)), end_(std::make_unique<Collector>()) {
  for (std::size_t i = 0; i < stages_.size(); ++i) {
    stages_[i]->set_next(i + 1 < stages_.size() ? *stages_[i + 1] : *end_);
  }
}

DecoderChain::~DecoderChain() = default;

void DecoderChain::push(std::string_view token) {
  DecoderStage& first = stages_.empty() ? static_cast<DecoderStage&>(*end_) : *stages_[0];
  first.part(token);
  first.end_token();
}

void DecoderChain::finish() {
  if (!stages_.empty()) stages_[0]->finish();
}

std::string DecoderChain::take() { return std::exchange(end_->text, {}); }

MakeStages decoder_from(const ConfigValue& config) {
  StepCounter steps;
  if (!config.is_null()) return make(config, steps);
  return [](auto& stages) { stages.push_back(std::make_unique<Join>()); };
}

}  // namespace grouphead::text
