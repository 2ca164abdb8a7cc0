#pragma once

// What a text goes through before the model: normalizers and pre-tokenizers.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "grouphead/core/config_value.h"
#include "text/matcher.h"

namespace grouphead::text {

/// A text on its way through the normalizers.
struct NormalizedText {
  std::string text{};
  std::size_t start_bytes = 0;  ///< those at its start that came of the user's first character
  std::string other{};          ///< room for a step's result
};

class Normalizer {
 public:
  virtual ~Normalizer() = default;
  virtual void run(NormalizedText& text) const = 0;
};

/// Null gives null. Errors: IoError for a type that is not known, and for settings without sense.
std::unique_ptr<Normalizer> normalizer_from(const ConfigValue& config);
/// Of SentencePiece's compiled map, in base64.
std::unique_ptr<Normalizer> precompiled_normalizer(const std::string& base64);

/// A part of a text that the model gets.
struct Piece {
  static constexpr std::int32_t kText = -1;

  Span span{};
  std::size_t start_bytes = 0;  ///< as of NormalizedText
  std::int32_t token = kText;   ///< of an added token, which stays as it is
};

/// A text in pieces, in its order; what is between them is left out. No piece is empty.
struct Pieces {
  std::string text{};
  std::vector<Piece> pieces{};

  std::string_view at(const Piece& piece) const noexcept {
    return std::string_view(text).substr(piece.span.begin, piece.span.end - piece.span.begin);
  }
  void clear() noexcept {
    text.clear();
    pieces.clear();
  }
};

/// Memory that the steps use again for the next text.
struct StepMemory {
  Pieces other{};
  std::vector<Span> found{};
};

class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  /// Cuts each piece that is no added token, and may change its text.
  virtual void run(Pieces& pieces, StepMemory& memory) const = 0;
};

/// Null gives null. Errors: as normalizer_from().
std::unique_ptr<PreTokenizer> pre_tokenizer_from(const ConfigValue& config);

/// A text of one character. Errors: IoError for others.
std::string character_from(const ConfigValue& value, std::string_view what);
/// always, first or never: where Metaspace, as pre-tokenizer and decoder, has a space in front.
std::string metaspace_scheme(const ConfigValue& config);

/// Counts the steps of a file's sequences. Errors: IoError beyond 64 of them, because each may make
/// the text longer.
class StepCounter {
 public:
  void add();

 private:
  int steps_ = 0;
};

/// Errors: IoError for a text that steps made longer than 64 KiB and 32 times what it was.
void require_growth(std::size_t size, std::size_t original);

}  // namespace grouphead::text
