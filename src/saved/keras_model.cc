#include <chrono>
#include <ctime>
#include <new>
#include <stdexcept>

#include "io/file.h"
#include "io/json.h"
#include "io/zip.h"
#include "nn/loading_scope.h"
#include "saved/form_for_keras.h"
#include "saved/keras_assets.h"
#include "saved/keras_config.h"
#include "saved/keras_files.h"
#include "saved/keras_legacy.h"

namespace grouphead::saved {
namespace {

namespace fs = std::filesystem;

constexpr const char* kMetadata = "metadata.json";
constexpr const char* kConfig = "config.json";
constexpr const char* kWeights = "model.weights.h5";
constexpr std::string_view kVersion = "3.15.1";  // whose form files have that are written here

bool ends_with(const fs::path& file, std::string_view end) {
  return file.filename().string().ends_with(end);
}

/// Whatever a file makes fail is the file's error.
template <class Body>
auto reading(const fs::path& file, const Body& body) -> decltype(body()) {
  const std::string where = "[load] " + file.string() + ": ";
  try {
    return body();
  } catch (const IoError&) {
    throw;
  } catch (const Error& error) {
    throw IoError(where + error.what());
  } catch (const std::bad_alloc&) {
    throw IoError(where + "expected a model that fits into memory, got a larger one");
  } catch (const std::length_error&) {
    throw IoError(where + "expected a model that fits into memory, got a larger one");
  }
}

std::unique_ptr<CompiledModel> compile_as(const ConfigValue& config, Model& model) {
  if (!config.is_object() || config.as_object("compile_config").empty()) return nullptr;
  return std::make_unique<CompiledModel>(model, compile_config_from(config, model));
}

/// The archive of a `.keras` file, and how many bytes it has.
struct KerasArchive {
  explicit KerasArchive(const fs::path& path) : KerasArchive(path, io::MappedFile::open(path)) {}
  KerasArchive(const fs::path& path, const std::shared_ptr<io::MappedFile>& mapped)
      : file(path),
        bytes(mapped->bytes().size()),
        archive({mapped->bytes(), mapped}, path.string()) {
    io::require_data(path);
  }

