#include <algorithm>

#include "text/characters.h"
#include "text/problem.h"
#include "text/steps.h"

namespace grouphead::text {
namespace {

/// What becomes of the places where a text is cut.
enum class Behavior { removed, isolated, merged_with_previous, merged_with_next, contiguous };

Behavior behavior_from(const std::string& name) {
  if (name == "Removed") return Behavior::removed;
  if (name == "Isolated") return Behavior::isolated;
  if (name == "MergedWithPrevious") return Behavior::merged_with_previous;
  if (name == "MergedWithNext") return Behavior::merged_with_next;
  if (name == "Contiguous") return Behavior::contiguous;
  refuse("behavior", "Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous", name);
}

/// The parts of one piece, from left to right: matches and what is between them.
class Parts {
 public:
  Parts(Behavior behavior, const Piece& whole, std::vector<Piece>& out)
      : behavior_(behavior), whole_(whole), out_(out), first_(out.size()) {}

  void add(Span span, bool is_match) {
    switch (behavior_) {
      case Behavior::removed:
        if (!is_match) append(span);
        break;
      case Behavior::isolated:
        append(span);
        break;
      case Behavior::merged_with_previous:
        if (is_match && !was_match_ && has_part()) {
          out_.back().span.end = whole_.span.begin + span.end;
        } else {
          append(span);
        }
        break;
      case Behavior::merged_with_next:
        // Of several matches the last one is joined with what follows.
        if (!is_match && was_match_) {
          out_.back().span.end = whole_.span.begin + span.end;
        } else {
          append(span);
        }
        break;
      case Behavior::contiguous:
        if (is_match == was_match_ && has_part()) {
          out_.back().span.end = whole_.span.begin + span.end;
        } else {
          append(span);
        }
        break;
    }
    was_match_ = is_match;
  }

  /// Leaves out what is empty.
  void finish() {
    const auto begin = out_.begin() + static_cast<std::ptrdiff_t>(first_);
    out_.erase(std::remove_if(begin, out_.end(),
                              [](const Piece& part) { return part.span.begin == part.span.end; }),
               out_.end());
  }

 private:
  bool has_part() const noexcept { return out_.size() > first_; }

  void append(Span span) {
    out_.push_back(
        {.span = {whole_.span.begin + span.begin, whole_.span.begin + span.end},
         .start_bytes = span.begin < whole_.start_bytes ? whole_.start_bytes - span.begin : 0});
  }

  Behavior behavior_;
  Piece whole_;
  std::vector<Piece>& out_;
  std::size_t first_;
  bool was_match_ = false;
};

class Split final : public PreTokenizer {
 public:
  Split(std::unique_ptr<Matcher> matcher, Behavior behavior, bool inverted = false)
      : matcher_(std::move(matcher)), behavior_(behavior), inverted_(inverted) {}

  void run(Pieces& pieces, StepMemory& memory) const override {
    std::vector<Piece>& out = memory.other.pieces;
    out.clear();
    for (const Piece& piece : pieces.pieces) {
      if (piece.token != Piece::kText) {
        out.push_back(piece);
        continue;
      }
      const std::string_view text = pieces.at(piece);
      memory.found.clear();
      matcher_->find(text, memory.found);
      Parts parts(behavior_, piece, out);
      std::size_t at = 0;
      for (const Span& match : memory.found) {
        if (at < match.begin) parts.add({at, match.begin}, inverted_);
        parts.add(match, !inverted_);
        at = match.end;
      }
      if (at < text.size()) parts.add({at, text.size()}, inverted_);
      parts.finish();
    }
    pieces.pieces.swap(out);
  }

