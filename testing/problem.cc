#include "testing/problem.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <vector>

#include "core/check.h"
#include "ops/attention.h"
#include "testing/masks.h"

namespace grouphead::testing {
namespace {

constexpr unsigned bit(Operation operation) { return 1U << static_cast<unsigned>(operation); }
constexpr unsigned kAttention =
    bit(Operation::attention_forward) | bit(Operation::attention_forward_backward);
constexpr unsigned kDecode = bit(Operation::decode);
constexpr unsigned kGemm = bit(Operation::gemm);
constexpr unsigned kGqa = bit(Operation::layer_gqa_forward) | bit(Operation::layer_gqa_train);
constexpr unsigned kLayer =
    kGqa | bit(Operation::layer_mha_forward) | bit(Operation::layer_mha_train);
constexpr unsigned kBf16 = kAttention | kLayer;
constexpr unsigned kGenerate = bit(Operation::lm_generate);
constexpr unsigned kModel = bit(Operation::lm_train) | kGenerate;
constexpr unsigned kAll = kAttention | kDecode | kGemm | kLayer | kModel;

constexpr std::array<std::string_view, 10> kOperations = {
    "attention.fwd",   "attention.fwdbwd", "decode",          "gemm",     "layer.gqa.fwd",
    "layer.gqa.train", "layer.mha.fwd",    "layer.mha.train", "lm.train", "lm.generate"};

/// `t1024`: a letter and a size.
struct SizeWord {
  std::string_view name;
  Index Problem::*field;
  unsigned operations;
};
constexpr SizeWord kSizes[] = {
    {"b", &Problem::B, kAttention | kDecode | kLayer | kModel},
    {"t", &Problem::T, kAttention | kLayer | kModel},
    {"s", &Problem::S, kAttention | kDecode | kLayer | kGenerate},
    {"hq", &Problem::Hq, kAttention | kDecode | kLayer | kModel},
    {"hkv", &Problem::Hkv, kAttention | kDecode | kGqa | kModel},
    {"d", &Problem::D, kAttention | kDecode | kLayer},
    {"dv", &Problem::Dv, kAttention | kDecode},
    {"m", &Problem::M, kGemm | kLayer | kModel},
    {"n", &Problem::N, kGemm},
    {"k", &Problem::K, kGemm},
    {"f", &Problem::F, kModel},
    {"l", &Problem::L, kModel},
    {"v", &Problem::V, kModel},
};
constexpr Index kLargestSize = (Index{1} << 31) - 1;

/// `thr=2`: a name and a value; `causal`: a name alone.
struct OptionWord {
  std::string_view name;
  unsigned operations;
};
constexpr OptionWord kOptions[] = {{"causal", kAttention | kLayer},
                                   {"offset=", kAttention},
                                   {"window=", kAttention | kDecode},
                                   {"mask=", kAttention},
                                   {"bias", kAttention},
                                   {"dropout=", kAttention},
                                   {"rng=", kAttention},
                                   {"softcap=", kAttention},
                                   {"alibi", kAttention},
                                   {"sinks", kAttention},
                                   {"lengths", kAttention | kDecode},
                                   {"packed=", kAttention},
                                   {"cache=", kDecode},
                                   {"form=", kDecode},
                                   {"weights=", kGemm | kGenerate},
                                   {"thr=", kAll},
                                   {"isa=", kAll},
                                   {"seed=", kAll}};

[[noreturn]] void refuse(std::string_view what, const std::string& expected, std::string_view got) {
  core::throw_config_error("problem", what, expected, got);
}

std::string known_operations() { return fmt::format("one of {}", fmt::join(kOperations, ", ")); }

std::string known_words(Operation operation) {
  std::string names = "one of f32 f64";
  if (kBf16 & bit(operation)) names += " bf16";
  for (const SizeWord& word : kSizes) {
    if (word.operations & bit(operation)) names.append(" ").append(word.name).append("#");
  }
  for (const OptionWord& word : kOptions) {
    if (word.operations & bit(operation)) names.append(" ").append(word.name);
  }
  return names;
}

std::vector<std::string_view> split(std::string_view text) {
  std::vector<std::string_view> words;
  while (!text.empty()) {
    const std::size_t begin = text.find_first_not_of(" \t");
    if (begin == std::string_view::npos) break;
    const std::size_t end = std::min(text.find_first_of(" \t", begin), text.size());
    words.push_back(text.substr(begin, end - begin));
    text.remove_prefix(end);
  }
  return words;
}

Index number(std::string_view what, std::string_view digits, Index lowest, Index highest) {
  Index value = 0;
  const char* end = digits.data() + digits.size();
  const auto [stop, error] = std::from_chars(digits.data(), end, value);
  if (error != std::errc() || stop != end || value < lowest || value > highest) {
    refuse(what, fmt::format("a whole number from {} to {}", lowest, highest), digits);
  }
  return value;
}

double real_number(std::string_view what, std::string_view digits, double highest) {
  double value = 0;
  const char* end = digits.data() + digits.size();
  const auto [stop, error] = std::from_chars(digits.data(), end, value);
  if (error != std::errc() || stop != end || !(value >= 0 && value <= highest)) {
    refuse(what, fmt::format("a number from 0 to {}", highest), digits);
  }
  return value;
}

/// The value whose name this is.
template <class T>
struct NamedValue {
  std::string_view name;
  T value;
};
constexpr NamedValue<MaskKind> kMasks[] = {{"bool", MaskKind::blocks}, {"key", MaskKind::keys}};
constexpr NamedValue<CacheForm> kForms[] = {
    {"contiguous", CacheForm::contiguous}, {"ring", CacheForm::ring}, {"paged", CacheForm::paged}};
constexpr NamedValue<RandomAlgorithm> kGenerators[] = {{"philox", RandomAlgorithm::philox},
                                                       {"threefry", RandomAlgorithm::threefry}};

/// What may be stored in fewer bits: keys and values, weights.
constexpr NamedValue<Dtype> kStored[] = {
    {"f32", Dtype::f32}, {"f64", Dtype::f64}, {"bf16", Dtype::bf16}, {"int8", Dtype::u8}};

template <class T, std::size_t N>
T value_of(const NamedValue<T> (&known)[N], std::string_view what, std::string_view name) {
  std::string names;
  for (const NamedValue<T>& each : known) {
    if (each.name == name) return each.value;
    names.append(names.empty() ? "" : " or ").append(each.name);
  }
  refuse(what, names, name);
}

template <class T, std::size_t N>
std::string_view name_of(const NamedValue<T> (&known)[N], T value) {
  const auto* found = std::find_if(std::begin(known), std::end(known),
                                   [&](const NamedValue<T>& each) { return each.value == value; });
  return found->name;
}

Problem with_defaults(Operation operation) {
  Problem p;
  p.operation = operation;
  if (bit(operation) & (kAttention | kDecode | kLayer)) p.B = 1;
  if (bit(operation) & kModel) {
    p.B = operation == Operation::lm_train ? 16 : 1;
    p.T = 256;
    p.Hq = 8;
    p.Hkv = 2;
    p.M = 256;
    p.L = 4;
    p.V = 256;
  }
  if (operation == Operation::lm_generate) p.S = 16;
  return p;
}

/// Reads the words of one problem; `seen_` finds those that come twice.
class Reader {
 public:
  explicit Reader(Operation operation) : problem_(with_defaults(operation)) {}

