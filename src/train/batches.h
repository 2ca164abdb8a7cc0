#pragma once

#include "grouphead/parallel/communicator.h"
#include "grouphead/train/fit.h"

namespace grouphead::train {

/// Number of samples in all tensors. Errors: ShapeError where they differ or there are none.
Index num_samples(const Data& data);

/// Samples [begin, end) of all tensors, which share the elements.
Data slice(const Data& data, Index begin, Index end);

/// The positions that this process of `job` has (ring_share()) along axis 1 of all tensors that
/// have one. Errors: ShapeError.
Data sequence_part(const Data& data, const Communicator& job);

/// What a model is called with.
std::vector<Value> values_of(const std::vector<Tensor>& tensors);

/// Training and validation part: the last floor(split n) samples or so, as Keras cuts them.
/// Errors: ConfigError where a part would be empty. Source: keras.trainers train_validation_split.
std::pair<Data, Data> split(const Data& data, double validation_split);

/// One weight per sample from the class that its target names. Errors: ConfigError.
/// Source: keras.trainers class_weight_to_sample_weights.
Tensor weights_of_classes(Context& ctx, const Data& data, const std::map<Index, double>& weights);

/// Data cut into batches, the last one as small as it comes. Passes over the data follow each
/// other; with `steps_per_epoch` an epoch is so many batches, and goes on where the last one ended.
class ArrayBatches {
 public:
  struct Options {
    Index batch_size = 0;
    Index steps_per_epoch = 0;
    std::optional<std::uint64_t> shuffle_seed{};
  };
  ArrayBatches(const Data& data, const Options& options);
  /// Batches of an epoch.
  Index steps() const noexcept;
  std::optional<Data> operator()(Index epoch, Index step);

 private:
  Data batch(Index pass, Index place);

  Data data_;
  Options options_;
  Index samples_;
  Index batches_;
  Index pass_ = 0;  // with steps_per_epoch: where the data stand
  Index place_ = 0;
  Index ordered_pass_ = -1;  // which pass `order_` is of
  std::vector<Index> order_;
};

}  // namespace grouphead::train
