#pragma once

// Models that Keras quantized, and the arrays of files: tests/golden/keras_quantized.

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "grouphead/files/saved_model.h"
#include "io/file.h"
#include "io/hdf5.h"
#include "io/safetensors.h"
#include "io/zip.h"

namespace grouphead::testing_support {

inline const std::string kQuantizedModels = GROUPHEAD_SOURCE_DIR "/tests/golden/keras_quantized/";

inline std::vector<std::string> quantized_model_names() {
  std::vector<std::string> names;
  for (const std::string model :
       {"dense", "wrapped", "einsum", "axes", "tied", "untied", "attention"}) {
    for (const std::string mode :
         {"int8", "int8_weights", "int8_range", "int4", "int4_inputs", "int4_groups", "float8"}) {
      const std::string name = std::string(model).append("_").append(mode);
      if (std::filesystem::exists(kQuantizedModels + name + ".keras")) names.push_back(name);
    }
  }
  return names;
}

/// A model, its input and what Keras predicts.
struct QuantizedModel {
  explicit QuantizedModel(const std::string& name)
      : values(io::read_safetensors(kQuantizedModels + name + ".safetensors")),
        model(load_model(kQuantizedModels + name + ".keras")) {
    for (const auto& [key, tensor] : values.tensors) {
      if (key.starts_with("inputs.")) x = tensor;
    }
  }
  io::Safetensors values;
  std::shared_ptr<Model> model;
  Tensor x;
};

/// The weights of a `.keras` file.
struct StoredWeights {
  explicit StoredWeights(const std::string& path)
      : mapped(io::MappedFile::open(path)),
        bytes(io::ZipFile({mapped->bytes(), mapped}, path).read("model.weights.h5")),
        file(bytes.bytes, bytes.owner, path) {}
  std::shared_ptr<io::MappedFile> mapped;
  io::OwnedBytes bytes;
  io::Hdf5File file;
};

/// Shapes, types and bits of all arrays.
inline std::map<std::string, std::string> arrays_of(const std::string& path) {
  const StoredWeights weights(path);
  std::map<std::string, std::string> arrays;
  for (const auto& [place, dataset] : weights.file.datasets()) {
    const Tensor numbers = weights.file.read(place);
    std::string& text = arrays[place];
    text = dataset.shape.to_string() + (dataset.is_int8 ? " int8 " : " ");
    text.append(name_of(dataset.dtype)).append(" ");
    text.append(static_cast<const char*>(numbers.view().raw()),
                static_cast<std::size_t>(numbers.bytes()));
  }
  return arrays;
}

}  // namespace grouphead::testing_support
