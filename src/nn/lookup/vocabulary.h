#pragma once

// Tokens and their places. Source: keras.src.layers.preprocessing.index_lookup.IndexLookup.

#include <algorithm>
#include <cmath>
#include <limits>
#include <unordered_map>

#include "core/check.h"
#include "grouphead/layers/lookup.h"
#include "nn/lookup/hash.h"

namespace grouphead::nn {

inline std::string token_text(std::int64_t token) { return std::to_string(token); }
inline std::string token_text(const std::string& token) { return "'" + token + "'"; }

/// The tokens of each document: of a row, or of a list [N] each alone.
template <class Token>
std::vector<std::vector<Token>> documents_of(const std::vector<Token>& tokens, const Shape& shape) {
  const Index rows = shape.rank() == 0 ? 1 : shape[0];
  std::vector<std::vector<Token>> documents(static_cast<std::size_t>(rows));
  const std::size_t each = documents.empty() ? 0 : tokens.size() / documents.size();
  for (std::size_t i = 0; i < documents.size(); ++i) {
    const auto first = tokens.begin() + static_cast<std::ptrdiff_t>(i * each);
    documents[i].assign(first, first + static_cast<std::ptrdiff_t>(each));
  }
  return documents;
}

template <class Token>
class Vocabulary {
 public:
  /// The place of a masked token that leaves no trace.
  static constexpr std::int64_t kDropped = std::numeric_limits<std::int64_t>::max();

  /// Errors, here and below: ConfigError, in the name of the layer.
  Vocabulary(std::string layer, LookupConfig<Token> config, Token unknown)
      : layer_(std::move(layer)), config_(std::move(config)) {
    if (!config_.oov_token) config_.oov_token = std::move(unknown);
    if (config_.max_tokens && *config_.max_tokens <= 1) {
      fail("max_tokens", "more than 1", std::to_string(*config_.max_tokens));
    }
    if (config_.pad_to_max_tokens && !config_.max_tokens) fail("max_tokens", "a number", "none");
    const Index most = config_.output_mode == LookupMode::tf_idf ? kMostWeighed : kMostUnknown;
    if (config_.num_oov_indices < 0 || config_.num_oov_indices > most) {
      fail("num_oov_indices", "0 to " + std::to_string(most),
           std::to_string(config_.num_oov_indices));
    }
    if (config_.invert && config_.output_mode != LookupMode::integers) {
      fail("output_mode", "int with invert", "another");
    }
    if (config_.output_mode != LookupMode::tf_idf && !config_.idf_weights.empty()) {
      fail("idf_weights", "none but with tf_idf", "some");
    }
    const std::vector<Token> tokens = config_.vocabulary;
    if (!tokens.empty()) set(tokens, config_.idf_weights);
  }

  const LookupConfig<Token>& config() const noexcept { return config_; }
  bool is_set() const noexcept { return !tokens_.empty(); }
  const std::vector<double>& idf_weights() const noexcept { return idf_weights_; }
  std::int64_t first_unknown() const noexcept {
    return config_.mask_token && config_.output_mode == LookupMode::integers ? 1 : 0;
  }
  std::int64_t first_token() const noexcept { return first_unknown() + config_.num_oov_indices; }

  /// Numbers of a row; -1 where the vocabulary is not known.
  Index depth() const noexcept {
    if (config_.pad_to_max_tokens) return *config_.max_tokens;
    if (is_set()) return first_token() + static_cast<Index>(tokens_.size());
    return config_.vocabulary_size.value_or(-1);
  }

  /// The tokens, with or without mask and unknown ones in front.
  void set(const std::vector<Token>& given, const std::vector<double>& idf_weights) {
    if (given.empty()) fail("vocabulary", "a token or more", "none");
    const bool has_special = begins_with_special(given);
    std::vector<Token> tokens(given.begin() + (has_special ? first_token() : 0), given.end());
    std::unordered_map<Token, std::int64_t> places;
    for (const Token& token : tokens) {
      const auto place = first_token() + static_cast<std::int64_t>(places.size());
      if (!places.emplace(token, place).second) {
        fail("vocabulary", "each token once", token_text(token) + " twice");
      }
      if (config_.mask_token && token == *config_.mask_token) {
        fail("vocabulary", "the mask token in front or nowhere", token_text(token));
      }
      if (config_.invert && token == *config_.oov_token) {
        fail("vocabulary", "unknown tokens in front or nowhere", token_text(token));
      }
    }
    const Index size = first_token() + static_cast<Index>(tokens.size());
    if (config_.max_tokens && size > *config_.max_tokens) {
      fail("vocabulary", "max_tokens " + std::to_string(*config_.max_tokens) + " or less",
           std::to_string(size));
    }
    set_weights(given.size(), idf_weights, has_special);
    tokens_ = std::move(tokens);
    places_ = std::move(places);
  }

