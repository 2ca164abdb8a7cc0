#pragma once

#include "grouphead/layers/layer.h"
#include "grouphead/models/transformer.h"

namespace grouphead::train {

/// Which models processes can share out. Errors: ConfigError that names what one has, and that is
/// not there for several.

/// Positions of sequences: `[compile] sequence: ...`, or under the names of who asks.
void require_sequence_model(const Layer& model);
void require_sequence_model(const TransformerModelConfig& model, std::string_view operation,
                            std::string_view option);
/// Heads and feed-forward columns: `[train] --tp: ...`.
void require_tensor_model(const TransformerModelConfig& model);

}  // namespace grouphead::train
