#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "grouphead/models/decoder.h"
#include "grouphead/text/tokenizer.h"

namespace grouphead::tools {

/// A causal model of a folder that `train` or transformers wrote, or of a .keras file.
struct CausalModel {
  std::shared_ptr<Layer> layer{};
  std::function<std::unique_ptr<Decoder>(Context& ctx, const DecoderOptions& options)> decoder{};
  /// Absent: tokens are bytes, or nobody asked for it.
  std::optional<Tokenizer> tokenizer{};
  /// Tokens that it was made for; absent: it is not said.
  std::optional<Index> length{};

  /// Whole, with the special tokens of the tokenizer.
  std::vector<std::int32_t> tokens_of(const std::string& text) const;
};

/// Without its tokenizer. Errors: IoError.
CausalModel read_causal_model(const std::filesystem::path& path);

/// `tokenizer`: in place of the folder's; empty: that one. `verb` is for messages.
/// Errors: IoError; ConfigError for a file of Keras without a tokenizer, and for one with bytes.
CausalModel load_causal_model(const std::string& verb, const std::filesystem::path& path,
                              const std::string& tokenizer);

}  // namespace grouphead::tools