  /// The tokens of all documents, the most frequent first; of equal ones the last by their bytes.
  /// What a token weighs with tf_idf: ln(1 + documents / (1 + documents that have it)).
  void learn(const std::vector<std::vector<Token>>& documents) {
    if (!config_.vocabulary.empty()) {
      fail("adapt", "no vocabulary in the configuration",
           std::to_string(config_.vocabulary.size()) + " tokens");
    }
    std::vector<std::pair<Token, Seen>> seen = counted(documents);
    std::sort(seen.begin(), seen.end(), [](const auto& a, const auto& b) {
      return a.second.times != b.second.times ? a.second.times > b.second.times : a.first > b.first;
    });
    if (config_.max_tokens) {
      const auto most =
          static_cast<std::size_t>(std::max<Index>(0, *config_.max_tokens - first_token()));
      if (seen.size() > most) seen.resize(most);
    }
    std::vector<Token> tokens;
    std::vector<double> weights;
    for (const auto& [token, one] : seen) {
      tokens.push_back(token);
      if (config_.output_mode != LookupMode::tf_idf) continue;
      const double share =
          static_cast<double>(documents.size()) / static_cast<double>(1 + one.documents);
      weights.push_back(static_cast<float>(std::log(1 + share)));
    }
    set(tokens, weights);
  }

  std::int64_t place(const Token& token) const {
    if (config_.mask_token && token == *config_.mask_token) {
      return config_.output_mode == LookupMode::integers ? 0 : kDropped;
    }
    const auto found = places_.find(token);
    if (found != places_.end()) return found->second;
    if (config_.num_oov_indices == 0) fail("input", "tokens of the vocabulary", token_text(token));
    return first_unknown() + unknown_place(token);
  }

  Token token(std::int64_t place) const {
    if (place == 0 && config_.mask_token) return *config_.mask_token;
    const std::int64_t i = place - first_token();
    const bool is_token = i >= 0 && i < static_cast<std::int64_t>(tokens_.size());
    return is_token ? tokens_[static_cast<std::size_t>(i)] : *config_.oov_token;
  }

  /// In the order of their places.
  std::vector<Token> all() const {
    std::vector<Token> list;
    if (!is_set()) return list;
    if (first_unknown() > 0) list.push_back(*config_.mask_token);
    list.insert(list.end(), static_cast<std::size_t>(config_.num_oov_indices), *config_.oov_token);
    list.insert(list.end(), tokens_.begin(), tokens_.end());
    return list;
  }

  /// Bytes of the longest token, 1 or more.
  Index longest() const {
    std::size_t bytes = 1;
    for (const Token& token : tokens_) bytes = std::max(bytes, token.size());
    if (config_.mask_token) bytes = std::max(bytes, config_.mask_token->size());
    return static_cast<Index>(std::max(bytes, config_.oov_token->size()));
  }

  void require_set() const {
    if (!is_set()) {
      fail("vocabulary", "one, from the configuration, a file's assets or set_vocabulary()",
           "none");
    }
  }

 private:
  static constexpr Index kMostUnknown = std::numeric_limits<std::int32_t>::max();
  static constexpr Index kMostWeighed = 1'000'000;  // each has a number in memory

  struct Seen {
    std::int64_t times = 0, documents = 0;
    std::size_t last = 0;  // document, from 1 on
  };
  std::vector<std::pair<Token, Seen>> counted(
      const std::vector<std::vector<Token>>& documents) const {
    std::unordered_map<Token, Seen> seen;
    for (std::size_t i = 0; i < documents.size(); ++i) {
      for (const Token& token : documents[i]) {
        Seen& one = seen[token];
        ++one.times;
        if (one.last != i + 1) ++one.documents;
        one.last = i + 1;
      }
    }
    if (config_.mask_token) seen.erase(*config_.mask_token);
    seen.erase(*config_.oov_token);
    return {seen.begin(), seen.end()};
  }

  bool begins_with_special(const std::vector<Token>& given) const {
    const auto token = [&](Index i) { return given[static_cast<std::size_t>(i)]; };
    if (static_cast<Index>(given.size()) < first_token()) return false;
    if (first_unknown() > 0 && token(0) != *config_.mask_token) return false;
    for (Index i = first_unknown(); i < first_token(); ++i) {
      if (token(i) != *config_.oov_token) return false;
    }
    return true;
  }
  std::int64_t unknown_place(const std::int64_t& token) const {
    if (config_.hashes_integers) return unknown_place(std::to_string(token));
    const std::int64_t rest = token % config_.num_oov_indices;
    return rest < 0 ? rest + config_.num_oov_indices : rest;
  }
  std::int64_t unknown_place(const std::string& token) const noexcept {
    return config_.num_oov_indices == 1 ? 0
                                        : hash_bucket(token, config_.num_oov_indices, config_.salt);
  }

  // Unknown tokens weigh the mean of all; places without a token nothing.
  void set_weights(std::size_t num_tokens, const std::vector<double>& given, bool has_special) {
    if (config_.output_mode != LookupMode::tf_idf) return;
    if (given.size() != num_tokens) {
      fail("idf_weights", std::to_string(num_tokens) + " numbers", std::to_string(given.size()));
    }
    double mean = 0;
    for (const double weight : given) mean += weight / static_cast<double>(given.size());
    idf_weights_.assign(has_special ? 0 : static_cast<std::size_t>(first_token()), mean);
    idf_weights_.insert(idf_weights_.end(), given.begin(), given.end());
  }

  [[noreturn]] void fail(std::string_view option, const std::string& expected,
                         const std::string& got) const {
    core::throw_config_error(layer_, option, expected, got);
  }

  std::string layer_;
  LookupConfig<Token> config_;
  std::vector<Token> tokens_;
  std::unordered_map<Token, std::int64_t> places_;
  std::vector<double> idf_weights_;  // from place 0 on
};

}  // namespace grouphead::nn