  void read(std::string_view word) {
    const bool may_be_size = is_for_this(kModel) && !is_first_;
    is_first_ = false;
    if ((!may_be_size && (word == "f32" || word == "f64")) ||
        (word == "bf16" && is_for_this(kBf16))) {
      once("dtype", word);
      problem_.dtype = word == "f32" ? Dtype::f32 : word == "f64" ? Dtype::f64 : Dtype::bf16;
    } else if (!read_size(word) && !read_option(word)) {
      refuse(word, known_words(problem_.operation), "a word that is not available");
    }
  }

  Problem finish() {
    if (!has_cache_) problem_.cache = problem_.dtype;
    derive_sizes();
    require_sizes();
    require_consistent();
    return problem_;
  }

 private:
  bool is_for_this(unsigned operations) const {
    return (operations & bit(problem_.operation)) != 0;
  }

  void once(std::string_view name, std::string_view word) {
    if (std::find(seen_.begin(), seen_.end(), name) != seen_.end()) refuse(name, "one value", word);
    seen_.push_back(name);
  }

  bool read_size(std::string_view word) {
    const std::size_t digits = word.find_first_of("0123456789");
    if (digits == std::string_view::npos) return false;
    for (const SizeWord& known : kSizes) {
      if (word.substr(0, digits) != known.name || !is_for_this(known.operations)) continue;
      once(known.name, word);
      problem_.*known.field = number(known.name, word.substr(digits), 1, kLargestSize);
      return true;
    }
    return false;
  }

