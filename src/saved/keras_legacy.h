#pragma once

// Whole models in one HDF5 file, the form before `.keras`: arrays by the names of layers and
// variables, the architecture as an attribute. Source: keras.src.legacy.saving.legacy_h5_format.

#include "grouphead/models/model.h"
#include "saved/keras_weights.h"

namespace grouphead::saved {

bool has_legacy_model(const io::Hdf5File& file);
/// Keras's version; empty: none is there.
std::string legacy_version(const io::Hdf5File& file);
/// The model's configuration, and what it was trained by as compile_config (null: nothing).
/// Errors: IoError.
ConfigValue legacy_model_config(const io::Hdf5File& file);
ConfigValue legacy_compile_config(const io::Hdf5File& file);

/// The arrays of each layer with parameters, in order. Errors: IoError.
void add_legacy_weights(const io::Hdf5File& file, Layer& model, WeightsToLoad& weights);
void add_legacy_state(const io::Hdf5File& file, Optimizer& optimizer, WeightsToLoad& weights);

}  // namespace grouphead::saved
