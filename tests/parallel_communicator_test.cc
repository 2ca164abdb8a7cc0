#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support.h"
#include "thread_communicator.h"

namespace grouphead {
namespace {

using ::testing::ElementsAre;
using testing_support::run_processes;
using testing_support::same_bits;

// Each in groups of one to five processes.
class Communicators : public ::testing::TestWithParam<int> {};

TEST_P(Communicators, EveryProcessGetsWhatTheRootHas) {
  run_processes(GetParam(), [](std::shared_ptr<Communicator> job) {
    for (int root = 0; root < job->size(); ++root) {
      Tensor values = Tensor::zeros({3});
      if (job->rank() == root) values = Tensor::from({3}, {1, 2, static_cast<float>(root)});
      job->broadcast(values, root);
      EXPECT_TRUE(same_bits(values, Tensor::from({3}, {1, 2, static_cast<float>(root)})));
      const std::string text = job->rank() == root ? "from " + std::to_string(root) : "";
      EXPECT_EQ(job->broadcast(text, root), "from " + std::to_string(root));
    }
  });
}

TEST_P(Communicators, AllGatherInTheOrderOfRanks) {
  run_processes(GetParam(), [](std::shared_ptr<Communicator> job) {
    const std::vector<double> all = job->all_gather(10.0 * job->rank());
    ASSERT_EQ(all.size(), static_cast<std::size_t>(job->size()));
    for (int rank = 0; rank < job->size(); ++rank) {
      EXPECT_EQ(all[static_cast<std::size_t>(rank)], 10.0 * rank);
    }
    const std::vector<std::string> texts =
        job->all_gather(std::string(static_cast<std::size_t>(job->rank()), 'x'));
    for (std::size_t rank = 0; rank < texts.size(); ++rank) {
      EXPECT_EQ(texts[rank], std::string(rank, 'x'));
    }
  });
}

// Numbers whose sum depends on the order.
TEST_P(Communicators, SumsAreAddedInTheOrderOfRanks) {
  const int size = GetParam();
  const auto value = [](int rank) {
    return rank % 2 == 0 ? 1e8F + static_cast<float>(rank) : -1e8F;
  };
  float expected = value(0);
  for (int rank = 1; rank < size; ++rank) expected += value(rank);
  run_processes(size, [&](std::shared_ptr<Communicator> job) {
    Tensor values = Tensor::from({2}, {value(job->rank()), 1});
    job->all_reduce(values);
    EXPECT_TRUE(same_bits(values, Tensor::from({2}, {expected, static_cast<float>(size)})));
  });
}

TEST_P(Communicators, OneThatSaysSoIsEnough) {
  run_processes(GetParam(), [](std::shared_ptr<Communicator> job) {
    EXPECT_TRUE(job->any(job->rank() == job->size() - 1));
    EXPECT_FALSE(job->any(false));
  });
}

TEST_P(Communicators, PartsHaveRanksOfTheirOwn) {
  run_processes(GetParam(), [](std::shared_ptr<Communicator> job) {
    const int color = job->rank() % 2;
    const auto part = job->split(color);
    EXPECT_EQ(part->size(), (job->size() + 1 - color) / 2);
    EXPECT_EQ(part->rank(), job->rank() / 2);
    const std::vector<double> ranks = part->all_gather(static_cast<double>(job->rank()));
    for (std::size_t i = 0; i < ranks.size(); ++i) {
      EXPECT_EQ(ranks[i], 2.0 * static_cast<double>(i) + color);
    }
  });
}

INSTANTIATE_TEST_SUITE_P(Sizes, Communicators, ::testing::Range(1, 6));

TEST(Communicator, CountsWhatItSends) {
  run_processes(4, [](std::shared_ptr<Communicator> job) {
    Tensor values = Tensor::zeros({100});
    job->broadcast(values, 0);
    // A binomial tree: process 0 sends to 1 and 2, process 1 to 3.
    const Index sent[] = {800, 400, 0, 0};
    EXPECT_EQ(job->bytes_sent(), sent[job->rank()]);
    job->all_reduce(values);
    // Three quarters to those that add them up, and as many sums.
    EXPECT_EQ(job->bytes_sent(), sent[job->rank()] + 2 * 300);
  });
}

TEST(Communicator, OfOneProcessHasNobodyToTalkTo) {
  const auto job = Communicator::alone();
  EXPECT_EQ(job->rank(), 0);
  EXPECT_EQ(job->size(), 1);
  Tensor values = Tensor::from({1}, {3});
  job->all_reduce(values);
  job->broadcast(values, 0);
  job->barrier();
  EXPECT_EQ(job->split(7)->size(), 1);
  EXPECT_EQ(job->bytes_sent(), 0);
  EXPECT_THROW(job->send({}, 0), Error);
}

TEST(Communicator, SumsNumbersOfOtherTypesOfNone) {
  Tensor values = Tensor::zeros({2}, Dtype::i32);
  EXPECT_THROW(Communicator::alone()->all_reduce(values), ShapeError);
}

TEST(Communicator, WhoWaitsForACancelledJobIsTold) {
  for (const bool in_parts : {false, true}) {
    EXPECT_THROW(run_processes(3,
                               [&](std::shared_ptr<Communicator> job) {
                                 if (in_parts) job = job->split(0);
                                 if (job->rank() == 1) throw Error("out of luck");
                                 job->barrier();
                               }),
                 Error);
  }
}

}  // namespace
}  // namespace grouphead
