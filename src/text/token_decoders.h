#pragma once

// Stages that look at whole tokens.

#include "text/decoders.h"

namespace grouphead::text {

/// A stage that gets its tokens whole.
class TokenStage : public DecoderStage {
 public:
  void part(std::string_view text) final { token_ += text; }
  void end_token() final {
    token(token_);
    token_.clear();
  }

 protected:
  virtual void token(std::string& text) = 0;
  void emit(std::string_view text) const {
    next().part(text);
    next().end_token();
  }

 private:
  std::string token_;
};

/// Null for a type that is not one of them.
MakeStages token_decoder_from(const std::string& type, const ConfigValue& config);

}  // namespace grouphead::text