  bool read_option(std::string_view word) {
    const std::size_t name_size = std::min(word.find('='), word.size() - 1) + 1;
    const std::string_view name = word.substr(0, name_size);
    const std::string_view value = word.substr(name_size);
    const OptionWord* found =
        std::find_if(std::begin(kOptions), std::end(kOptions),
                     [&](const OptionWord& known) { return known.name == name; });
    if (found == std::end(kOptions) || !is_for_this(found->operations)) return false;
    once(found->name, word);
    if (name == "causal") problem_.causal = true;
    if (name == "offset=")
      problem_.causal_offset = number(name, value, -kLargestSize, kLargestSize);
    if (name == "window=") problem_.window = number(name, value, 1, kLargestSize);
    if (name == "mask=") problem_.mask = value_of(kMasks, name, value);
    if (name == "bias") problem_.bias = true;
    if (name == "dropout=") problem_.dropout_rate = real_number(name, value, 1);
    if (name == "softcap=") problem_.softcap = real_number(name, value, 1e6);
    if (name == "alibi") problem_.alibi = true;
    if (name == "sinks") problem_.sinks = true;
    if (name == "lengths") problem_.lengths = true;
    if (name == "packed=") problem_.packed = number(name, value, 1, kLargestSize);
    if (name == "rng=") problem_.rng = value_of(kGenerators, name, value);
    if (name == "cache=") {
      problem_.cache = value_of(kStored, name, value);
      has_cache_ = true;
    }
    if (name == "form=") problem_.form = value_of(kForms, name, value);
    if (name == "weights=") problem_.weights = value_of(kStored, name, value);
    if (name == "thr=") problem_.num_threads = number(name, value, 0, 4096);
    if (name == "isa=") problem_.isa = isa_from_name(value);
    if (name == "seed=") problem_.seed = number(name, value, 0, kLargestSize);
    return true;
  }

  void derive_sizes() {
    Problem& p = problem_;
    const auto derive = [&](Index& size, Index from) {
      if (size == 0) size = from;
    };
    if (is_for_this(kAttention | kLayer)) derive(p.S, p.T);
    if (is_for_this(kAttention | kDecode | kLayer)) {
      derive(p.Hkv, p.Hq);
      derive(p.Dv, p.D);
    }
    if (is_for_this(kModel)) derive(p.F, 4 * p.M);
  }

  void require_sizes() const {
    for (const SizeWord& word : kSizes) {
      if (is_for_this(word.operations) && problem_.*word.field == 0) {
        refuse(word.name, fmt::format("a size, as in {}64", word.name), "nothing");
      }
    }
  }

