#pragma once

#include <span>
#include <vector>

#include "grouphead/parallel/communicator.h"

namespace grouphead::train {

/// Sums of a job's batches, such as those that metrics are made of: each process adds up what it
/// computes, and all know the totals.
class JobSums {
 public:
  /// The numbers of each metric; of none where nothing was added yet.
  using Parts = std::vector<std::vector<std::span<double>>>;

  /// Adds to the totals what the processes have in `own`, in the order of their ranks, and makes
  /// that zero. All call it.
  void collect(Communicator& job, const Parts& own);
  /// Forgets the totals.
  void clear() { totals_.clear(); }

  /// Totals in the numbers' place while this lives, where there are some; then zeros.
  class Shown {
   public:
    Shown(const JobSums& sums, const Parts& own);
    ~Shown();
    Shown(const Shown&) = delete;
    Shown& operator=(const Shown&) = delete;

   private:
    const Parts& own_;
    bool are_shown_;
  };

 private:
  std::vector<std::vector<double>> totals_;  // of each metric
};

}  // namespace grouphead::train
