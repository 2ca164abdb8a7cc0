#pragma once

#include <memory>
#include <string>
#include <vector>

#include "grouphead/layers/layer.h"

#pragma GCC visibility push(default)
namespace grouphead {

/// One of the layers that a layer is made of.
struct SubLayer {
  /// Where Keras's weight files have it, below the layer: the attribute of the class that holds it
  /// (`forward_layer`), for one of a list with its place (`cells/lstm_cell_1`).
  std::string attribute;
  std::shared_ptr<Layer> layer;
};

/// What a layer that is made of others is beside a Layer, so that Keras's weight files find the
/// variables of each. append_parameters() lists the same parameters under paths of its own.
class HasSubLayers {
 public:
  /// In the order of Keras's attributes. Variables that are the layer's own are not among theirs.
  virtual std::vector<SubLayer> sub_layers() const = 0;

 protected:
  ~HasSubLayers() = default;
};

}  // namespace grouphead
#pragma GCC visibility pop