  void require_consistent() const {
    const Problem& p = problem_;
    if (p.Hq != 0 && p.Hq % p.Hkv != 0) {
      refuse("hkv", fmt::format("a divisor of hq{}", p.Hq), std::to_string(p.Hkv));
    }
    if (is_for_this(kModel) && p.M % (2 * p.Hq) != 0) {
      refuse("m", fmt::format("hq{} heads of one even size", p.Hq), std::to_string(p.M));
    }
    if (p.causal_offset != 0 && !p.causal && p.window == 0) {
      refuse("offset=", "causal or window= beside it", std::to_string(p.causal_offset));
    }
    if (p.lengths && (p.packed != 0 || p.causal_offset != 0)) {
      refuse("lengths", "no packed= and offset= beside it", "one of them");
    }
    if (p.form == CacheForm::ring && p.window == 0) {
      refuse("form=", "window= beside ring", "none");
    }
    if (p.operation == Operation::decode && p.lengths && p.window != 0) {
      refuse("lengths", "no window= beside it", std::to_string(p.window));
    }
    if (p.packed != 0 && (p.B != 1 || p.T % p.packed != 0 || p.S % p.packed != 0)) {
      refuse("packed=", "b1, and a divisor of t and s", std::to_string(p.packed));
    }
    if (p.cache != p.dtype && (p.dtype == Dtype::f64 || p.cache == Dtype::f64)) {
      refuse("cache=", fmt::format("{}, as the queries", grouphead::name_of(p.dtype)),
             name_of(kStored, p.cache));
    }
    if (p.weights && p.weights != p.dtype && p.dtype == Dtype::f64) {
      refuse("weights=", "f64, as the rest", name_of(kStored, *p.weights));
    }
    if (p.weights == Dtype::f64 && p.dtype != Dtype::f64) {
      refuse("weights=", "f32 or bf16 or int8", "f64");
    }
    if (p.rng != RandomAlgorithm::philox && p.dropout_rate == 0) {
      refuse("rng=", "dropout= beside it", name_of(kGenerators, p.rng));
    }
  }

