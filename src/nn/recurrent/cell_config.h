#pragma once

// Configurations of recurrent layers and cells, as Keras writes them.

#include "grouphead/layers/recurrent.h"
#include "nn/config_reader.h"

namespace grouphead::nn {

/// The keys of a cell, into `options`.
void read_cell_options(ConfigReader& reader, CellKind kind, RecurrentConfig& options);
/// The keys of what goes through a sequence.
void read_sequence_options(ConfigReader& reader, RecurrentConfig& options);
void write_sequence_options(const RecurrentConfig& options, ConfigValue& config);

/// A cell from Keras's envelope. Errors: ConfigError for a class that is none here.
RecurrentCellConfig read_cell(const ConfigValue& envelope);

}  // namespace grouphead::nn
