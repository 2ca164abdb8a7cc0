// Tokenizers on disk. A folder without tokenizer.json has the lists of tokens that older models
// ship; they are brought into the form of a tokenizer.json.

#include <algorithm>
#include <set>

#include "io/file.h"
#include "io/json.h"
#include "text/pipeline.h"
#include "text/problem.h"

namespace grouphead::text {
namespace {

namespace fs = std::filesystem;

using Object = ConfigValue::Object;
using List = ConfigValue::List;

ConfigValue read_json(const fs::path& path) {
  // Each token is a value or two, and a merge three.
  constexpr io::JsonLimits kLimits{.bytes = std::size_t{256} << 20,
                                   .values = std::size_t{16} << 20};
  return io::parse_json(io::read_file(path), path.filename().string(), kLimits);
}

ConfigValue read_json_if_there(const fs::path& path) {
  return fs::exists(path) ? read_json(path) : ConfigValue(Object{});
}

std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    if (line.ends_with('\r')) line.remove_suffix(1);
    lines.push_back(line);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

/// tokenizer_config.json, and special_tokens_map.json for what it does not say.
class FolderSettings {
 public:
  explicit FolderSettings(const fs::path& folder)
      : config_(read_json_if_there(folder / "tokenizer_config.json")),
        map_(read_json_if_there(folder / "special_tokens_map.json")) {}

  /// Without "Tokenizer" and "Fast"; empty where it is not said.
  std::string kind() const {
    std::string name = text_or_empty(config_["tokenizer_class"], "tokenizer_class");
    return name.substr(0, name.find("Tokenizer"));
  }

  bool flag(std::string_view key, bool usual) const {
    const ConfigValue& value = config_[key];
    return value.is_null() ? usual : value.as_bool(key);
  }
  const ConfigValue& operator[](std::string_view key) const { return config_[key]; }

  /// The text of a special token such as cls_token.
  std::string token(std::string_view key, std::string_view usual) const {
    const ConfigValue& value = entry(key);
    if (value.is_null()) return std::string(usual);
    return value.is_object() ? value["content"].as_string(key) : value.as_string(key);
  }

  /// Added tokens by id, then the special ones that are not among them.
  List added_tokens(const std::vector<std::pair<std::string_view, std::string_view>>& keys) const {
    List tokens;
    std::set<std::string> known;
    const auto add = [&](ConfigValue token) {
      if (known.insert(token["content"].as_string("content")).second) {
        tokens.push_back(std::move(token));
      }
    };
    if (!config_["added_tokens_decoder"].is_null()) {
      Object listed = config_["added_tokens_decoder"].as_object("added_tokens_decoder");
      const auto number = [](const ConfigValue::Entry& each) {
        return std::pair(each.first.size(), each.first);
      };
      std::sort(listed.begin(), listed.end(),
                [&](const auto& a, const auto& b) { return number(a) < number(b); });
      for (const auto& [id, token] : listed) add(token);
    }
    for (const auto& [key, usual] : keys) {
      const std::string content = token(key, usual);
      if (content.empty()) continue;
      const bool is_mask = key == "mask_token" && content == "<mask>";  // " <mask>" is one token
      ConfigValue made = Object{{"content", content}, {"special", true}, {"lstrip", is_mask}};
      const ConfigValue& own = entry(key);
      for (const char* side : {"lstrip", "rstrip", "single_word", "normalized"}) {
        if (!own[side].is_null()) made.set(side, own[side]);
      }
      add(std::move(made));
    }
    return tokens;
  }

 private:
  const ConfigValue& entry(std::string_view key) const {
    return config_[key].is_null() ? map_[key] : config_[key];
  }

