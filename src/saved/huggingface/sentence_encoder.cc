#include "grouphead/files/sentence_encoder.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "saved/huggingface/folder.h"

namespace grouphead {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kModules = "modules.json";

struct NamedPooling {
  std::string_view name;
  std::string_view older_key;  // of a bool, before version 6
  Pooling pooling;
};
// In the order in which sentence-transformers joins them.
constexpr NamedPooling kPoolings[] = {
    {"cls", "pooling_mode_cls_token", Pooling::first},
    {"max", "pooling_mode_max_tokens", Pooling::maximum},
    {"mean", "pooling_mode_mean_tokens", Pooling::mean},
    {"mean_sqrt_len_tokens", "pooling_mode_mean_sqrt_len_tokens", Pooling::root_mean},
    {"weightedmean", "pooling_mode_weightedmean_tokens", Pooling::weighted_mean},
    {"lasttoken", "pooling_mode_lasttoken", Pooling::last}};

[[noreturn]] void fail(const fs::path& file, const std::string& text) {
  throw IoError("[load_sentence_encoder] " + file.string() + ": " + text);
}

std::string text_of(const ConfigValue& object, std::string_view key) {
  const ConfigValue& value = object[key];
  return value.is_string() ? value.as_string(key) : std::string();
}

/// A module's folder, which is inside.
fs::path inside(const fs::path& folder, const std::string& path) {
  if (path.find("..") != std::string::npos || fs::path(path).is_absolute()) {
    fail(folder / kModules, "path: expected a folder inside, got " + path);
  }
  return path.empty() ? folder : folder / path;
}

/// The JSON of a file, or an empty object where there is none.
ConfigValue read_if_there(const fs::path& file) {
  std::error_code ignored;
  return fs::exists(file, ignored) ? saved::read_json(file) : ConfigValue(ConfigValue::Object{});
}

std::vector<Pooling> read_poolings(const fs::path& folder) {
  constexpr std::string_view kKey = "pooling_mode";  // a name, or a list of them
  const fs::path file = folder / "config.json";
  const ConfigValue json = saved::read_json(file);
  saved::HubConfig config("[load_sentence_encoder] " + file.string(), json);
  ConfigValue::List names;
  if (config.value(kKey).is_list()) {
    names = config.value(kKey).as_list(kKey);
  } else if (config.has(kKey)) {
    names.push_back(config.value(kKey));
  }
  std::vector<Pooling> poolings;
  std::size_t known = 0;
  for (const auto& [name, older_key, pooling] : kPoolings) {
    const auto count = std::count(names.begin(), names.end(), ConfigValue(name));
    known += static_cast<std::size_t>(count);
    const bool as_older = config.boolean(older_key, false) && names.empty();
    if (as_older || count > 0) poolings.push_back(pooling);
  }
  if (known != names.size()) config.refuse(kKey, "names of poolings");
  config.ignore({"word_embedding_dimension", "embedding_dimension"});
  config.require("include_prompt", true);
  config.finish();
  if (poolings.empty()) poolings.push_back(Pooling::mean);
  return poolings;
}

/// Tokens that a text keeps: as the folder says, and not more than the model has positions.
Index read_max_length(const fs::path& folder, const TransformerModelConfig& model) {
  const ConfigValue module = read_if_there(folder / "sentence_bert_config.json");
  const ConfigValue& lowers = module["do_lower_case"];
  if (lowers.is_bool() && lowers.as_bool("do_lower_case")) {
    fail(folder / "sentence_bert_config.json", "do_lower_case: expected false, got true");
  }
  Index length = std::numeric_limits<std::int32_t>::max();
  const auto limit = [&](const ConfigValue& value) {
    const bool is_length = value.is_integer() && value.as_integer("length") > 0;
    if (is_length) length = std::min(length, value.as_integer("length"));
    return is_length;
  };
  if (!limit(module["max_seq_length"])) {
    limit(read_if_there(folder / "tokenizer_config.json")["model_max_length"]);
  }
  if (model.max_positions > 0)
    length = std::min(length, model.max_positions - model.position_offset);
  return length;
}

std::string read_prompt(const fs::path& folder) {
  const ConfigValue config = read_if_there(folder / "config_sentence_transformers.json");
  const std::string name = text_of(config, "default_prompt_name");
  return name.empty() ? name : text_of(config["prompts"], name);
}

/// Rows of one text's hidden states that are real.
std::vector<Index> real_rows(const TransformerInputs& inputs, Index b, Index length) {
  std::vector<Index> rows;
  for (Index at = b * length; at < (b + 1) * length; ++at) {
    if (!inputs.mask.has_value() || inputs.mask.data<bool>()[at]) rows.push_back(at);
  }
  return rows;
}

/// Sums run over the tokens in their order, in double.
template <class Hidden>
double pooled(Pooling pooling, const std::vector<Index>& rows, const Hidden& hidden) {
  const auto count = static_cast<double>(rows.size());
  double sum = 0;
  double weighted = 0;
  double greatest = -std::numeric_limits<double>::infinity();
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const double value = hidden(rows[i]);
    sum += value;
    weighted += static_cast<double>(i + 1) * value;
    greatest = std::max(greatest, value);
  }
  switch (pooling) {
    case Pooling::first:
      return hidden(rows.front());
    case Pooling::last:
      return hidden(rows.back());
    case Pooling::mean:
      return sum / count;
    case Pooling::root_mean:
      return sum / std::sqrt(count);
    case Pooling::weighted_mean:
      return weighted / (count * (count + 1) / 2);
    case Pooling::maximum:
      return greatest;
  }
  return 0;
}

