// Models on disk, and fewer key/value heads for them.

#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>

#include "computing.h"
#include "config_values.h"
#include "grouphead/files/classes.h"
#include "grouphead/files/model_folder.h"
#include "grouphead/files/pretrained.h"
#include "grouphead/files/saved_model.h"
#include "grouphead/files/weights.h"
#include "grouphead/models/conversion.h"
#include "model_arrays.h"
#include "models.h"
#include "trainer.h"

namespace grouphead::python {
namespace {

using Path = std::filesystem::path;
using LayerPointer = std::shared_ptr<Layer>;
using TrainerPointer = std::shared_ptr<Trainer>;

/// (model, Trainer or None, why it is None though the file's model is compiled)
nb::tuple loaded_model(const Path& file, bool compile) {
  TrainableModel loaded;
  {
    const Computing computing;
    if (compile) {
      loaded = load_compiled_model(file, {.requires_training = false});
    } else {
      loaded.model = load_model(file);
    }
  }
  TrainerPointer trainer;
  if (loaded.compiled) {
    trainer = std::make_shared<Trainer>(loaded.model, std::move(loaded.compiled));
  }
  return nb::make_tuple(loaded.model, trainer, loaded.problem);
}

void saved_model(const std::shared_ptr<Model>& model, const TrainerPointer& trainer,
                 const Path& file, bool allow_own_options) {
  const Computing computing;
  const SaveModelConfig config = {.allow_own_options = allow_own_options};
  if (trainer) {
    save_model(trainer->compiled(), file, config);
  } else {
    save_model(*model, file, config);
  }
}

void define_keras_files(nb::module_& m) {
  m.def("load_model", loaded_model);
  m.def("save_model", saved_model, nb::arg(), nb::arg().none(), nb::arg(), nb::arg());
  m.def(
      "save_weights",
      [](const LayerPointer& layer, const TrainerPointer& trainer, const Path& file) {
        const Computing computing;
        if (trainer) {
          save_weights(trainer->compiled(), file);
        } else {
          save_weights(*layer, file);
        }
      },
      nb::arg(), nb::arg().none(), nb::arg());
  m.def(
      "load_weights",
      [](const LayerPointer& layer, const TrainerPointer& trainer, const Path& file) {
        const Computing computing;
        if (trainer) {
          load_weights(trainer->compiled(), file);
        } else {
          load_weights(*layer, file);
        }
      },
      nb::arg(), nb::arg().none(), nb::arg());
  m.def("save_model_folder", [](const LayerPointer& layer, const Path& folder) {
    const Computing computing;
    save_model_folder(*layer, folder);
  });
  m.def("load_model_folder", [](const Path& folder) {
    const Computing computing;
    return load_model_folder(folder);
  });
  m.def("register_class", [](const std::string& name, nb::handle definition) {
    register_class(name, config_from(definition));
  });
  m.def("register_classes", [](const Path& file) { register_classes(file); });
}

Tensor run(const TransformerModel& model, const TransformerInputs& inputs) {
  const Computing computing;
  return model(computing.context(), inputs);
}

TransformerInputs inputs_from(nb::handle tokens, nb::handle mask, nb::handle types) {
  return {
      .tokens = tensor_from(tokens), .mask = tensor_from(mask), .token_types = tensor_from(types)};
}

void define_pretrained(nb::module_& m) {
  nb::class_<PretrainedModel>(m, "PretrainedModel")
      .def_prop_ro("layer", [](const PretrainedModel& one) -> LayerPointer { return one.model; })
      .def_prop_ro("family", [](const PretrainedModel& one) { return one.family; })
      .def_prop_ro("config", [](const PretrainedModel& one) { return config_to(one.config); })
      .def_prop_ro("unused", [](const PretrainedModel& one) { return one.unused; })
      .def(
          "run",
          [](const PretrainedModel& one, nb::handle tokens, nb::handle mask, nb::handle types) {
            return array_from(run(*one.model, inputs_from(tokens, mask, types)));
          },
          nb::arg(), nb::arg().none(), nb::arg().none())
      .def(
          "attention_scores",
          [](const PretrainedModel& one, nb::handle tokens, nb::handle mask, nb::handle types) {
            const TransformerInputs inputs = inputs_from(tokens, mask, types);
            std::vector<Tensor> scores;
            {
              const Computing computing;
              scores = one.model->attention_scores(computing.context(), inputs);
            }
            return arrays_from(std::move(scores));
          },
          nb::arg(), nb::arg().none(), nb::arg().none())
      .def("tensors",
           [](const PretrainedModel& one) {
             std::map<std::string, Tensor> tensors;
             {
               const Computing computing;
               for (auto& [name, tensor] : pretrained_tensors(one)) tensors[name] = tensor.clone();
             }
             nb::dict dict;
             for (auto& [name, tensor] : tensors) dict[name.c_str()] = array_from(tensor);
             return dict;
           })
      .def("save", [](const PretrainedModel& one, const Path& folder) {
        const Computing computing;
        save_pretrained(one, folder);
      });
  m.def("load_pretrained", [](const Path& folder, const std::string& dtype) {
    const Computing computing;
    return load_pretrained(folder, {.dtype = dtype});
  });
  m.def("make_pretrained", [](nb::handle config, std::uint64_t seed) {
    const ConfigValue settings = config_from(config);
    const Computing computing;
    return make_pretrained(settings, seed);
  });
}

/// A model of fewer heads, or for a single layer a layer.
LayerPointer converted(const LayerPointer& layer, Index num_key_value_heads,
                       std::string_view pooling, std::uint64_t seed) {
  const HeadConversion conversion = {.num_key_value_heads = num_key_value_heads,
                                     .pooling = head_pooling_from_name(pooling),
                                     .seed = seed};
  const Computing computing;
  if (const auto* model = dynamic_cast<const Model*>(layer.get())) {
    return convert_heads(*model, conversion);
  }
  if (const auto* model = dynamic_cast<const LanguageModel*>(layer.get())) {
    return convert_heads(*model, conversion);
  }
  return convert_heads(*layer, conversion);
}

nb::dict report_to(const ConversionReport& report) {
  nb::list layers;
  for (const ConvertedLayer& layer : report.layers) {
    nb::dict row;
    row["path"] = layer.path;
    row["num_query_heads"] = layer.num_query_heads;
    row["num_key_value_heads_before"] = layer.num_key_value_heads_before;
    row["num_key_value_heads"] = layer.num_key_value_heads;
    row["error"] = layer.error;
    row["cache_bytes_before"] = layer.cache_bytes_before;
    row["cache_bytes"] = layer.cache_bytes;
    layers.append(row);
  }
  nb::dict dict;
  dict["layers"] = layers;
  dict["output_error"] = report.output_error;
  dict["cache_bytes_before"] = report.cache_bytes_before();
  dict["cache_bytes"] = report.cache_bytes();
  dict["table"] = report.to_string();
  return dict;
}

void define_conversion(nb::module_& m) {
  m.def("convert_heads", converted);
  m.def("compare_heads", [](const std::shared_ptr<Model>& before,
                            const std::shared_ptr<Model>& after, nb::handle inputs) {
    const std::vector<Tensor> tensors = tensors_from(inputs);
    ConversionReport report;
    {
      const Computing computing;
      report = compare_heads(computing.context(), *before, *after, tensors);
    }
    return report_to(report);
  });
}

}  // namespace

void define_files(nb::module_& m) {
  define_keras_files(m);
  define_pretrained(m);
  define_conversion(m);
}

}  // namespace grouphead::python
