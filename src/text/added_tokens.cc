#include "text/added_tokens.h"

#include <algorithm>

#include "text/characters.h"
#include "text/models.h"
#include "text/problem.h"

namespace grouphead::text {
namespace {

bool word_ends(std::string_view text, std::size_t end) {
  if (end == 0) return false;
  std::size_t at = previous_start(text, end);
  return is_word(next_character(text, at));
}

bool word_begins(std::string_view text, std::size_t at) {
  return at < text.size() && is_word(next_character(text, at));
}

std::size_t before_space(std::string_view text, std::size_t end) {
  while (end > 0) {
    const std::size_t start = previous_start(text, end);
    std::size_t at = start;
    if (!is_space(next_character(text, at))) break;
    end = start;
  }
  return end;
}

std::size_t after_space(std::string_view text, std::size_t at) {
  while (at < text.size()) {
    std::size_t next = at;
    if (!is_space(next_character(text, next))) break;
    at = next;
  }
  return at;
}

bool flag(const ConfigValue& token, std::string_view key) {
  return token[key].is_null() ? false : token[key].as_bool(key);
}

}  // namespace

AddedTokens::AddedTokens(const ConfigValue& config, const Vocabulary& model,
                         const Normalizer* normalizer) {
  if (config.is_null()) return;
  std::int32_t highest = -1;
  for (const ConfigValue& each : config.as_list("added_tokens")) {
    const std::string& content = each["content"].as_string("content");
    if (flag(each, "special")) special_.insert(content);
    if (content.empty() || tokens_.id_of(content) != Vocabulary::kNone) continue;
    Rule rule{.id = model.id_of(content),
              .single_word = flag(each, "single_word"),
              .lstrip = flag(each, "lstrip"),
              .rstrip = flag(each, "rstrip")};
    if (rule.id == Vocabulary::kNone) {
      rule.id = std::max(static_cast<std::int32_t>(model.size()), highest + 1);
      ++num_new_;
    }
    highest = std::max(highest, rule.id);
    tokens_.add(content, rule.id);
    if (!flag(each, "normalized")) {
      add(original_, content, rule);
      continue;
    }
    NormalizedText text{.text = content};
    if (normalizer != nullptr) normalizer->run(text);
    add(normalized_, text.text, rule);
  }
}

void AddedTokens::add(Rules& rules, const std::string& content, const Rule& rule) {
  if (content.empty()) return;
  rules.starts[static_cast<unsigned char>(content[0])] = true;
  rules.trie.add(content, static_cast<std::int32_t>(rules.rules.size()));
  rules.rules.push_back(rule);
}

void AddedTokens::split(const Rules& rules, std::string_view text, std::size_t start_bytes,
                        std::vector<Piece>& out) const {
  std::size_t done = 0;  // behind the last token
  const auto add_text = [&](std::size_t begin, std::size_t end) {
    if (begin >= end) return;
    const std::size_t start = begin < start_bytes ? start_bytes - begin : 0;
    out.push_back({.span = {begin, end}, .start_bytes = start});
  };
  for (std::size_t at = 0; at < text.size();) {
    if (!rules.starts[static_cast<unsigned char>(text[at])]) {
      ++at;
      continue;
    }
    std::size_t size = 0;
    const Rule* rule = nullptr;
    rules.trie.find_prefixes(text.substr(at), [&](std::size_t bytes, std::int32_t found) {
      size = bytes;
      rule = &rules.rules[static_cast<std::size_t>(found)];
    });
    if (rule == nullptr) {
      ++at;
      continue;
    }
    std::size_t begin = at;
    std::size_t end = at + size;
    at = end;
    if (rule->single_word && (word_ends(text, begin) || word_begins(text, end))) continue;
    if (rule->lstrip) begin = std::max(before_space(text, begin), done);
    if (rule->rstrip) end = after_space(text, end);
    add_text(done, begin);
    if (begin < end) out.push_back({.span = {begin, end}, .token = rule->id});
    done = end;
  }
  add_text(done, text.size());
}

}  // namespace grouphead::text