template <class F>
void normalise(F* row, Index width) {
  constexpr double kSmallest = 1e-12;  // as torch.nn.functional.normalize()
  double squares = 0;
  for (Index i = 0; i < width; ++i) squares += double{row[i]} * double{row[i]};
  const double length = std::max(std::sqrt(squares), kSmallest);
  for (Index i = 0; i < width; ++i) row[i] = static_cast<F>(row[i] / length);
}

template <class F>
void pool(const SentenceEncoder& encoder, const TransformerInputs& inputs, const Tensor& hidden,
          F* out) {
  const Index length = hidden.dim(1);
  const Index width = hidden.dim(2);
  const Index all = width * static_cast<Index>(encoder.poolings.size());
  for (Index b = 0; b < hidden.dim(0); ++b, out += all) {
    const std::vector<Index> rows = real_rows(inputs, b, length);
    std::fill_n(out, all, F{0});
    if (rows.empty()) continue;
    F* to = out;
    for (const Pooling pooling : encoder.poolings) {
      for (Index i = 0; i < width; ++i) {
        *to++ = static_cast<F>(pooled(
            pooling, rows, [&](Index row) { return double{hidden.data<F>()[row * width + i]}; }));
      }
    }
    if (encoder.normalizes) normalise(out, all);
  }
}

/// Some texts, those that are shorter padded at their ends. The mask is absent where nothing is
/// padded.
TransformerInputs padded(std::span<const Encoding> encodings, std::span<const std::size_t> chosen,
                         Index length) {
  const Shape shape = {static_cast<Index>(chosen.size()), length};
  TransformerInputs inputs{.tokens = Tensor::zeros(shape, Dtype::i32),
                           .mask = Tensor::zeros(shape, Dtype::boolean),
                           .token_types = Tensor::zeros(shape, Dtype::i32)};
  bool is_full = true;
  Index begin = 0;
  for (const std::size_t i : chosen) {
    const Encoding& text = encodings[i];
    const auto count = static_cast<Index>(text.ids.size());
    std::copy(text.ids.begin(), text.ids.end(), inputs.tokens.data<std::int32_t>() + begin);
    std::copy(text.type_ids.begin(), text.type_ids.end(),
              inputs.token_types.data<std::int32_t>() + begin);
    std::fill_n(inputs.mask.data<bool>() + begin, count, true);
    is_full = is_full && count == length;
    begin += length;
  }
  if (is_full) inputs.mask = {};
  return inputs;
}

}  // namespace