  ConfigValue config_;
  ConfigValue map_;
};

ConfigValue text_piece(const char* name, int type) {
  return Object{{"Sequence", Object{{"id", name}, {"type_id", type}}}};
}

ConfigValue token_piece(const std::string& token, int type) {
  return Object{{"SpecialToken", Object{{"id", token}, {"type_id", type}}}};
}

ConfigValue known_id(const Object& vocabulary, const std::string& token) {
  for (const auto& [name, id] : vocabulary) {
    if (name == token) return id;
  }
  refuse("special token", "a token of the vocabulary", token);
}

ConfigValue special_entry(const Object& vocabulary, const std::string& token) {
  return Object{{"id", token}, {"ids", List{known_id(vocabulary, token)}}, {"tokens", List{token}}};
}

/// vocab.txt, a token a line: BERT and those that took its tokenizer.
ConfigValue word_piece_folder(const fs::path& folder, const FolderSettings& settings) {
  Object vocabulary;
  const std::string text = io::read_file(folder / "vocab.txt");
  for (const std::string_view line : lines_of(text)) {
    vocabulary.emplace_back(std::string(line), static_cast<Index>(vocabulary.size()));
  }
  const std::string cls = settings.token("cls_token", "[CLS]");
  const std::string sep = settings.token("sep_token", "[SEP]");
  const std::string unknown = settings.token("unk_token", "[UNK]");
  const List single = {token_piece(cls, 0), text_piece("A", 0), token_piece(sep, 0)};
  List pair = single;
  pair.push_back(text_piece("B", 1));
  pair.push_back(token_piece(sep, 1));
  const ConfigValue special =
      Object{{cls, special_entry(vocabulary, cls)}, {sep, special_entry(vocabulary, sep)}};
  return Object{
      {"added_tokens", settings.added_tokens({{"pad_token", "[PAD]"},
                                              {"unk_token", "[UNK]"},
                                              {"cls_token", "[CLS]"},
                                              {"sep_token", "[SEP]"},
                                              {"mask_token", "[MASK]"}})},
      {"normalizer", Object{{"type", "BertNormalizer"},
                            {"clean_text", true},
                            {"handle_chinese_chars", settings.flag("tokenize_chinese_chars", true)},
                            {"strip_accents", settings["strip_accents"]},
                            {"lowercase", settings.flag("do_lower_case", true)}}},
      {"pre_tokenizer", Object{{"type", "BertPreTokenizer"}}},
      {"post_processor", Object{{"type", "TemplateProcessing"},
                                {"single", single},
                                {"pair", pair},
                                {"special_tokens", special}}},
      {"decoder", Object{{"type", "WordPiece"}, {"prefix", "##"}, {"cleanup", true}}},
      {"model", Object{{"type", "WordPiece"},
                       {"unk_token", unknown},
                       {"continuing_subword_prefix", "##"},
                       {"max_input_chars_per_word", 100},
                       {"vocab", std::move(vocabulary)}}}};
}

ConfigValue byte_level(const FolderSettings& settings, bool has_regex) {
  return Object{{"type", "ByteLevel"},
                {"add_prefix_space", settings.flag("add_prefix_space", false)},
                {"use_regex", has_regex}};
}

/// What stands around a text of GPT-2's kind: only what add_bos_token and add_eos_token ask for.
ConfigValue bos_eos_template(const FolderSettings& settings, const Object& vocabulary,
                             std::string_view usual) {
  List single;
  List pair;
  Object special;
  const auto add = [&](const char* flag, const char* key, int type, List& to) {
    if (!settings.flag(flag, false)) return;
    const std::string token = settings.token(key, usual);
    if (!ConfigValue(special).contains(token)) {
      special.emplace_back(token, special_entry(vocabulary, token));
    }
    to.push_back(token_piece(token, type));
  };
  for (const char* text : {"A", "B"}) {
    const int type = *text == 'A' ? 0 : 1;
    List part;
    add("add_bos_token", "bos_token", type, part);
    part.push_back(text_piece(text, type));
    add("add_eos_token", "eos_token", type, part);
    if (type == 0) single = part;
    pair.insert(pair.end(), part.begin(), part.end());
  }
  return Object{{"type", "TemplateProcessing"},
                {"single", std::move(single)},
                {"pair", std::move(pair)},
                {"special_tokens", std::move(special)}};
}

List merges_of(const fs::path& file) {
  List merges;
  const std::string text = io::read_file(file);
  for (const std::string_view line : lines_of(text)) {
    const bool is_header = merges.empty() && line.starts_with("#version");
    if (!line.empty() && !is_header) merges.emplace_back(line);
  }
  return merges;
}

/// vocab.json and merges.txt: byte-level BPE as GPT-2, RoBERTa and Qwen 2 have it.
ConfigValue byte_level_folder(const fs::path& folder, const FolderSettings& settings) {
  constexpr const char* kQwen =
      R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
  const std::string kind = settings.kind();
  const bool is_roberta = kind == "Roberta" || kind == "Bart" || kind == "Longformer";
  const bool is_qwen = kind == "Qwen2";
  if (!is_roberta && !is_qwen && !kind.empty() && kind != "GPT2") {
    refuse("tokenizer_class", "GPT2, Roberta, Bart, Longformer or Qwen2 for a vocab.json", kind);
  }
  const ConfigValue vocabulary = read_json(folder / "vocab.json");
  const Object& tokens = vocabulary.as_object("vocab.json");
  ConfigValue made = Object{{"decoder", byte_level(settings, true)},
                            {"model", Object{{"type", "BPE"},
                                             {"vocab", vocabulary},
                                             {"merges", merges_of(folder / "merges.txt")}}}};
  if (is_roberta) {
    const auto entry = [&](const char* key, const char* usual) -> ConfigValue {
      const std::string token = settings.token(key, usual);
      return List{token, known_id(tokens, token)};
    };
    made.set("post_processor", Object{{"type", "RobertaProcessing"},
                                      {"sep", entry("sep_token", "</s>")},
                                      {"cls", entry("cls_token", "<s>")}});
    made.set("added_tokens", settings.added_tokens({{"bos_token", "<s>"},
                                                    {"pad_token", "<pad>"},
                                                    {"eos_token", "</s>"},
                                                    {"unk_token", "<unk>"},
                                                    {"cls_token", "<s>"},
                                                    {"sep_token", "</s>"},
                                                    {"mask_token", "<mask>"}}));
  } else {
    const std::string_view end = "<|endoftext|>";
    made.set("post_processor", bos_eos_template(settings, tokens, end));
    made.set("added_tokens",
             settings.added_tokens(
                 {{"bos_token", end}, {"eos_token", end}, {"unk_token", end}, {"pad_token", ""}}));
  }
  if (is_qwen) {
    made.set("normalizer", Object{{"type", "NFC"}});
    const ConfigValue split = Object{{"type", "Split"},
                                     {"pattern", Object{{"Regex", kQwen}}},
                                     {"behavior", "Isolated"},
                                     {"invert", false}};
    made.set("pre_tokenizer", Object{{"type", "Sequence"},
                                     {"pretokenizers", List{split, byte_level(settings, false)}}});
  } else {
    made.set("pre_tokenizer", byte_level(settings, true));
  }
  return made;
}

}  // namespace

ConfigValue read_tokenizer(const fs::path& path) {
  if (!fs::is_directory(path)) return read_json(path);
  if (fs::exists(path / "tokenizer.json")) return read_json(path / "tokenizer.json");
  if (fs::exists(path / "vocab.txt")) return word_piece_folder(path, FolderSettings(path));
  if (fs::exists(path / "vocab.json")) return byte_level_folder(path, FolderSettings(path));
  refuse("folder", "tokenizer.json, vocab.txt, or vocab.json and merges.txt", "none of them");
}

}  // namespace grouphead::text
