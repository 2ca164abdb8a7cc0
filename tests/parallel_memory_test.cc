// What the processes of a job keep in memory, as threads here: counted together.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>

#include "allocation_counter.h"
#include "grid_support.h"
#include "nn/sequence_scope.h"
#include "saved/checkpoint.h"

namespace grouphead {
namespace {

using testing_support::example_text;
using testing_support::FolderTest;
using testing_support::live_bytes;
using testing_support::run_processes;
using testing_support::take_peak_bytes;

/// A Context's memory, which is not counted.
class OtherMemory final : public Allocator {
 public:
  void* allocate(std::size_t bytes, std::size_t alignment) override {
    void* memory = std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
    if (memory == nullptr) throw std::bad_alloc();
    return memory;
  }
  void deallocate(void* memory, std::size_t, std::size_t) noexcept override { std::free(memory); }
};

/// Almost all of its numbers are in kernels of heads and of feed-forward columns.
TrainerConfig wide_config() {
  return {.hidden_size = 256,
          .num_heads = 8,
          .num_key_value_heads = 4,
          .num_layers = 2,
          .sequence_length = 8,
          .batch_size = 1,
          .steps = 10,
          .warmup_steps = 1};
}

/// What a job keeps while it trains, and takes more to save.
struct Kept {
  double training = 0;
  double saving = 0;
};

Kept kept_by(int size, const std::filesystem::path& folder) {
  Kept kept;
  const long before = live_bytes();
  run_processes(size, [&](std::shared_ptr<Communicator> job) {
    const TrainerConfig config = wide_config();
    Context ctx({.num_threads = 1});
    Trainer trainer(ctx, config, TextData(example_text(500), config.sequence_length),
                    parallel::make_grid(job, {.tensors = size}));
    trainer.step();
    job->barrier();
    if (job->rank() == 0) kept.training = static_cast<double>(live_bytes() - before);
    take_peak_bytes();
    job->barrier();
    trainer.save([&] { saved::save(folder, trainer, {}, {}); });
    job->barrier();
    if (job->rank() == 0) {
      kept.saving = static_cast<double>(take_peak_bytes() - before) - kept.training;
    }
  });
  return kept;
}

class TensorMemory : public FolderTest {};

// Weights, gradients and moments of all processes together are little more than those of one: the
// norms and the embeddings are there for each. Whole copies would take as often as much.
TEST_F(TensorMemory, EachProcessHasItsShare) {
  const Kept alone = kept_by(1, folder_);
  ASSERT_GT(alone.training, 4 * 4 * 1.5e6);  // weights, gradients and moments of so many numbers
  for (const int size : {2, 4}) {
    const Kept kept = kept_by(size, folder_);
    EXPECT_LE(kept.training, 1.4 * alone.training) << size;
    // The largest kernel, [256, 1024], a part of it from another process, and that as a message.
    EXPECT_LE(kept.saving, 3 * 4 * 256 * 1024) << size;
  }
}

// Rotation angles of all processes together are those of one.
TEST(SequenceMemory, RotationAnglesAreThoseOfTheOwnPositions) {
  constexpr Index kPositions = 8192, kHeadDim = 64;
  long took = 0;
  run_processes(4, [&](std::shared_ptr<Communicator> job) {
    Context ctx({.num_threads = 1, .allocator = std::make_shared<OtherMemory>()});
    const LanguageModel model({.transformer = {.hidden_size = kHeadDim,
                                               .num_heads = 1,
                                               .num_key_value_heads = 1,
                                               .num_layers = 2,
                                               .rope = RopeConfig{}}});
    const Tensor tokens = Tensor::zeros({1, kPositions / job->size()}, Dtype::i32);
    const nn::SequenceScope scope(job.get());
    model(ctx, Tensor::zeros({1, 2}, Dtype::i32));  // packs weights
    job->barrier();
    const long before = live_bytes();
    job->barrier();
    model(ctx, tokens);
    job->barrier();
    if (job->rank() == 0) took = live_bytes() - before;
    job->barrier();
  });
  const long angles = kPositions * kHeadDim * 4;
  EXPECT_GE(took, angles);
  EXPECT_LE(took, 1.1 * angles);
}

}  // namespace
}  // namespace grouphead
