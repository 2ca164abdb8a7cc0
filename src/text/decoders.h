#pragma once

// From tokens back to text. A decoder changes a list of tokens; here each is a stage that gets the
// tokens as they come, so that decode() and StreamDecoder are one mechanism.

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "grouphead/core/config_value.h"

namespace grouphead::text {

/// Gets tokens, each in one or more parts, and hands them on when they cannot change any more.
class DecoderStage {
 public:
  virtual ~DecoderStage() = default;
  /// More of the current token.
  virtual void part(std::string_view text) = 0;
  virtual void end_token() = 0;
  /// No token follows. The stage is as new afterwards.
  virtual void finish() = 0;

  void set_next(DecoderStage& next) noexcept { next_ = &next; }

 protected:
  DecoderStage& next() const noexcept { return *next_; }

 private:
  DecoderStage* next_ = nullptr;
};

/// The stages of one text.
class DecoderChain {
 public:
  explicit DecoderChain(std::vector<std::unique_ptr<DecoderStage>> stages);
  ~DecoderChain();
  DecoderChain(const DecoderChain&) = delete;
  DecoderChain& operator=(const DecoderChain&) = delete;

  void push(std::string_view token);
  void finish();
  /// What is decoded since the last call.
  std::string take();

 private:
  class Collector;

  std::vector<std::unique_ptr<DecoderStage>> stages_;
  std::unique_ptr<Collector> end_;
};

/// Makes the stages of a decoder.
using MakeStages = std::function<void(std::vector<std::unique_ptr<DecoderStage>>&)>;

/// Null: tokens with a space between. Errors: IoError for a type that is not known, and for
/// settings without sense.
MakeStages decoder_from(const ConfigValue& config);

}  // namespace grouphead::text
