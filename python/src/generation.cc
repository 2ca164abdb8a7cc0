// Text, token by token.

#include "grouphead/models/generation.h"

#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>

#include "computing.h"
#include "grouphead/models/beam_search.h"
#include "model_arrays.h"
#include "models.h"

namespace grouphead::python {
namespace {

using Tokens = std::vector<std::int32_t>;

std::unique_ptr<Decoder> decoder_of(Context& ctx, const Layer& layer, std::optional<Dtype> stored) {
  const DecoderOptions options = {.cache_dtype = stored};
  if (const auto* model = dynamic_cast<const LanguageModel*>(&layer)) {
    return make_decoder(ctx, *model, options);
  }
  if (const auto* model = dynamic_cast<const TransformerModel*>(&layer)) {
    return make_decoder(ctx, *model, options);
  }
  if (const auto* model = dynamic_cast<const Model*>(&layer)) {
    return make_decoder(ctx, *model, options);
  }
  throw nb::type_error("[generate] model: expected a model that reads tokens, got a layer");
}

/// Python's function of the tokens so far and the logits, which returns the new logits.
LogitsProcessor processor_from(nb::handle function) {
  return [function](std::span<const std::int32_t> tokens, std::span<double> logits) {
    const PythonsTurn turn;
    const Tensor before =
        Tensor::from({static_cast<Index>(logits.size())}, std::span<const double>(logits));
    const nb::object result = function(Tokens(tokens.begin(), tokens.end()), array_from(before));
    const Tensor after = tensor_from(result);
    if (after.dtype() != Dtype::f64 || after.size() != before.size()) {
      throw ShapeError("[generate] logits_processor: expected float64 logits of shape " +
                       before.shape().to_string() + ", got " + std::string(name_of(after.dtype())) +
                       " " + after.shape().to_string());
    }
    std::copy_n(after.data<double>(), logits.size(), logits.begin());
  };
}

std::vector<LogitsProcessor> processors_from(nb::handle functions) {
  std::vector<LogitsProcessor> processors;
  for (const nb::handle function : nb::iter(functions)) {
    processors.push_back(processor_from(function));
  }
  return processors;
}

/// Raises what Ctrl-C asks for.
void check_signals() {
  const PythonsTurn turn;
  if (PyErr_CheckSignals() != 0) throw nb::python_error();
}

GenerationOptions options_from(const nb::dict& given) {
  const auto number = [&](const char* key) { return nb::cast<double>(given[key]); };
  GenerationOptions options;
  options.max_tokens = nb::cast<Index>(given["max_tokens"]);
  options.sampling = {.temperature = number("temperature"),
                      .top_k = nb::cast<Index>(given["top_k"]),
                      .top_p = number("top_p"),
                      .min_p = number("min_p"),
                      .repetition_penalty = number("repetition_penalty"),
                      .frequency_penalty = number("frequency_penalty"),
                      .presence_penalty = number("presence_penalty"),
                      .seed = nb::cast<std::uint64_t>(given["seed"])};
  options.stop_tokens = nb::cast<Tokens>(given["stop_tokens"]);
  options.processors = processors_from(given["logits_processors"]);
  options.draft_tokens = nb::cast<Index>(given["draft_tokens"]);
  options.on_prompt = [](Index /*read*/) { check_signals(); };
  return options;
}

std::optional<Dtype> cache_dtype(const nb::dict& given) {
  const nb::object name = given["cache_dtype"];
  if (name.is_none()) return {};
  return dtype_from(nb::cast<std::string>(name));
}

/// Appends to `tokens` as they come. `on_token` gets each one, and ends the text with False.
void generate(const std::shared_ptr<Layer>& layer, const Tokens& prompt, const nb::dict& given,
              const std::shared_ptr<Layer>& draft, nb::handle on_token, nb::list tokens) {
  GenerationOptions options = options_from(given);
  const std::optional<Dtype> stored = cache_dtype(given);
  const Computing computing;
  Context& ctx = computing.context();
  if (draft) options.draft = decoder_of(ctx, *draft, {});
  Generation generation(ctx, decoder_of(ctx, *layer, stored), prompt, options);
  while (generation.remaining() > 0) {
    const std::int32_t token = generation.next();
    const PythonsTurn turn;
    tokens.append(token);
    if (PyErr_CheckSignals() != 0) throw nb::python_error();
    if (!on_token.is_none() && on_token(token).is(nb::handle(Py_False))) break;
  }
}

/// A list of (tokens, score), best first.
nb::list searched(const std::shared_ptr<Layer>& layer, const Tokens& prompt, Index max_tokens,
                  Index num_beams, double length_penalty, bool early_stopping,
                  const Tokens& stop_tokens, nb::handle processors) {
  BeamSearchOptions options = {.max_tokens = max_tokens,
                               .num_beams = num_beams,
                               .length_penalty = length_penalty,
                               .early_stopping = early_stopping,
                               .stop_tokens = stop_tokens,
                               .processors = processors_from(processors)};
  options.processors.emplace_back([](std::span<const std::int32_t> /*tokens*/,
                                     std::span<double> /*logits*/) { check_signals(); });
  std::vector<Beam> beams;
  {
    const Computing computing;
    beams = beam_search(computing.context(), decoder_of(computing.context(), *layer, {}), prompt,
                        options);
  }
  nb::list list;
  for (const Beam& beam : beams) list.append(nb::make_tuple(beam.tokens, beam.score));
  return list;
}

}  // namespace

void define_generation(nb::module_& m) {
  m.def("generate", generate, nb::arg(), nb::arg(), nb::arg(), nb::arg().none(), nb::arg().none(),
        nb::arg());
  m.def("beam_search", searched);
}

}  // namespace grouphead::python
