#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string_view>
#include <vector>

#include "grouphead/core/config_value.h"
#include "grouphead/text/tokenizer.h"
#include "text/added_tokens.h"
#include "text/decoders.h"
#include "text/models.h"
#include "text/post_processors.h"
#include "text/steps.h"
#include "text/word_cache.h"

namespace grouphead::text {

/// A tokenizer: what its file describes, ready to run. Threads: every function, several at a time.
class Pipeline {
 public:
  /// Of a tokenizer.json. Errors: IoError; ConfigError where a value has another type.
  explicit Pipeline(const ConfigValue& config);

  /// Without padding. `second` may be absent.
  Encoding encode(std::string_view first, std::optional<std::string_view> second,
                  const EncodeOptions& options) const;
  const std::optional<Padding>& padding() const noexcept { return padding_; }

  std::unique_ptr<DecoderChain> decoder() const;
  /// Null for an id that is not known, or is left out.
  const std::string* shown_token(std::int32_t id, bool skip_special_tokens) const;

  std::int32_t id_of(std::string_view token) const noexcept;
  const std::string* token_of(std::int32_t id) const noexcept;
  std::size_t vocabulary_size() const noexcept;

 private:
  /// Memory of one call, used again by later ones.
  struct Workspace {
    Pieces pieces{};
    NormalizedText normalized{};
    std::vector<Piece> original_cuts{};
    std::vector<Piece> normalized_cuts{};
    StepMemory steps{};
    ModelMemory model{};
    WordCache cache{};
  };

  Encoding encode_text(std::string_view text, std::int32_t type, Workspace& work) const;
  void cut(std::string_view text, Workspace& work) const;
  void add_words(std::string_view text, std::vector<std::int32_t>& ids, Workspace& work) const;
  void add_ids(std::string_view word, std::vector<std::int32_t>& ids, Workspace& work) const;
  std::unique_ptr<Workspace> workspace() const;

  std::unique_ptr<WordModel> model_;
  std::unique_ptr<Normalizer> normalizer_;  // may be null, as the next two
  std::unique_ptr<PreTokenizer> pre_tokenizer_;
  std::unique_ptr<PostProcessor> post_processor_;
  AddedTokens added_;
  MakeStages make_stages_;
  std::optional<Truncation> truncation_;
  std::optional<Padding> padding_;
  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<Workspace>> idle_;
};

/// The tokenizer.json of a folder or a file, or one made of a folder's vocab.txt, or vocab.json and
/// merges.txt. Errors: IoError.
ConfigValue read_tokenizer(const std::filesystem::path& path);

}  // namespace grouphead::text
