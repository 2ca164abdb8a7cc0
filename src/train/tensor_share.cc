#include "train/tensor_share.h"

#include <optional>
#include <string>

#include "core/check.h"
#include "models/tensor_scope.h"

namespace grouphead::train {
namespace {

void require_divisible(std::string_view what, Index count, int processes) {
  if (count % processes == 0) return;
  core::throw_config_error("train", "--tp",
                           "a divisor of the " + std::to_string(count) + " " + std::string(what),
                           std::to_string(processes));
}

std::unique_ptr<LanguageModel> share_of(const LanguageModelConfig& config, Communicator& job) {
  const TransformerConfig& t = config.transformer;
  require_divisible("key/value heads", t.num_key_value_heads, job.size());
  require_divisible("feed-forward columns", t.feed_forward > 0 ? t.feed_forward : 4 * t.hidden_size,
                    job.size());
  const models::TensorScope scope(&job);
  return std::make_unique<LanguageModel>(config);
}

/// The axis along which a tensor is shared out; none where each process has it whole.
std::optional<int> shared_axis(const Shape& part, const Shape& whole) {
  for (int axis = 0; axis < whole.rank(); ++axis) {
    if (part[axis] != whole[axis]) return axis;
  }
  return {};
}

template <class V>
V part_of(const V& whole, const Shape& part, int rank) {
  const std::optional<int> axis = shared_axis(part, whole.shape());
  return axis ? whole.slice(*axis, rank * part[*axis], (rank + 1) * part[*axis]) : whole;
}

}  // namespace

TensorShare::TensorShare(std::shared_ptr<Communicator> job, LanguageModel& whole)
    : job_(std::move(job)), whole_(whole), model_(share_of(whole.config(), *job_)) {}

void TensorShare::own(AdamW& optimizer, std::shared_ptr<AdamW> whole, bool gathers) {
  keeps_state_ = gathers && job_->rank() == 0;
  optimizer_ = &optimizer;
  whole_optimizer_ = std::move(whole);
  whole_optimizer_->build(whole_.parameters());
  std::vector<bool> parts;
  for (std::size_t i = 0; i < optimizer.parameters().size(); ++i) {
    const Shape& part = optimizer.parameters()[i].parameter->shape();
    parts.push_back(part != whole_optimizer_->parameters()[i].parameter->shape());
  }
  optimizer.share_tensors(job_, std::move(parts));
}

void TensorShare::share_out() {
  const ParameterList from = whole_.parameters();
  const ParameterList to = model_->parameters();
  for (std::size_t i = 0; i < to.size(); ++i) {
    const View part = to[i].parameter->edit();
    copy(part_of(from[i].parameter->value(), part.shape(), job_->rank()), part);
  }
  for (std::size_t k = 0; k < optimizer_->slots().size(); ++k) {
    for (std::size_t i = 0; i < to.size(); ++i) {
      Tensor& part = optimizer_->slots()[k].tensors[i];
      Tensor& whole = whole_optimizer_->slots()[k].tensors[i];
      // Absent: another process has it.
      if (part.has_value()) copy(part_of(ConstView(whole), part.shape(), job_->rank()), part);
      if (!keeps_state_) whole = Tensor();
    }
  }
}

void TensorShare::collect(ConstView part, const Shape& shape, View whole) {
  const bool is_part = shared_axis(part.shape(), shape).has_value();
  if (job_->rank() != 0) {
    if (is_part) job_->send(bytes_of(part), 0);
    return;
  }
  copy(part, part_of(whole, part.shape(), 0));
  if (!is_part) return;
  Tensor other(part.shape(), part.dtype());
  for (int rank = 1; rank < job_->size(); ++rank) {
    job_->receive(writable_bytes_of(other), rank);
    copy(other, part_of(whole, part.shape(), rank));
  }
}

void TensorShare::gather() {
  const ParameterList from = model_->parameters();
  const ParameterList to = whole_.parameters();
  const bool is_first = job_->rank() == 0;
  for (std::size_t i = 0; i < to.size(); ++i) {
    Parameter& whole = *to[i].parameter;
    collect(from[i].parameter->value(), whole.shape(), is_first ? whole.edit() : View());
  }
  for (std::size_t k = 0; k < optimizer_->slots().size(); ++k) {
    for (std::size_t i = 0; i < to.size(); ++i) {
      Tensor& whole = whole_optimizer_->slots()[k].tensors[i];
      collect(optimizer_->slots()[k].tensors[i], to[i].parameter->shape(),
              is_first ? whole.view() : View());
    }
  }
}

}  // namespace grouphead::train
