#include "train/gradient_sums.h"

#include <algorithm>
#include <utility>

namespace grouphead::train {

using parallel::BatchBlock;
using parallel::TreeSum;

GradientSums::GradientSums(std::shared_ptr<Communicator> job, Index blocks,
                           ParameterList parameters, std::vector<int> owners)
    : job_(std::move(job)),
      blocks_(blocks),
      parameters_(std::move(parameters)),
      owners_(std::move(owners)),
      sums_(parameters_.size()) {}

GradientSums::~GradientSums() { stop(); }

// A step that failed: the thread may wait for another process, which will not answer.
void GradientSums::stop() {
  if (!thread_.joinable()) return;
  {
    const std::scoped_lock lock(mutex_);
    is_stopped_ = true;
  }
  changed_.notify_all();
  job_->cancel();
  thread_.join();
}

double GradientSums::share_of(const BatchBlock& block) const noexcept {
  return static_cast<double>(block.end - block.begin) / static_cast<double>(samples_);
}

const std::vector<BatchBlock>& GradientSums::begin(Index samples, StepTrace* trace) {
  stop();
  samples_ = samples;
  trace_ = trace;
  of_process_.clear();
  all_.clear();
  for (int rank = 0; rank < job_->size(); ++rank) {
    of_process_.push_back(parallel::blocks_of(samples, blocks_, rank, job_->size()));
    all_.insert(all_.end(), of_process_.back().begin(), of_process_.back().end());
  }
  for (TreeSum& sum : sums_) sum.clear();
  return of_process_[static_cast<std::size_t>(job_->rank())];
}

void GradientSums::add(const BatchBlock& block, Grads& grads) {
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    sums_[i].add(block.number, share_of(block), grads.of(*parameters_[i].parameter));
  }
}

void GradientSums::begin_last(Grads& grads) {
  is_whole_.assign(parameters_.size(), false);
  are_all_whole_ = is_stopped_ = false;
  error_ = nullptr;
  thread_ = std::thread([this, &grads] {
    try {
      work(grads);
    } catch (...) {
      error_ = std::current_exception();
    }
  });
}

void GradientSums::mark_whole(const Parameter& parameter) {
  const auto found = std::find_if(parameters_.begin(), parameters_.end(),
                                  [&](const auto& named) { return named.parameter == &parameter; });
  if (found == parameters_.end()) return;
  const std::scoped_lock lock(mutex_);
  is_whole_[static_cast<std::size_t>(found - parameters_.begin())] = true;
  changed_.notify_all();
}

void GradientSums::finish() {
  {
    const std::scoped_lock lock(mutex_);
    are_all_whole_ = true;
  }
  changed_.notify_all();
  thread_.join();
  if (error_) std::rethrow_exception(error_);
}

// Backward passes end about in this order, and all processes have the same one.
void GradientSums::work(Grads& grads) {
  for (std::size_t i = parameters_.size(); i-- > 0;) {
    if (!wait_for(i)) return;
    const double begin = trace_ != nullptr ? trace_->now() : 0;
    reduce(i, grads.of(*parameters_[i].parameter));
    if (trace_ != nullptr) {
      trace_->add({"sum of " + parameters_[i].path, true, begin, trace_->now()});
    }
  }
}

bool GradientSums::wait_for(std::size_t parameter) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return is_whole_[parameter] || are_all_whole_ || is_stopped_; });
  return !is_stopped_;
}

void GradientSums::reduce(std::size_t parameter, View gradient) {
  TreeSum& sum = sums_[parameter];
  const int own = job_->rank();
  const int owner = owners_[parameter];
  const auto& own_blocks = of_process_[static_cast<std::size_t>(own)];
  if (!own_blocks.empty()) sum.add(own_blocks.back().number, share_of(own_blocks.back()), gradient);
  if (own != owner) {
    for (const TreeSum::Part& part : sum.parts()) job_->send(bytes_of(part.sum), owner);
    sum.clear();
    return;
  }
  std::vector<TreeSum::Part> own_parts = sum.take_parts();
  for (int rank = 0; rank < job_->size(); ++rank) {
    if (rank == own) {
      for (TreeSum::Part& part : own_parts) sum.add(std::move(part));
      continue;
    }
    for (TreeSum::Part& part : parallel::parts_of(of_process_[static_cast<std::size_t>(rank)])) {
      part.sum = sum.memory(gradient.shape(), gradient.dtype());
      job_->receive(writable_bytes_of(part.sum), rank);
      sum.add(std::move(part));
    }
  }
  sum.finish(gradient);
}

std::vector<double> GradientSums::gather(const std::vector<double>& own) {
  const auto size = static_cast<std::size_t>(job_->size());
  std::size_t most = 0;
  for (const auto& blocks : of_process_) most = std::max(most, blocks.size());
  std::vector<double> padded = own;
  padded.resize(most);
  std::vector<double> gathered(most * size);
  job_->all_gather(std::as_bytes(std::span(padded)), std::as_writable_bytes(std::span(gathered)));
  std::vector<double> all;
  for (std::size_t rank = 0; rank < size; ++rank) {
    const auto first = gathered.begin() + static_cast<std::ptrdiff_t>(rank * most);
    all.insert(all.end(), first, first + static_cast<std::ptrdiff_t>(of_process_[rank].size()));
  }
  return all;
}

void GradientSums::share(Grads& grads) {
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    job_->broadcast(grads.of(*parameters_[i].parameter), owners_[i]);
  }
}

}  // namespace grouphead::train