Tensor SentenceEncoder::operator()(Context& ctx, const TransformerInputs& inputs) const {
  const Tensor hidden = (*pretrained.model)(ctx, inputs);
  const Index width = hidden.dim(2) * static_cast<Index>(poolings.size());
  Tensor out = ctx.tensor({hidden.dim(0), width}, hidden.dtype());
  if (hidden.dtype() == Dtype::f64) {
    pool(*this, inputs, hidden, out.data<double>());
  } else {
    pool(*this, inputs, hidden, out.data<float>());
  }
  return out;
}

Tensor SentenceEncoder::encode(Context& ctx, const Tokenizer& tokenizer,
                               std::span<const std::string> texts) const {
  constexpr std::size_t kMostTexts = 64;
  constexpr Index kMostTokens = 4096;
  std::vector<std::string> prompted(prompt.empty() ? 0 : texts.size(), prompt);
  for (std::size_t i = 0; i < prompted.size(); ++i) prompted[i] += texts[i];
  const std::vector<Encoding> encodings = tokenizer.encode_batch(
      ctx, prompted.empty() ? texts : prompted, {.max_length = max_length, .pads = false});
  // The longest first, each run of them padded to its first.
  std::vector<std::size_t> order(texts.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  const auto length_of = [&](std::size_t i) { return encodings[i].ids.size(); };
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return length_of(a) > length_of(b); });
  const Index width = pretrained.model->config().hidden_size * static_cast<Index>(poolings.size());
  Tensor out({static_cast<Index>(texts.size()), width}, pretrained.model->dtype());
  for (std::size_t begin = 0; begin < order.size();) {
    const Index length = std::max<Index>(static_cast<Index>(length_of(order[begin])), 1);
    const auto most = static_cast<std::size_t>(std::max<Index>(kMostTokens / length, 1));
    const std::size_t count = std::min({order.size() - begin, most, kMostTexts});
    const std::span<const std::size_t> chosen = std::span(order).subspan(begin, count);
    const Tensor vectors = (*this)(ctx, padded(encodings, chosen, length));
    for (std::size_t i = 0; i < count; ++i) {
      const auto row = static_cast<Index>(chosen[i]);
      copy(vectors.view().slice(0, static_cast<Index>(i), static_cast<Index>(i) + 1),
           out.view().slice(0, row, row + 1));
    }
    begin += count;
  }
  return out;
}

SentenceEncoder load_sentence_encoder(const fs::path& folder) {
  const fs::path file = folder / kModules;
  const ConfigValue modules = saved::read_json(file);
  if (!modules.is_list()) fail(file, "expected a list of modules");
  SentenceEncoder encoder;
  for (const ConfigValue& module : modules.as_list("modules")) {
    const std::string type = text_of(module, "type");
    const std::string name = type.substr(type.rfind('.') + 1);
    const fs::path at = inside(folder, text_of(module, "path"));
    const bool has_model = encoder.pretrained.model != nullptr;
    if (name == "Transformer" && !has_model) {
      encoder.pretrained = load_pretrained(at);
      encoder.max_length = read_max_length(at, encoder.pretrained.model->config());
    } else if (name == "Pooling" && has_model && encoder.poolings.empty()) {
      encoder.poolings = read_poolings(at);
    } else if (name == "Normalize" && !encoder.poolings.empty()) {
      encoder.normalizes = true;
    } else {
      fail(file,
           "expected Transformer, Pooling and Normalize, got " + (type.empty() ? "no type" : type));
    }
  }
  if (encoder.poolings.empty()) fail(file, "expected a Transformer and a Pooling, got fewer");
  if (encoder.pretrained.model->config().head) {
    fail(file,
         "expected a model without a language model's head, got " + encoder.pretrained.family);
  }
  encoder.prompt = read_prompt(folder);
  return encoder;
}

}  // namespace grouphead
