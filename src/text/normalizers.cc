#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>
#include <unicode/stringpiece.h>

#include <algorithm>

#include "text/characters.h"
#include "text/problem.h"
#include "text/steps.h"

namespace grouphead::text {
namespace {

/// Of each character what `keep` appends; a text that loses its first character is not at the
/// start.
template <class Keep>
void replace_characters(NormalizedText& text, const Keep& keep) {
  text.other.clear();
  std::size_t start_bytes = 0;
  for (std::size_t at = 0; at < text.text.size();) {
    const bool is_start = at < text.start_bytes;
    const char32_t c = next_character(text.text, at);
    keep(text.other, c);
    if (is_start) start_bytes = text.other.size();
  }
  text.start_bytes = start_bytes;
  text.text.swap(text.other);
}

class Unicode final : public Normalizer {
 public:
  Unicode(const char* form, UNormalization2Mode mode) {
    UErrorCode error = U_ZERO_ERROR;
    form_ = icu::Normalizer2::getInstance(nullptr, form, mode, error);
    if (U_FAILURE(error)) refuse("normalizer", "ICU's data", u_errorName(error));
  }

  void run(NormalizedText& text) const override {
    if (is_ascii(text.text)) return;
    if (text.start_bytes > 0) {
      normalize(std::string_view(text.text).substr(0, text.start_bytes), text.other);
      text.start_bytes = text.other.size();
    }
    normalize(text.text, text.other);
    text.text.swap(text.other);
  }

 private:
  void normalize(std::string_view text, std::string& out) const {
    out.clear();
    icu::StringByteSink<std::string> sink(&out);
    UErrorCode error = U_ZERO_ERROR;
    form_->normalizeUTF8(0, icu::StringPiece(text.data(), static_cast<std::int32_t>(text.size())),
                         sink, nullptr, error);
    if (U_FAILURE(error)) refuse("normalizer", "a text that ICU takes", u_errorName(error));
  }

  const icu::Normalizer2* form_;
};

const Unicode& decomposition() {
  static const Unicode kNfd("nfc", UNORM2_DECOMPOSE);
  return kNfd;
}

void lowercase(NormalizedText& text) { replace_characters(text, append_lowercase); }

class Lowercase final : public Normalizer {
 public:
  void run(NormalizedText& text) const override { lowercase(text); }
};

class StripAccents final : public Normalizer {
 public:
  void run(NormalizedText& text) const override {
    replace_characters(text, [](std::string& out, char32_t c) {
      if (!is_mark(c)) append_character(out, c);
    });
  }
};

bool is_chinese(char32_t c) noexcept {
  struct Range {
    char32_t low, high;
  };
  constexpr Range kRanges[] = {{0x4E00, 0x9FFF},   {0x3400, 0x4DBF},   {0x20000, 0x2A6DF},
                               {0x2A700, 0x2B73F}, {0x2B740, 0x2B81F}, {0x2B920, 0x2CEAF},
                               {0xF900, 0xFAFF},   {0x2F800, 0x2FA1F}};
  for (const Range& range : kRanges) {
    if (c >= range.low && c <= range.high) return true;
  }
  return false;
}

/// BERT's basic tokenization but for the cut into words.
class Bert final : public Normalizer {
 public:
  explicit Bert(const ConfigValue& config)
      : clean_text_(config["clean_text"].as_bool("clean_text")),
        chinese_(config["handle_chinese_chars"].as_bool("handle_chinese_chars")),
        lowercase_(config["lowercase"].as_bool("lowercase")),
        strip_accents_(config["strip_accents"].is_null()
                           ? lowercase_
                           : config["strip_accents"].as_bool("strip_accents")) {}

  void run(NormalizedText& text) const override {
    if (clean_text_) replace_characters(text, clean);
    if (chinese_ && !is_ascii(text.text)) {
      replace_characters(text, [](std::string& out, char32_t c) {
        if (is_chinese(c)) out += ' ';
        append_character(out, c);
        if (is_chinese(c)) out += ' ';
      });
    }
    if (strip_accents_ && !is_ascii(text.text)) {
      decomposition().run(text);
      replace_characters(text, [](std::string& out, char32_t c) {
        if (!is_nonspacing_mark(c)) append_character(out, c);
      });
    }
    if (lowercase_) lowercase(text);
  }

 private:
  static void clean(std::string& out, char32_t c) {
    constexpr char32_t kReplacementCharacter = 0xFFFD;
    if (is_space(c)) {
      const bool is_kept = c == '\t' || c == '\n' || c == '\r' || !is_control(c);
      if (is_kept) out += ' ';
    } else if (c != kReplacementCharacter && !is_control(c)) {
      append_character(out, c);
    }
  }

  bool clean_text_;
  bool chinese_;
  bool lowercase_;
  bool strip_accents_;
};

class Strip final : public Normalizer {
 public:
  explicit Strip(const ConfigValue& config)
      : left_(config["strip_left"].as_bool("strip_left")),
        right_(config["strip_right"].as_bool("strip_right")) {}

  void run(NormalizedText& text) const override {
    std::size_t begin = 0;
    std::size_t end = text.text.size();
    while (left_ && begin < end) {
      std::size_t next = begin;
      if (!is_space(next_character(text.text, next))) break;
      begin = next;
    }
    while (right_ && begin < end) {
      const std::size_t last = previous_start(text.text, end);
      std::size_t at = last;
      if (!is_space(next_character(text.text, at))) break;
      end = last;
    }
    text.text.erase(end);
    text.text.erase(0, begin);
    text.start_bytes -= std::min(begin, text.start_bytes);
  }

