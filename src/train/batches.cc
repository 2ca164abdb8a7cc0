#include "train/batches.h"

#include <cmath>
#include <cstring>
#include <numeric>

#include "core/check.h"
#include "core/number_text.h"
#include "grouphead/parallel/ring_attention.h"
#include "train/operands.h"

namespace grouphead::train {
namespace {

/// visit(tensor) for each one that is there.
template <class Visit>
void for_each_tensor(const Data& data, Visit&& visit) {
  for (const auto* list : {&data.x, &data.y, &data.sample_weight}) {
    for (const Tensor& tensor : *list) {
      if (tensor.has_value()) visit(tensor);
    }
  }
}

/// make(tensor) in each one's place.
template <class Make>
Data mapped(const Data& data, Make&& make) {
  Data out = data;
  for (auto* list : {&out.x, &out.y, &out.sample_weight}) {
    for (Tensor& tensor : *list) {
      if (tensor.has_value()) tensor = make(tensor);
    }
  }
  return out;
}

Shape with_samples(const Shape& shape, Index samples) {
  std::array<Index, kMaxRank> dims{};
  std::copy(shape.begin(), shape.end(), dims.begin());
  dims[0] = samples;
  return Shape(std::span<const Index>(dims.data(), static_cast<std::size_t>(shape.rank())));
}

/// The samples at these places.
Tensor gathered(const Tensor& from, std::span<const Index> places) {
  Tensor out(with_samples(from.shape(), static_cast<Index>(places.size())), from.dtype());
  if (out.bytes() == 0) return out;
  const auto row = static_cast<std::size_t>(from.bytes() / from.dim(0));
  const auto* source = static_cast<const char*>(from.view().raw());
  auto* target = static_cast<char*>(out.view().raw());
  for (const Index place : places) {
    std::memcpy(target, source + static_cast<std::size_t>(place) * row, row);
    target += row;
  }
  return out;
}

Data gathered(const Data& data, std::span<const Index> places) {
  return mapped(data, [&](const Tensor& tensor) { return gathered(tensor, places); });
}

std::vector<Index> ascending(Index first, Index count) {
  std::vector<Index> places(static_cast<std::size_t>(count));
  std::iota(places.begin(), places.end(), first);
  return places;
}

/// Fisher and Yates's shuffle by Philox words of (seed, pass).
std::vector<Index> shuffled(Index count, std::uint64_t seed, Index pass) {
  std::vector<Index> order = ascending(0, count);
  for (Index i = count - 1; i > 0; --i) {
    const PhiloxBlock random =
        philox4x32({seed, static_cast<std::uint64_t>(pass)}, static_cast<std::uint64_t>(i));
    const std::uint64_t word = (std::uint64_t{random.words[1]} << 32) | random.words[0];
    const auto j = static_cast<std::size_t>(word % static_cast<std::uint64_t>(i + 1));
    std::swap(order[static_cast<std::size_t>(i)], order[j]);
  }
  return order;
}

}  // namespace

Index num_samples(const Data& data) {
  std::optional<Index> samples;
  for_each_tensor(data, [&](const Tensor& tensor) {
    if (tensor.rank() < 1 || (samples && *samples != tensor.dim(0))) {
      core::throw_shape_error(
          "fit", "data", samples ? std::to_string(*samples) + " samples" : "an axis of samples",
          tensor.shape().to_string());
    }
    samples = tensor.dim(0);
  });
  if (!samples) core::throw_shape_error("fit", "x", "at least one tensor", "none");
  return *samples;
}

Data slice(const Data& data, Index begin, Index end) {
  return mapped(data, [&](const Tensor& tensor) {
    auto owner = std::make_shared<Tensor>(tensor);
    if (tensor.is_read_only()) return Tensor::wrap(tensor.view().slice(0, begin, end), owner);
    return Tensor(owner->view().slice(0, begin, end), owner);
  });
}

Data sequence_part(const Data& data, const Communicator& job) {
  return mapped(data, [&](const Tensor& tensor) {
    if (tensor.rank() < 2) return tensor;
    return ring_part(tensor, 1, ring_share(tensor.dim(1), job.rank(), job.size()));
  });
}

std::vector<Value> values_of(const std::vector<Tensor>& tensors) {
  std::vector<Value> values;
  for (const Tensor& tensor : tensors) values.push_back({tensor, {}});
  return values;
}

std::pair<Data, Data> split(const Data& data, double validation_split) {
  const Index samples = num_samples(data);
  const auto at =
      static_cast<Index>(std::floor(static_cast<double>(samples) * (1 - validation_split)));
  if (!(validation_split > 0) || at <= 0 || at >= samples) {
    core::throw_config_error(
        "fit", "validation_split",
        "a share that leaves samples on both sides of " + std::to_string(samples),
        core::number_text(validation_split));
  }
  return {gathered(data, ascending(0, at)), gathered(data, ascending(at, samples - at))};
}

Tensor weights_of_classes(Context& ctx, const Data& data, const std::map<Index, double>& weights) {
  if (data.y.size() != 1 || !data.sample_weight.empty()) {
    core::throw_config_error("fit", "class_weight", "one output and no sample_weight",
                             std::to_string(data.y.size()) + " outputs, " +
                                 std::to_string(data.sample_weight.size()) + " sample weights");
  }
  const Tensor& y = data.y[0];
  const Numbers numbers(ctx, y, Dtype::f64);
  const Index samples = y.dim(0);
  const Index width = y.rank() > 1 ? y.shape().back() : 1;
  if (y.size() != samples * width) {
    core::throw_config_error("fit", "class_weight", "targets [B], [B, 1] or one-hot [B, C]",
                             y.shape().to_string());
  }
  Tensor out({samples}, Dtype::f64);
  for (Index i = 0; i < samples; ++i) {
    const double* row = numbers.view().data<double>() + i * width;
    const auto label = width == 1 ? static_cast<Index>(std::nearbyint(row[0]))
                                  : static_cast<Index>(std::max_element(row, row + width) - row);
    const auto found = weights.find(label);
    out.data<double>()[i] = found == weights.end() ? 1 : found->second;
  }
  return out;
}

ArrayBatches::ArrayBatches(const Data& data, const Options& options)
    : data_(data), options_(options), samples_(num_samples(data)) {
  if (options_.batch_size < 0 || options_.steps_per_epoch < 0) {
    core::throw_config_error(
        "fit", "batch_size, steps_per_epoch", "0 or more",
        std::to_string(options_.batch_size) + ", " + std::to_string(options_.steps_per_epoch));
  }
  const auto ceil_of = [&](Index divisor) { return (samples_ + divisor - 1) / divisor; };
  if (options_.batch_size == 0) {
    options_.batch_size =
        options_.steps_per_epoch > 0 ? std::max<Index>(1, ceil_of(options_.steps_per_epoch)) : 32;
  }
  batches_ = ceil_of(options_.batch_size);
}

Index ArrayBatches::steps() const noexcept {
  return options_.steps_per_epoch > 0 ? options_.steps_per_epoch : batches_;
}

Data ArrayBatches::batch(Index pass, Index place) {
  if (options_.shuffle_seed && ordered_pass_ != pass) {
    order_ = shuffled(samples_, *options_.shuffle_seed, pass);
    ordered_pass_ = pass;
  }
  const Index first = place * options_.batch_size;
  const Index count = std::min(options_.batch_size, samples_ - first);
  if (!options_.shuffle_seed) return gathered(data_, ascending(first, count));
  return gathered(data_, std::span(order_).subspan(static_cast<std::size_t>(first),
                                                   static_cast<std::size_t>(count)));
}

// With steps_per_epoch a pass that ends inside an epoch ends the epoch too, as in Keras.
std::optional<Data> ArrayBatches::operator()(Index epoch, Index step) {
  if (options_.steps_per_epoch == 0) {
    if (step >= batches_) return {};
    return batch(epoch, step);
  }
  if (step == 0 && place_ >= batches_) {
    ++pass_;
    place_ = 0;
  }
  if (step >= options_.steps_per_epoch || place_ >= batches_) return {};
  return batch(pass_, place_++);
}

}  // namespace grouphead::train