  Problem problem_;
  bool is_first_ = true;
  bool has_cache_ = false;
  std::vector<std::string_view> seen_;
};

double real(Index size) { return static_cast<double>(size); }

/// sum(keys of the cache that the query of a batch entry sees) over the batch.
template <class Sum>
double sum_over_cached_keys(const Problem& p, const Sum& sum) {
  const Tensor lengths = p.lengths ? make_lengths(p) : Tensor();
  double total = 0;
  for (Index b = 0; b < p.B; ++b) {
    const Index length = p.lengths ? lengths.data<Index>()[b] : p.S;
    total += sum(p.window == 0 ? length : std::min(length, p.window));
  }
  return total;
}

double count_attention_flops(const Problem& p) {
  return 2 * real(p.Hq) * count_visible(p) * real(p.D + p.Dv);
}

/// Queries and outputs are projected at T positions, keys and values at S.
double count_layer_flops(const Problem& p) {
  const double projections =
      4 * real(p.B) * real(p.M) * real(p.D) * (real(p.T) * real(p.Hq) + real(p.S) * real(p.Hkv));
  const bool trains =
      p.operation == Operation::layer_gqa_train || p.operation == Operation::layer_mha_train;
  return trains ? 3 * projections + 3.5 * count_attention_flops(p)
                : projections + count_attention_flops(p);
}

/// Multiply-adds of one position of the language model, without attention's own products.
double count_projection_weights(const Problem& p) {
  const double hidden = real(p.M);
  const double kv = hidden / real(p.Hq) * real(p.Hkv);
  return real(p.L) * 2 * hidden * (hidden + kv + real(p.F)) + hidden * real(p.V);
}

/// Generation runs each of the T new positions once; its prompt is not counted.
double count_model_flops(const Problem& p) {
  const double positions = real(p.B) * real(p.T);
  const double keys = real(p.S) + (real(p.T) + 1) / 2;  // that a position sees on average
  const double projections = 2 * positions * count_projection_weights(p);
  const double attention = 4 * positions * keys * real(p.L) * real(p.M);
  if (p.operation == Operation::lm_generate) return projections + attention;
  return 3 * projections + 3.5 * attention;
}

}  // namespace

std::string_view name_of(Operation operation) noexcept {
  return kOperations[static_cast<std::size_t>(operation)];
}

bool is_operation(std::string_view word) noexcept {
  return std::find(kOperations.begin(), kOperations.end(), word) != kOperations.end();
}

Problem parse_problem(std::string_view text) {
  const std::vector<std::string_view> words = split(text);
  const auto known = words.empty() ? kOperations.end()
                                   : std::find(kOperations.begin(), kOperations.end(), words[0]);
  if (known == kOperations.end()) {
    refuse("operation", known_operations(),
           words.empty() ? "nothing" : fmt::format("{}, which is not available", words[0]));
  }
  Reader reader(static_cast<Operation>(known - kOperations.begin()));
  for (std::size_t i = 1; i < words.size(); ++i) reader.read(words[i]);
  return reader.finish();
}

std::string to_string(const Problem& p) {
  std::string text(name_of(p.operation));
  text.append(" ").append(grouphead::name_of(p.dtype));
  for (const SizeWord& word : kSizes) {
    if ((word.operations & bit(p.operation)) == 0) continue;
    text.append(" ").append(word.name).append(std::to_string(p.*word.field));
  }
  if (p.operation == Operation::decode) text.append(" cache=").append(name_of(kStored, p.cache));
  if (p.form != CacheForm::contiguous) text.append(" form=").append(name_of(kForms, p.form));
  if (p.weights) text.append(" weights=").append(name_of(kStored, *p.weights));
  if (p.causal) text += " causal";
  if (p.causal_offset != 0) text += fmt::format(" offset={}", p.causal_offset);
  if (p.window != 0) text += fmt::format(" window={}", p.window);
  if (p.mask != MaskKind::none) text.append(" mask=").append(name_of(kMasks, p.mask));
  if (p.bias) text += " bias";
  if (p.softcap != 0) text += fmt::format(" softcap={}", p.softcap);
  if (p.alibi) text += " alibi";
  if (p.sinks) text += " sinks";
  if (p.lengths) text += " lengths";
  if (p.packed != 0) text += fmt::format(" packed={}", p.packed);
  if (p.dropout_rate != 0) text += fmt::format(" dropout={}", p.dropout_rate);
  if (p.rng != RandomAlgorithm::philox) text.append(" rng=").append(name_of(kGenerators, p.rng));
  if (p.num_threads != 0) text += fmt::format(" thr={}", p.num_threads);
  if (p.isa) text.append(" isa=").append(grouphead::name_of(*p.isa));
  if (p.seed != 1) text += fmt::format(" seed={}", p.seed);
  return text;
}

ContextOptions context_options(const Problem& p) {
  return {.num_threads = static_cast<int>(p.num_threads), .isa = p.isa};
}

double count_flops(const Problem& p) {
  switch (p.operation) {
    case Operation::attention_forward:
      return count_attention_flops(p);
    case Operation::attention_forward_backward:
      return 3.5 * count_attention_flops(p);
    case Operation::decode:
      return 2 * real(p.Hq) * sum_over_cached_keys(p, real) * real(p.D + p.Dv);
    case Operation::gemm:
      return 2 * real(p.M) * real(p.N) * real(p.K);
    case Operation::layer_gqa_forward:
    case Operation::layer_gqa_train:
    case Operation::layer_mha_forward:
    case Operation::layer_mha_train:
      return count_layer_flops(p);
    case Operation::lm_train:
    case Operation::lm_generate:
      return count_model_flops(p);
  }
  return 0;
}

double weight_bytes(const Problem& p, Index depth, Index columns) {
  const Dtype form = p.weights.value_or(p.dtype);
  const Index scales = form == Dtype::u8 ? columns * size_of(Dtype::f32) : 0;
  return real(depth * columns * size_of(form) + scales);
}

double cache_bytes(const Problem& p) {
  if (p.cache == p.dtype) {
    return sum_over_cached_keys(p, real) * real(p.Hkv * (p.D + p.Dv) * size_of(p.dtype));
  }
  const ops::CacheTileBytes tile = ops::cache_tile_bytes(p.cache, p.D, p.Dv);
  const auto tiles = [](Index keys) { return real((keys + 63) / 64); };
  return sum_over_cached_keys(p, tiles) * real(p.Hkv * (tile.keys + tile.values));
}

Index count_tokens(const Problem& p) {
  const bool is_model = (bit(p.operation) & kModel) != 0;
  return is_model ? p.B * p.T : 0;
}

}  // namespace grouphead::testing