 private:
  bool left_;
  bool right_;
};

class Replace final : public Normalizer {
 public:
  explicit Replace(const ConfigValue& config)
      : matcher_(matcher_from(config["pattern"])),
        content_(config["content"].as_string("content")) {}

  void run(NormalizedText& text) const override {
    std::vector<Span> found;
    matcher_->find(text.text, found);
    if (found.empty()) return;
    found.push_back({text.text.size(), text.text.size()});  // the end
    text.other.clear();
    std::size_t start_bytes = 0;
    std::size_t at = 0;
    for (std::size_t i = 0; i < found.size(); ++i) {
      const std::size_t kept = text.other.size();
      text.other.append(text.text, at, found[i].begin - at);
      if (at < text.start_bytes) {
        start_bytes = kept + std::min(found[i].begin, text.start_bytes) - at;
      }
      at = found[i].end;
      if (i + 1 == found.size()) break;
      text.other += content_;
      // New characters came of the last one that they replace.
      const bool is_start = at == 0 || previous_start(text.text, at) < text.start_bytes;
      if (is_start && !content_.empty()) start_bytes = text.other.size();
      require_growth(text.other.size(), text.text.size());
    }
    text.start_bytes = start_bytes;
    text.text.swap(text.other);
  }

 private:
  std::unique_ptr<Matcher> matcher_;
  std::string content_;
};

class Prepend final : public Normalizer {
 public:
  explicit Prepend(std::string text) : prefix_(std::move(text)) {}

  void run(NormalizedText& text) const override {
    if (text.text.empty()) return;
    text.text.insert(0, prefix_);
    if (text.start_bytes > 0) text.start_bytes += prefix_.size();
  }

 private:
  std::string prefix_;
};

/// The part of SentencePiece's rules for machine translation that is not NFKC.
class Nmt final : public Normalizer {
 public:
  void run(NormalizedText& text) const override {
    replace_characters(text, [](std::string& out, char32_t c) {
      if (is_removed(c)) return;
      append_character(out, is_blank(c) ? U' ' : c);
    });
  }

 private:
  static bool is_removed(char32_t c) noexcept {
    return (c >= 0x01 && c <= 0x08) || c == 0x0B || (c >= 0x0E && c <= 0x1F) || c == 0x7F ||
           c == 0x8F || c == 0x9F;
  }
  static bool is_blank(char32_t c) noexcept {
    return c == 0x09 || c == 0x0A || c == 0x0C || c == 0x0D || c == 0x1680 ||
           (c >= 0x200B && c <= 0x200F) || c == 0x2028 || c == 0x2029 || c == 0x2581 ||
           c == 0xFEFF || c == 0xFFFD;
  }
};

class Bytes final : public Normalizer {
 public:
  void run(NormalizedText& text) const override {
    text.other.clear();
    std::size_t start_bytes = 0;
    for (std::size_t at = 0; at < text.text.size(); ++at) {
      text.other += byte_alphabet().characters[static_cast<unsigned char>(text.text[at])];
      if (at < text.start_bytes) start_bytes = text.other.size();
    }
    text.start_bytes = start_bytes;
    text.text.swap(text.other);
  }
};

class Sequence final : public Normalizer {
 public:
  explicit Sequence(std::vector<std::unique_ptr<Normalizer>> steps) : steps_(std::move(steps)) {}

  void run(NormalizedText& text) const override {
    const std::size_t original = text.text.size();
    for (const std::unique_ptr<Normalizer>& step : steps_) {
      step->run(text);
      require_growth(text.text.size(), original);
    }
  }

 private:
  std::vector<std::unique_ptr<Normalizer>> steps_;
};

std::unique_ptr<Normalizer> make(const ConfigValue& config, StepCounter& steps) {
  steps.add();
  const std::string& type = config["type"].as_string("normalizer's type");
  if (type == "Sequence") {
    std::vector<std::unique_ptr<Normalizer>> made;
    for (const ConfigValue& each : config["normalizers"].as_list("normalizers")) {
      made.push_back(make(each, steps));
    }
    return std::make_unique<Sequence>(std::move(made));
  }
  if (type == "NFC") return std::make_unique<Unicode>("nfc", UNORM2_COMPOSE);
  if (type == "NFD") return std::make_unique<Unicode>("nfc", UNORM2_DECOMPOSE);
  if (type == "NFKC") return std::make_unique<Unicode>("nfkc", UNORM2_COMPOSE);
  if (type == "NFKD") return std::make_unique<Unicode>("nfkc", UNORM2_DECOMPOSE);
  if (type == "Lowercase") return std::make_unique<Lowercase>();
  if (type == "StripAccents") return std::make_unique<StripAccents>();
  if (type == "BertNormalizer") return std::make_unique<Bert>(config);
  if (type == "Strip") return std::make_unique<Strip>(config);
  if (type == "Replace") return std::make_unique<Replace>(config);
  if (type == "Prepend") return std::make_unique<Prepend>(config["prepend"].as_string("prepend"));
  if (type == "Nmt") return std::make_unique<Nmt>();
  if (type == "ByteLevel") return std::make_unique<Bytes>();
  if (type == "Precompiled") {
    const ConfigValue& map = config["precompiled_charsmap"];
    return precompiled_normalizer(map.is_null() ? "" : map.as_string("precompiled_charsmap"));
  }
  refuse("normalizer", "a type that is known", type);
}

}  // namespace

std::unique_ptr<Normalizer> normalizer_from(const ConfigValue& config) {
  StepCounter steps;
  return config.is_null() ? nullptr : make(config, steps);
}

}  // namespace grouphead::text
