#pragma once

// A model as Keras's weight files see it: objects at paths, each with variables by number.

#include <string>
#include <vector>

#include "grouphead/layers/layer.h"
#include "nn/low_rank.h"

namespace grouphead::saved {

/// One that may have variables. Its arrays are `<path>/vars/0`, `<path>/vars/1`, ...
struct KerasObject {
  std::string path{};        ///< `layers/dense_1`; the model's own is empty
  std::string other_path{};  ///< where older files have it; empty: there too
  std::string name{};        ///< the layer's, which says nothing of the place
  std::vector<Parameter*> variables{};
  nn::LowRank* lora = nullptr;    ///< of the first variable, which files have merged with it
  const Layer* layer = nullptr;   ///< that the variables belong to
  bool is_called_inside = false;  ///< by a TimeDistributed, as if it were not quantized
};

/// In Keras's order, each layer once. Children of a model go by their classes, numbered in the
/// order of its layers; the projections of attention layers by the attributes of Keras's class.
/// Source: keras.src.saving.saving_lib._walk_saveable.
std::vector<KerasObject> keras_objects(const Layer& model);

}  // namespace grouphead::saved