 private:
  std::unique_ptr<Matcher> matcher_;
  Behavior behavior_;
  bool inverted_;
};

/// For each piece that is text, rewrite(text, piece, out) appends what it becomes.
template <class Rewrite>
void rewrite_pieces(Pieces& pieces, StepMemory& memory, const Rewrite& rewrite) {
  Pieces& out = memory.other;
  out.clear();
  for (const Piece& piece : pieces.pieces) {
    Piece made = piece;
    made.span.begin = out.text.size();
    if (piece.token == Piece::kText) {
      const std::string_view text = pieces.at(piece);
      if (piece.start_bytes > 0) {
        rewrite(text.substr(0, piece.start_bytes), piece, out.text);
        made.start_bytes = out.text.size() - made.span.begin;
        out.text.resize(made.span.begin);
      }
      rewrite(text, piece, out.text);
    } else {
      out.text += pieces.at(piece);
    }
    made.span.end = out.text.size();
    if (made.span.begin < made.span.end) out.pieces.push_back(made);
  }
  std::swap(pieces, out);
}

class ByteLevel final : public PreTokenizer {
 public:
  explicit ByteLevel(const ConfigValue& config)
      : prefix_(config["add_prefix_space"].as_bool("add_prefix_space")) {
    const ConfigValue& regex = config["use_regex"];
    if (regex.is_null() || regex.as_bool("use_regex")) {
      split_.emplace(known_matcher(kGpt2Expression), Behavior::isolated);
    }
  }

  void run(Pieces& pieces, StepMemory& memory) const override {
    if (prefix_) {
      rewrite_pieces(pieces, memory, [](std::string_view text, const Piece&, std::string& out) {
        if (!text.starts_with(' ')) out += ' ';
        out += text;
      });
    }
    if (split_) split_->run(pieces, memory);
    rewrite_pieces(pieces, memory, [](std::string_view text, const Piece&, std::string& out) {
      const ByteAlphabet& alphabet = byte_alphabet();
      for (const char c : text) {
        const std::string& letter = alphabet.characters[static_cast<unsigned char>(c)];
        out += letter[0];
        if (letter.size() > 1) out += letter[1];
      }
    });
  }

 private:
  bool prefix_;
  std::optional<Split> split_{};
};

class Metaspace final : public PreTokenizer {
 public:
  explicit Metaspace(const ConfigValue& config)
      : replacement_(character_from(config["replacement"], "replacement")) {
    const std::string scheme = metaspace_scheme(config);
    always_ = scheme == "always";
    first_ = scheme == "first";
    if (config["split"].is_null() || config["split"].as_bool("split")) {
      split_.emplace(literal_matcher(replacement_), Behavior::merged_with_next);
    }
  }

  void run(Pieces& pieces, StepMemory& memory) const override {
    rewrite_pieces(pieces, memory,
                   [this](std::string_view text, const Piece& piece, std::string& out) {
                     const bool begins = text.starts_with(' ') || text.starts_with(replacement_);
                     if (!begins && (always_ || (first_ && piece.start_bytes > 0)))
                       out += replacement_;
                     for (const char c : text) {
                       if (c == ' ') {
                         out += replacement_;
                       } else {
                         out += c;
                       }
                     }
                   });
    if (split_) split_->run(pieces, memory);
  }

 private:
  std::string replacement_;
  bool always_ = false;
  bool first_ = false;
  std::optional<Split> split_{};
};

/// Cuts between scripts; spaces and what is not assigned belong to the script before them, and are
/// left out where none is before them.
class Scripts final : public PreTokenizer {
 public:
  void run(Pieces& pieces, StepMemory& memory) const override {
    std::vector<Piece>& out = memory.other.pieces;
    out.clear();
    for (const Piece& piece : pieces.pieces) {
      if (piece.token != Piece::kText) {
        out.push_back(piece);
        continue;
      }
      Parts parts(Behavior::isolated, piece, out);
      const std::string_view text = pieces.at(piece);
      std::size_t begin = text.size();
      int last = kNoScript;
      for (std::size_t at = 0; at < text.size();) {
        const std::size_t start = at;
        const char32_t c = next_character(text, at);
        const int script = c == ' ' ? kNoScript : script_of(c);
        if (script == kNoScript) continue;
        if (script != last) {
          if (last != kNoScript) parts.add({begin, start}, false);
          begin = start;
        }
        last = script;
      }
      if (begin < text.size()) parts.add({begin, text.size()}, false);
    }
    pieces.pieces.swap(out);
  }
};

class FixedLength final : public PreTokenizer {
 public:
  explicit FixedLength(Index length) : length_(length) {
    if (length < 1) refuse("length", "1 or more", std::to_string(length));
  }

  void run(Pieces& pieces, StepMemory& memory) const override {
    std::vector<Piece>& out = memory.other.pieces;
    out.clear();
    for (const Piece& piece : pieces.pieces) {
      if (piece.token != Piece::kText) {
        out.push_back(piece);
        continue;
      }
      Parts parts(Behavior::isolated, piece, out);
      const std::string_view text = pieces.at(piece);
      for (std::size_t at = 0; at < text.size();) {
        const std::size_t begin = at;
        for (Index i = 0; i < length_ && at < text.size(); ++i) at += character_size(text[at]);
        parts.add({begin, at}, false);
      }
    }
    pieces.pieces.swap(out);
  }

