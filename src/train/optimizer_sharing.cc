// Optimizers whose state the processes of a job share.

#include "core/check.h"
#include "grouphead/parallel/communicator.h"
#include "grouphead/train/optimizers.h"
#include "parallel/owners.h"

namespace grouphead {

void Optimizer::share_state(std::shared_ptr<Communicator> job) {
  if (job_) core::throw_config_error(name(), "share_state", "one call", "a second one");
  job_ = std::move(job);
  if (!is_built_) return;
  choose_owners();
  keep_own_state();
}

void Optimizer::share_tensors(std::shared_ptr<Communicator> job, std::vector<bool> parts) {
  tensor_job_ = std::move(job);
  are_parts_ = std::move(parts);
}

// Squares of parts become those of their tensors.
void Optimizer::add_parts(std::vector<double>& squares) const {
  if (!tensor_job_) return;
  const auto size = static_cast<std::size_t>(tensor_job_->size());
  std::vector<double> all(squares.size() * size);
  tensor_job_->all_gather(std::as_bytes(std::span(squares)),
                          std::as_writable_bytes(std::span(all)));
  for (std::size_t i = 0; i < squares.size(); ++i) {
    if (!are_parts_[i]) continue;
    squares[i] = 0;
    for (std::size_t rank = 0; rank < size; ++rank) squares[i] += all[rank * squares.size() + i];
  }
}

void Optimizer::choose_owners() {
  if (!job_ || job_->size() == 1) return;
  std::vector<Index> elements;
  for (const auto& named : parameters_) elements.push_back(named.parameter->shape().size());
  owners_ = parallel::owners_of(elements, job_->size());
}

bool Optimizer::is_own(std::size_t parameter) const noexcept {
  return owners_.empty() || owners_[parameter] == job_->rank();
}

void Optimizer::keep_own_state() {
  for (OptimizerSlot& slot : slots_) {
    for (std::size_t i = 0; i < slot.tensors.size(); ++i) {
      if (!is_own(i)) slot.tensors[i] = Tensor();
    }
  }
}

void Optimizer::exchange(std::vector<double>& numbers) const {
  if (owners_.empty()) return;
  const auto size = static_cast<std::size_t>(job_->size());
  std::vector<double> all(numbers.size() * size);
  job_->all_gather(std::as_bytes(std::span(numbers)), std::as_writable_bytes(std::span(all)));
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    numbers[i] = all[static_cast<std::size_t>(owners_[i]) * numbers.size() + i];
  }
}

void Optimizer::broadcast_parameters() {
  for (std::size_t i = 0; i < owners_.size(); ++i) {
    job_->broadcast(parameters_[i].parameter->edit(), owners_[i]);
  }
}

void Optimizer::gather_state() {
  if (owners_.empty()) return;
  for (std::size_t k = 0; k < slots_.size(); ++k) {
    for (std::size_t i = 0; i < owners_.size(); ++i) {
      if (owners_[i] == 0) continue;
      Tensor& state = slots_[k].tensors[i];
      if (is_own(i)) {
        // Algorithms may keep none, or one of another shape than the parameter's.
        Index sizes[kMaxRank + 2] = {state.has_value() ? state.rank() : -1,
                                     static_cast<Index>(state.dtype())};
        for (int axis = 0; state.has_value() && axis < state.rank(); ++axis) {
          sizes[axis + 2] = state.dim(axis);
        }
        job_->send(std::as_bytes(std::span(sizes)), 0);
        if (state.has_value()) job_->send(bytes_of(state), 0);
      } else if (job_->rank() == 0) {
        Index sizes[kMaxRank + 2] = {};
        job_->receive(std::as_writable_bytes(std::span(sizes)), owners_[i]);
        if (sizes[0] < 0) continue;
        state = Tensor(Shape(std::span<const Index>(sizes + 2, static_cast<std::size_t>(sizes[0]))),
                       static_cast<Dtype>(sizes[1]));
        job_->receive(writable_bytes_of(state), owners_[i]);
      }
    }
  }
}

}  // namespace grouphead
