#include "tools/verbs/convert.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <string>

#include "grouphead/files/saved_model.h"
#include "grouphead/files/weights.h"
#include "grouphead/models/conversion.h"
#include "grouphead/models/quantize.h"
#include "saved/checkpoint.h"
#include "saved/model_folder.h"
#include "saved/output_folder.h"
#include "tools/other_file.h"
#include "tools/output.h"
#include "tools/run_model.h"
#include "tools/signals.h"
#include "tools/text_input.h"
#include "tools/verbs/options.h"

namespace grouphead::tools {
namespace {

namespace fs = std::filesystem;

constexpr Index kDefaultSequence = 256;  // of a model whose training nothing is known of
constexpr Index kLongestAxis = 16384;    // of random inputs: attention's time grows with its square

SaveModelConfig keras_of(const Model& model, const ConvertOptions& options) {
  const std::vector<std::string> problems = beyond_keras(model);
  if (problems.empty()) return {};
  const std::string list = fmt::format("{}", fmt::join(problems, ", "));
  if (!options.allow_own) {
    throw ConfigError(
        fmt::format("[convert] {}: expected what Keras can load, or --allow-own, got {}",
                    options.target, list));
  }
  notice(fmt::format("Keras cannot load {}: {}", options.target, list));
  return {.allow_own_options = true};
}

/// Random inputs are as long as the model's file says, which may be anything.
/// Errors: ShapeError for inputs so large that trying the model would take for ever.
std::vector<Tensor> inputs_to_try(const Model& model, const Globals& globals) {
  constexpr double kMost = 1 << 26;
  for (const Symbol& input : model.inputs()) {
    double values = 1;
    for (const Index size : input.shape()) values *= static_cast<double>(size < 0 ? 16 : size);
    const Index longest = *std::max_element(input.shape().begin(), input.shape().end());
    if (longest <= kLongestAxis && values <= kMost) continue;
    throw ShapeError(fmt::format(
        "[convert] {}: expected --inputs beside an input of {}, which random values do not suit, "
        "got none",
        input.name(), input.shape().to_string()));
  }
  return random_inputs(model, globals.seed);
}

/// Sequences [B, T] of as many bytes of `text` as there are, 8 of 1024 at most.
Tensor tokens_of(const std::string& text, Index longest) {
  constexpr Index kMostSequences = 8;
  const auto size = static_cast<Index>(text.size());
  const Index length = std::min(longest, size);
  const Index batch = length == 0 ? 0 : std::min(kMostSequences, size / length);
  if (batch == 0) throw IoError("[convert] --inputs: expected a text, got nothing");
  Tensor tokens({batch, length}, Dtype::i32);
  for (Index i = 0; i < tokens.size(); ++i) {
    tokens.data<std::int32_t>()[i] = static_cast<unsigned char>(text[static_cast<std::size_t>(i)]);
  }
  return tokens;
}

std::string random_bytes(Index count, std::uint64_t seed) {
  std::string bytes;
  for (Index i = 0; i < count; ++i) {
    bytes += static_cast<char>(threefry2x32({seed, 0}, static_cast<std::uint64_t>(i)) & 0xff);
  }
  return bytes;
}

void convert_folder(const ConvertOptions& options, const Globals& globals) {
  saved::OutputFolder folder(options.target, "convert");
  if (!options.overwrite) folder.require_empty();
  saved::LoadedLanguageModel loaded = saved::load_language_model(options.source);
  const auto converted = convert_heads(*loaded.model, conversion_of(options, globals));
  const Index length = std::min(
      loaded.training ? loaded.training->sequence_length : kDefaultSequence, kLongestSequence);
  const std::string text =
      options.inputs.empty() ? random_bytes(2 * length, globals.seed) : read_text(options.inputs);
  if (loaded.training) loaded.training->num_key_value_heads = options.num_key_value_heads;
  {
    const WritesFiles writes;
    saved::write_model(folder.path(), *converted, loaded.training);
    folder.keep();
  }
  report_of(
      [&] {
        Context ctx({.num_threads = globals.threads});
        return compare_heads(ctx, *loaded.model, *converted, tokens_of(text, length));
      },
      options, globals);
}

void convert_file(const ConvertOptions& options, const Globals& globals) {
  const std::shared_ptr<Model> model = load_model(options.source);
  const std::shared_ptr<Model> converted = convert_heads(*model, conversion_of(options, globals));
  std::vector<Tensor> inputs;
  if (!options.inputs.empty()) inputs = tools::model_inputs(*model, options.inputs);
  {
    const WritesFiles writes;
    save_model(*converted, options.target, keras_of(*converted, options));
  }
  report_of(
      [&] {
        Context ctx({.num_threads = globals.threads});
        if (options.inputs.empty()) inputs = inputs_to_try(*model, globals);
        return compare_heads(ctx, *model, *converted, inputs);
      },
      options, globals);
}

Quantization quantization_of(const ConvertOptions& options) {
  if (options.quantize != "int4" && options.block_size >= 0) {
    throw ConfigError("[convert] --block-size: expected --quantize int4 beside it, got " +
                      options.quantize);
  }
  if (options.quantize == "int8") return default_quantization(QuantizationMode::int8);
  if (options.quantize == "float8") return default_quantization(QuantizationMode::float8);
  Quantization how = default_quantization(QuantizationMode::int4);
  if (options.block_size >= 0) how.block_size = options.block_size;
  return how;
}

void convert_quantized(const ConvertOptions& options) {
  const std::string& target = options.target;
  if (target.ends_with(".safetensors")) {
    throw ConfigError("[convert] " + target +
                      ": expected .keras, .weights.h5 or .weights.json beside --quantize, got a "
                      "form that has floating-point weights alone");
  }
  const Quantization how = quantization_of(options);
  const std::shared_ptr<Model> model = load_model(options.source);
  if (quantize(*model, how).empty()) {
    notice("nothing was quantized: the model has no layer that Keras quantizes so");
  }
  const WritesFiles writes;
  target.ends_with(".keras") ? save_model(*model, target, keras_of(*model, options))
                             : save_weights(*model, target);
}

/// The same model in the form that the target's name says.
void convert_form(const ConvertOptions& options) {
  if (fs::is_directory(options.source)) {
    throw ConfigError(options.quantize.empty()
                          ? "[convert] --kv-heads: expected a number beside a folder, got none"
                          : "[convert] --quantize: expected a file of Keras, got the folder " +
                                options.source);
  }
  const std::string& target = options.target;
  const bool is_model = target.ends_with(".keras");
  if (!is_model && !target.ends_with(".weights.h5") && !target.ends_with(".weights.json") &&
      !target.ends_with(".safetensors")) {
    throw ConfigError("[convert] " + target +
                      ": expected .keras, .weights.h5, .weights.json or .safetensors, got another "
                      "ending");
  }
  if (!options.quantize.empty()) return convert_quantized(options);
  const TrainableModel loaded = load_compiled_model(options.source, {.requires_training = false});
  if (!loaded.problem.empty()) {
    notice(fmt::format("written without losses, metrics and optimizer: {}", loaded.problem));
  }
  const WritesFiles writes;
  if (loaded.compiled != nullptr) {
    is_model ? save_model(*loaded.compiled, target, keras_of(*loaded.model, options))
             : save_weights(*loaded.compiled, target);
  } else {
    is_model ? save_model(*loaded.model, target, keras_of(*loaded.model, options))
             : save_weights(*loaded.model, target);
  }
}

int convert(const ConvertOptions& options, const Globals& globals) {
  if (saved::has_checkpoint(options.target)) {
    throw ConfigError("[convert] " + options.target +
                      ": a training run is there already; give another target");
  }
  require_other_file("convert", options.target, options.source);
  if (!options.inputs.empty()) require_other_file("convert", options.target, options.inputs);
  if (options.num_key_value_heads == 0) {
    convert_form(options);
  } else if (saved::is_pretrained_folder(options.source)) {
    convert_pretrained(options, globals);
  } else if (fs::is_directory(options.source)) {
    convert_folder(options, globals);
  } else {
    convert_file(options, globals);
  }
  return kOk;
}

void print_report(const ConversionReport& report, const ConvertOptions& options,
                  const Globals& globals) {
  if (globals.quiet) return;
  print_out("{}", report.to_string());
  print_out("Errors are relative, on {}; that of a layer is its own alone.\n",
            options.inputs.empty() ? "random inputs" : options.inputs);
}

}  // namespace

HeadConversion conversion_of(const ConvertOptions& options, const Globals& globals) {
  return {.num_key_value_heads = options.num_key_value_heads,
          .pooling = head_pooling_from_name(options.pool),
          .seed = globals.seed};
}

void notice(const std::string& text) { print_err("grouphead: {}\n", text); }

void report_of(const std::function<ConversionReport()>& measure, const ConvertOptions& options,
               const Globals& globals) {
  try {
    print_report(measure(), options, globals);
  } catch (const Error& error) {
    notice(
        fmt::format("{} is written; its error was not measured: {}", options.target, error.what()));
  }
}

void add_quantize(CLI::App& verb, ConvertOptions& options, CLI::Option* heads) {
  CLI::Option* mode =
      verb.add_option("--quantize", options.quantize, "Numbers of fewer bits, as Keras makes them")
          ->check(CLI::IsMember({"int8", "int4", "float8"}))
          ->excludes(heads);
  add_whole(verb, "--block-size", options.block_size,
            "Numbers of int4 that share a scale; 0: all of an output", 0, Index{1} << 20)
      ->needs(mode)
      ->default_str("128");
}

void add_convert(CLI::App& app, const Globals& globals, Action& action) {
  CLI::App* verb = app.add_subcommand(
      "convert", "Gives a model fewer key/value heads or bits, or another form of file");
  verb->footer(
      "Example:\n  grouphead convert --kv-heads 2 mha.keras gqa.keras\n"
      "  grouphead convert --kv-heads 1 model mqa --inputs book.txt\n"
      "  grouphead train --init-from mqa --text book.txt --out trained --steps 20\n"
      "  grouphead convert --kv-heads 2 gpt2 gpt2-gqa --inputs book.txt\n"
      "  grouphead convert old.h5 new.keras\n"
      "  grouphead convert --quantize int8 model.keras small.keras\n"
      "MultiHeadAttention becomes GroupQueryAttention; a Hugging Face folder one that "
      "transformers\n"
      "opens. The table has each layer's relative error\n"
      "against the layer before, on the same inputs, and the bytes of keys and values for each\n"
      "token. Training afterwards wins back most of what is lost. Without --kv-heads a file is\n"
      "written in the form that the target's name says: .keras, .weights.h5, .weights.json or\n"
      ".safetensors, with the optimizer's state where both have it. --quantize does what Keras's\n"
      "model.quantize() does, and leaves losses, metrics and optimizer out.");
  const auto options = std::make_shared<ConvertOptions>();
  verb->add_option(
          "source", options->source,
          "A .keras file, a legacy whole-model .h5, a folder that train wrote, or one of Hugging "
          "Face")
      ->required();
  verb->add_option("target", options->target, "The file or folder to write")->required();
  CLI::Option* heads =
      add_whole(*verb, "--kv-heads", options->num_key_value_heads,
                "Key/value heads of each layer; they divide what it has", 1, Index{1} << 20)
          ->default_str("");
  verb->add_option("--pool", options->pool,
                   "What a new head is made of: the mean of those it stands for, the first, or "
                   "random numbers")
      ->check(CLI::IsMember({"mean", "first", "random"}))
      ->needs(heads)
      ->capture_default_str();
  verb->add_option("--inputs", options->inputs,
                   "What the errors are measured on: tensors as for `run`, or for a folder a text; "
                   "none: random")
      ->needs(heads);
  verb->add_flag("--overwrite", options->overwrite,
                 "Write into a folder that holds other files; those of the same names are replaced")
      ->needs(heads);
  add_quantize(*verb, *options, heads);
  verb->add_flag("--allow-own", options->allow_own,
                 "Write a .keras file also where the model has options that Keras does not know");
  const auto classes = std::make_shared<ClassFiles>();
  add_classes(*verb, *classes);
  verb->callback([=, &globals, &action] {
    action = [=, &globals] {
      register_all(*classes);
      return convert(*options, globals);
    };
  });
}

}  // namespace grouphead::tools
