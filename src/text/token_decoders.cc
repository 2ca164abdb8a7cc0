#include "text/token_decoders.h"

#include <optional>

#include "text/characters.h"
#include "text/matcher.h"
#include "text/steps.h"

namespace grouphead::text {
namespace {

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  if (from.empty()) return;
  std::string out;
  std::size_t done = 0;
  for (std::size_t at = text.find(from); at != std::string::npos; at = text.find(from, done)) {
    out.append(text, done, at - done).append(to);
    done = at + from.size();
  }
  if (done == 0) return;
  text = out.append(text, done);
}

/// English as it is written, from words with spaces between.
void clean_up(std::string& text) {
  struct Rule {
    std::string_view from, to;
  };
  constexpr Rule kRules[] = {{" .", "."},   {" ?", "?"},     {" !", "!"},    {" ,", ","},
                             {" ' ", "'"},  {" n't", "n't"}, {" 'm", "'m"},  {" do not", " don't"},
                             {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
  for (const Rule& rule : kRules) replace_all(text, rule.from, rule.to);
}

class WordPiece final : public TokenStage {
 public:
  WordPiece(std::string prefix, bool cleanup) : prefix_(std::move(prefix)), cleanup_(cleanup) {}

  void finish() override {
    is_first_ = true;
    next().finish();
  }

 private:
  void token(std::string& text) override {
    if (!is_first_) {
      if (text.starts_with(prefix_)) {
        text.erase(0, prefix_.size());
      } else {
        text.insert(0, 1, ' ');
      }
    }
    is_first_ = false;
    if (cleanup_) clean_up(text);
    emit(text);
  }

  std::string prefix_;
  bool cleanup_;
  bool is_first_ = true;
};

class Metaspace final : public TokenStage {
 public:
  Metaspace(std::string replacement, bool has_prefix)
      : replacement_(std::move(replacement)), has_prefix_(has_prefix) {}

  void finish() override {
    is_first_ = true;
    next().finish();
  }

 private:
  void token(std::string& text) override {
    replace_all(text, replacement_, is_first_ && has_prefix_ ? "" : " ");
    is_first_ = false;
    emit(text);
  }

  std::string replacement_;
  bool has_prefix_;
  bool is_first_ = true;
};

/// Runs of <0x41> are text where their bytes are UTF-8; else each is U+FFFD.
class ByteFallback final : public TokenStage {
 public:
  void finish() override {
    flush();
    next().finish();
  }

 private:
  static std::optional<char> byte_of(std::string_view token) {
    if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return {};
    int value = 0;
    for (const char c : token.substr(3, 2)) {
      const int digit = c >= '0' && c <= '9'   ? c - '0'
                        : c >= 'a' && c <= 'f' ? c - 'a' + 10
                        : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                               : -1;
      if (digit < 0) return {};
      value = 16 * value + digit;
    }
    return static_cast<char>(value);
  }

  void token(std::string& text) override {
    if (const std::optional<char> byte = byte_of(text)) {
      bytes_ += *byte;
      return;
    }
    flush();
    emit(text);
  }

  void flush() {
    if (bytes_.empty()) return;
    if (is_utf8(bytes_)) {
      emit(bytes_);
    } else {
      for (std::size_t i = 0; i < bytes_.size(); ++i) emit(kReplacement);
    }
    bytes_.clear();
  }

  std::string bytes_;
};

/// The suffix ends a word: a space, but behind the last token nothing.
class Bpe final : public TokenStage {
 public:
  explicit Bpe(std::string suffix) : suffix_(std::move(suffix)) {}

  void finish() override {
    flush("");
    next().finish();
  }

 private:
  void token(std::string& text) override {
    flush(" ");
    waiting_ = text;
  }

  void flush(std::string_view end) {
    if (!waiting_) return;
    replace_all(*waiting_, suffix_, end);
    emit(*waiting_);
    waiting_.reset();
  }

  std::string suffix_;
  std::optional<std::string> waiting_;
};

/// Connectionist temporal classification: a token that is repeated counts once.
class Ctc final : public TokenStage {
 public:
  explicit Ctc(const ConfigValue& config)
      : pad_(config["pad_token"].as_string("pad_token")),
        delimiter_(config["word_delimiter_token"].as_string("word_delimiter_token")),
        cleanup_(config["cleanup"].as_bool("cleanup")) {}

  void finish() override {
    last_.reset();
    next().finish();
  }

 private:
  void token(std::string& text) override {
    if (last_ == text) return;
    last_ = text;
    replace_all(text, pad_, "");
    if (cleanup_) {
      clean_up(text);
      replace_all(text, delimiter_, " ");
    }
    if (!text.empty()) emit(text);
  }

  std::string pad_;
  std::string delimiter_;
  bool cleanup_;
  std::optional<std::string> last_;
};

/// Replaces what is found in each token.
class Replace final : public TokenStage {
 public:
  Replace(std::shared_ptr<const Matcher> matcher, std::string content)
      : matcher_(std::move(matcher)), content_(std::move(content)) {}

  void finish() override { next().finish(); }

 private:
  void token(std::string& text) override {
    found_.clear();
    matcher_->find(text, found_);
    require_growth(found_.size() * content_.size(), text.size());
    std::size_t at = 0;
    for (const Span& span : found_) {
      next().part(std::string_view(text).substr(at, span.begin - at));
      next().part(content_);
      at = span.end;
    }
    emit(std::string_view(text).substr(at));
  }

  std::shared_ptr<const Matcher> matcher_;
  std::string content_;
  std::vector<Span> found_;
};

template <class Stage, class... Settings>
MakeStages stage(Settings... settings) {
  return [=](std::vector<std::unique_ptr<DecoderStage>>& stages) {
    stages.push_back(std::make_unique<Stage>(settings...));
  };
}

}  // namespace

MakeStages token_decoder_from(const std::string& type, const ConfigValue& config) {
  if (type == "WordPiece") {
    return stage<WordPiece>(config["prefix"].as_string("prefix"),
                            config["cleanup"].as_bool("cleanup"));
  }
  if (type == "Metaspace") {
    return stage<Metaspace>(character_from(config["replacement"], "replacement"),
                            metaspace_scheme(config) != "never");
  }
  if (type == "ByteFallback") return stage<ByteFallback>();
  if (type == "BPEDecoder") return stage<Bpe>(config["suffix"].as_string("suffix"));
  if (type == "CTC") return stage<Ctc>(Ctc(config));
  if (type == "Replace") {
    return stage<Replace>(std::shared_ptr<const Matcher>(matcher_from(config["pattern"])),
                          config["content"].as_string("content"));
  }
  return nullptr;
}

}  // namespace grouphead::text