  fs::path file;
  std::size_t bytes;
  io::ZipFile archive;
};

std::shared_ptr<io::Hdf5File> weights_in(const KerasArchive& from) {
  const io::OwnedBytes bytes = from.archive.read(kWeights);
  return std::make_shared<io::Hdf5File>(bytes.bytes, bytes.owner,
                                        from.file.string() + ": " + kWeights);
}

ConfigValue json_in(const KerasArchive& from, const char* member) {
  const auto limits = io::JsonLimits::of_file(from.bytes);
  const io::OwnedBytes text = from.archive.read(member, static_cast<Index>(limits.bytes));
  return io::parse_json(text.text(), from.file.string() + ": " + member, limits);
}

TrainableModel load_archive(const fs::path& file, bool with_training) {
  const KerasArchive archive(file);
  const ConfigValue config = json_in(archive, kConfig);
  const KerasStore store(weights_in(archive));
  TrainableModel made{.model = architecture(config, store.num_elements())};
  const std::vector<KerasObject> objects = keras_objects(*made.model);
  read_vocabularies(archive.archive, objects);
  WeightsToLoad weights("[load] " + file.string());
  weights.add(store, objects);
  weights.load();
  // Behind the weights, which say what is quantized and has no state.
  if (with_training) made.compiled = compile_as(config["compile_config"], *made.model);
  if (made.compiled && made.compiled->has_optimizer()) {
    WeightsToLoad state("[load] " + file.string());
    state.add(store, made.compiled->optimizer());
    state.load();
  }
  return made;
}

TrainableModel load_legacy(const fs::path& file, bool with_training) {
  const std::shared_ptr<io::Hdf5File> opened = open_hdf5(file);
  Index elements = 0;
  for (const auto& [path, dataset] : opened->datasets()) elements += parameter_elements(dataset);
  TrainableModel made{.model = architecture(legacy_model_config(*opened), elements)};
  WeightsToLoad weights("[load] " + file.string());
  add_legacy_weights(*opened, *made.model, weights);
  weights.load();
  if (with_training) {
    made.compiled = compile_as(plain_config(legacy_compile_config(*opened)), *made.model);
  }
  if (made.compiled && made.compiled->has_optimizer()) {
    WeightsToLoad state("[load] " + file.string());
    add_legacy_state(*opened, made.compiled->optimizer(), state);
    state.load();
  }
  return made;
}

// As Keras writes it: 2026-11-21@04:41:59.
std::string now() {
  const std::time_t time = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  std::tm parts{};
  localtime_r(&time, &parts);
  char text[sizeof "2026-11-21@04:41:59"] = {};
  std::strftime(text, sizeof text, "%Y-%m-%d@%H:%M:%S", &parts);
  return text;
}

}  // namespace

bool has_keras_files() noexcept { return true; }

std::shared_ptr<Model> architecture(const ConfigValue& config, Index elements) {
  const nn::LoadingScope scope(elements);
  return model_from_config(plain_config(config));
}

KerasContents read_keras_contents(const fs::path& file) {
  return reading(file, [&] {
    KerasContents contents;
    std::shared_ptr<io::Hdf5File> weights;
    if (ends_with(file, ".keras")) {
      const KerasArchive archive(file);
      contents.format = "keras";
      contents.config = json_in(archive, kConfig);
      const ConfigValue version = json_in(archive, kMetadata)["keras_version"];
      if (version.is_string()) contents.keras_version = version.as_string("keras_version");
      weights = weights_in(archive);
    } else {
      contents.format = "hdf5";
      weights = open_hdf5(file);
      if (has_legacy_model(*weights)) {
        contents.config = plain_config(legacy_model_config(*weights));
      }
      contents.keras_version = legacy_version(*weights);
    }
    for (const auto& [path, dataset] : weights->datasets()) {
      std::string dtype;
      if (dataset.problem.empty()) dtype = dataset.is_int8 ? "int8" : name_of(dataset.dtype);
      contents.arrays.push_back({path, dtype, dataset.shape});
      contents.parameter_elements += parameter_elements(dataset);
    }
    return contents;
  });
}

TrainableModel load_keras_model(const fs::path& file, bool with_training) {
  return reading(file, [&] {
    if (ends_with(file, ".keras")) return load_archive(file, with_training);
    if (ends_with(file, ".h5") && !ends_with(file, ".weights.h5")) {
      return load_legacy(file, with_training);
    }
    throw IoError("[load] " + file.string() + ": expected a name that ends in .keras or .h5");
  });
}

void save_keras_model(const Model& model, const CompiledModel* compiled, const fs::path& file) {
  if (!ends_with(file, ".keras")) {
    throw IoError("[save] " + file.string() + ": expected a name that ends in .keras");
  }
  ConfigValue config = keras_form(model).config;
  config.set("compile_config",
             compiled != nullptr ? compiled->compile_config() : ConfigValue(ConfigValue::Object{}));
  const std::string config_text = io::json_text(config);
  const std::string metadata =
      io::json_text(ConfigValue::Object{{"keras_version", kVersion}, {"date_saved", now()}});
  const bool has_optimizer = compiled != nullptr && compiled->has_optimizer();
  const std::unique_ptr<io::Hdf5Writer> weights =
      weights_file(keras_objects(model), has_optimizer ? &compiled->optimizer() : nullptr);
  io::write_zip(file,
                {{kMetadata, metadata}, {kConfig, config_text}, {kWeights, weights->finish()}});
}

void load_keras_weights(Layer& model, Optimizer* optimizer, const fs::path& file) {
  reading(file, [&] {
    WeightsToLoad weights("[load] " + file.string());
    std::shared_ptr<io::Hdf5File> legacy;
    std::optional<KerasStore> store;
    if (ends_with(file, ".weights.json")) {
      store = KerasStore::sharded(file);
    } else if (ends_with(file, ".keras")) {
      store.emplace(weights_in(KerasArchive(file)));
    } else if (ends_with(file, ".weights.h5")) {
      store.emplace(open_hdf5(file));
    } else {
      legacy = open_hdf5(file);
      add_legacy_weights(*legacy, model, weights);
      if (optimizer != nullptr) add_legacy_state(*legacy, *optimizer, weights);
    }
    if (store) {
      weights.add(*store, keras_objects(model));
      if (optimizer != nullptr) weights.add(*store, *optimizer);
    }
    weights.load();
  });
}

void save_keras_weights(const Layer& model, const Optimizer* optimizer, const fs::path& file,
                        const SaveWeightsConfig& config) {
  const std::vector<KerasObject> objects = keras_objects(model);
  if (ends_with(file, ".weights.json")) {
    return save_sharded(objects, optimizer, file, config.largest_shard);
  }
  if (!ends_with(file, ".weights.h5")) {
    throw IoError("[save] " + file.string() +
                  ": expected a name that ends in .weights.h5 or .weights.json, or in none of "
                  "Keras's ways");
  }
  io::write_file(file, weights_file(objects, optimizer)->finish());
}

}  // namespace grouphead::saved
