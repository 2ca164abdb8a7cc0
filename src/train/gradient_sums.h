#pragma once

#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "grouphead/layers/layer.h"
#include "grouphead/parallel/communicator.h"
#include "grouphead/train/step_trace.h"
#include "parallel/batch_blocks.h"

namespace grouphead::train {

/// The gradients of a batch that is cut in blocks, over the processes of a job: each parameter's
/// sum ends in the process that owns it, with the bits that one process gives
/// (parallel/batch_blocks.h).
///
/// A step: begin(); add() after the backward pass of each own block but the last; begin_last()
/// before that of the last; finish() after it. Meanwhile a thread of its own sends each parameter
/// that Grads::mark_whole() tells of, from the last one to the first; where the model does not
/// tell, after the pass. The communicator is the thread's from begin_last() to finish().
class GradientSums {
 public:
  GradientSums(std::shared_ptr<Communicator> job, Index blocks, ParameterList parameters,
               std::vector<int> owners);
  ~GradientSums();
  GradientSums(const GradientSums&) = delete;
  GradientSums& operator=(const GradientSums&) = delete;

  /// The blocks of this process. Errors: none.
  const std::vector<parallel::BatchBlock>& begin(Index samples, StepTrace* trace);
  void add(const parallel::BatchBlock& block, Grads& grads);
  void begin_last(Grads& grads);
  /// Between the two: nothing more is added to this one's gradient.
  void mark_whole(const Parameter& parameter);
  /// The sums of the owned parameters are in the gradients. Errors: those of the communicator.
  void finish();

  /// The numbers that each process has for its blocks, for all of them in order.
  std::vector<double> gather(const std::vector<double>& own);
  /// Blocks that have samples in this step, in order: what gather() gives numbers for.
  const std::vector<parallel::BatchBlock>& all_blocks() const noexcept { return all_; }
  /// Every process gets the sums of the others' parameters.
  void share(Grads& grads);
  Communicator& job() noexcept { return *job_; }

 private:
  double share_of(const parallel::BatchBlock& block) const noexcept;
  void work(Grads& grads);
  /// False: the step was stopped.
  bool wait_for(std::size_t parameter);
  void reduce(std::size_t parameter, View gradient);
  void stop();

  std::shared_ptr<Communicator> job_;
  Index blocks_;
  ParameterList parameters_;
  std::vector<int> owners_;
  std::vector<parallel::TreeSum> sums_;  // one for each parameter
  Index samples_ = 0;
  StepTrace* trace_ = nullptr;
  std::vector<std::vector<parallel::BatchBlock>> of_process_;
  std::vector<parallel::BatchBlock> all_;

  std::thread thread_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<bool> is_whole_;  // by parameter, of the last block
  bool are_all_whole_ = false;
  bool is_stopped_ = false;
  std::exception_ptr error_;
};

}  // namespace grouphead::train