 private:
  Index length_;
};

class Sequence final : public PreTokenizer {
 public:
  explicit Sequence(std::vector<std::unique_ptr<PreTokenizer>> steps) : steps_(std::move(steps)) {}

  void run(Pieces& pieces, StepMemory& memory) const override {
    const std::size_t original = pieces.text.size();
    for (const std::unique_ptr<PreTokenizer>& step : steps_) {
      step->run(pieces, memory);
      require_growth(pieces.text.size(), original);
    }
  }

 private:
  std::vector<std::unique_ptr<PreTokenizer>> steps_;
};

std::unique_ptr<PreTokenizer> at_characters(bool (*holds)(char32_t), Behavior behavior) {
  return std::make_unique<Split>(character_matcher(holds), behavior);
}

std::unique_ptr<PreTokenizer> bert() {
  std::vector<std::unique_ptr<PreTokenizer>> steps;
  steps.push_back(at_characters(is_space, Behavior::removed));
  steps.push_back(at_characters(is_punctuation, Behavior::isolated));
  return std::make_unique<Sequence>(std::move(steps));
}

Behavior behavior_of(const ConfigValue& config) {
  const ConfigValue& name = config["behavior"];
  return name.is_null() ? Behavior::isolated : behavior_from(name.as_string("behavior"));
}

std::unique_ptr<PreTokenizer> make(const ConfigValue& config, StepCounter& steps) {
  steps.add();
  const std::string& type = config["type"].as_string("pre_tokenizer's type");
  if (type == "Sequence") {
    std::vector<std::unique_ptr<PreTokenizer>> made;
    for (const ConfigValue& each : config["pretokenizers"].as_list("pretokenizers")) {
      made.push_back(make(each, steps));
    }
    return std::make_unique<Sequence>(std::move(made));
  }
  if (type == "ByteLevel") return std::make_unique<ByteLevel>(config);
  if (type == "Metaspace") return std::make_unique<Metaspace>(config);
  if (type == "BertPreTokenizer") return bert();
  if (type == "UnicodeScripts") return std::make_unique<Scripts>();
  if (type == "WhitespaceSplit") return at_characters(is_space, Behavior::removed);
  if (type == "Punctuation") return at_characters(is_punctuation, behavior_of(config));
  if (type == "Whitespace") {
    return std::make_unique<Split>(word_matcher(), Behavior::removed, /*inverted=*/true);
  }
  if (type == "Digits") {
    const bool alone = config["individual_digits"].as_bool("individual_digits");
    return at_characters(is_number, alone ? Behavior::isolated : Behavior::contiguous);
  }
  if (type == "CharDelimiterSplit") {
    return std::make_unique<Split>(
        literal_matcher(character_from(config["delimiter"], "delimiter")), Behavior::removed);
  }
  if (type == "Split") {
    const ConfigValue& invert = config["invert"];
    return std::make_unique<Split>(matcher_from(config["pattern"]), behavior_of(config),
                                   !invert.is_null() && invert.as_bool("invert"));
  }
  if (type == "FixedLength") {
    return std::make_unique<FixedLength>(config["length"].as_integer("length"));
  }
  refuse("pre_tokenizer", "a type that is known", type);
}

}  // namespace

std::unique_ptr<PreTokenizer> pre_tokenizer_from(const ConfigValue& config) {
  StepCounter steps;
  return config.is_null() ? nullptr : make(config, steps);
}

std::string metaspace_scheme(const ConfigValue& config) {
  const ConfigValue& name = config["prepend_scheme"];
  const ConfigValue& prefix = config["add_prefix_space"];  // of older files
  const bool without = !prefix.is_null() && !prefix.as_bool("add_prefix_space");
  const std::string scheme =
      name.is_null() ? (without ? "never" : "always") : name.as_string("prepend_scheme");
  if (scheme != "always" && scheme != "first" && scheme != "never") {
    refuse("prepend_scheme", "always, first or never", scheme);
  }
  return without ? "never" : scheme;
}

}  // namespace grouphead::text
