#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "grouphead/train/optimizers.h"
#include "models/tensor_scope.h"
#include "train/whole_tensor.h"

namespace grouphead::train {

/// A process's share of a model whose heads and feed-forward columns several share out
/// (models/tensor_scope.h). Nobody has the whole: the first one gets tensors one at a time.
class TensorShare {
 public:
  /// Of a model with so many key/value heads and columns. Errors: ConfigError unless the processes
  /// divide both.
  TensorShare(std::shared_ptr<Communicator> job, Index heads, Index columns);

  /// What the model is made with: models::TensorScope.
  models::TensorParts& parts() noexcept { return parts_; }
  /// The model's, all of them, and its optimizer, built for those that are trained.
  void own(ParameterList parameters, AdamW& optimizer);

  std::vector<WholeTensor> weights();
  std::vector<WholeTensor> moments();
  /// In the first process write(), which may read them; the others give it their parts meanwhile.
  void save(const std::function<void()>& write);

 private:
  static constexpr Index kWeight = -1;
  /// A weight, or what a slot of the optimizer has of a trained one.
  struct Place {
    Index slot = kWeight;
    Index number = 0;
  };
  static constexpr Place kNothing{-2, 0};

  WholeTensor tensor_at(Place place, const std::string& prefix);
  const NamedParameter& parameter_of(Place place) const;
  Shape whole_shape(Place place) const;
  Tensor& moment(Place place);
  void take(Place place, ConstView whole);
  /// What the first process asks for, in all.
  Place asked(Place place);
  Tensor collect(Place place);

  models::TensorParts parts_;
  ParameterList parameters_;
  AdamW* optimizer_ = nullptr;
};

}  // namespace grouphead::train
