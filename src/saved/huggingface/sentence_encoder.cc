#include "grouphead/files/sentence_encoder.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "saved/huggingface/folder.h"

namespace grouphead {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kModules = "modules.json";

struct NamedPooling {
  std::string_view key;
  Pooling pooling;
};
// In the order in which sentence-transformers joins them.
constexpr std::array<NamedPooling, 5> kPoolings = {
    {{"pooling_mode_cls_token", Pooling::first},
     {"pooling_mode_max_tokens", Pooling::maximum},
     {"pooling_mode_mean_tokens", Pooling::mean},
     {"pooling_mode_mean_sqrt_len_tokens", Pooling::root_mean},
     {"pooling_mode_lasttoken", Pooling::last}}};

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

std::vector<Pooling> read_poolings(const fs::path& folder) {
  const fs::path file = folder / "config.json";
  const ConfigValue json = saved::read_json(file);
  saved::HubConfig config("[load_sentence_encoder] " + file.string(), json);
  std::vector<Pooling> poolings;
  for (const auto& [key, pooling] : kPoolings) {
    if (config.boolean(key, false)) poolings.push_back(pooling);
  }
  config.ignore({"word_embedding_dimension", "include_prompt"});
  config.require("pooling_mode_weightedmean_tokens", false);
  config.finish();
  if (poolings.empty()) fail(file, "expected a pooling mode that is true, got none");
  return poolings;
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
  double greatest = -std::numeric_limits<double>::infinity();
  for (const Index row : rows) {
    sum += hidden(row);
    greatest = std::max(greatest, hidden(row));
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
void encode(const SentenceEncoder& encoder, const TransformerInputs& inputs, const Tensor& hidden,
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

}  // namespace

Tensor SentenceEncoder::operator()(Context& ctx, const TransformerInputs& inputs) const {
  const Tensor hidden = (*pretrained.model)(ctx, inputs);
  const Index width = hidden.dim(2) * static_cast<Index>(poolings.size());
  Tensor out = ctx.tensor({hidden.dim(0), width}, hidden.dtype());
  if (hidden.dtype() == Dtype::f64) {
    encode(*this, inputs, hidden, out.data<double>());
  } else {
    encode(*this, inputs, hidden, out.data<float>());
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
  return encoder;
}

}  // namespace grouphead
