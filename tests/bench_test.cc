#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "command.h"
#include "grouphead/core/version.h"
#include "io/safetensors.h"
#include "testing/measure.h"
#include "testing/sweep.h"

namespace grouphead::testing {
namespace {

using ::testing::HasSubstr;
using testing_support::CommandResult;
using testing_support::run_grouphead;

constexpr MeasureOptions kShort = {.num_rounds = 7, .min_seconds = 1e-3};

nlohmann::json measured(const char* text) {
  static Limits limits;  // it holds a large buffer
  return nlohmann::json::parse(to_json(measure(parse_problem(text), kShort, limits)));
}

TEST(Bench, OneLineOfJsonHasEveryFigure) {
  const nlohmann::json line = measured("gemm m64 n64 k64 thr=1 isa=ref");
  EXPECT_EQ(line.at("problem"), "gemm f32 m64 n64 k64 thr=1 isa=ref");
  EXPECT_EQ(line.at("threads"), 1);
  EXPECT_EQ(line.at("isa"), "ref");
  EXPECT_EQ(line.at("rounds"), 7);
  EXPECT_EQ(line.at("version"), GROUPHEAD_VERSION);
  for (const char* key : {"median_ms", "min_ms", "gflops", "gb_s", "limit_gflops", "limit_gb_s",
                          "fraction", "rotated_bytes"}) {
    EXPECT_GT(line.at(key).get<double>(), 0) << key;
  }
  for (const char* key : {"mad_ms", "peak_bytes", "cache_bytes", "foreign_cpu"}) {
    EXPECT_GE(line.at(key).get<double>(), 0) << key;
  }
  EXPECT_LE(line.at("min_ms").get<double>(), line.at("median_ms").get<double>());
  EXPECT_FALSE(line.contains("tokens_per_s"));
  EXPECT_NEAR(line.at("gflops").get<double>() * line.at("median_ms").get<double>(),
              2e-6 * 64 * 64 * 64, 1e-9);
}

TEST(Bench, EveryOperationIsMeasured) {
  for (const char* text :
       {"attention.fwd t16 hq2 d16 causal", "attention.fwdbwd t16 hq2 d16", "decode s64 hq2 d16",
        "layer.gqa.fwd t16 m32 hq2 d16", "layer.mha.train t16 m32 hq2 d16 causal",
        "lm.train b1 t8 m16 l1 hq2 hkv1 v11", "lm.generate t4 s2 m16 l1 hq2 hkv1 v11"}) {
    const nlohmann::json line = measured(text);
    EXPECT_GT(line.at("fraction").get<double>(), 0) << text;
    const bool is_model = std::string(text).starts_with("lm.");
    EXPECT_EQ(line.contains("tokens_per_s"), is_model) << text;
  }
}

TEST(Bench, BackwardKeepsMoreMemoryThanForwardAndBothAreSeen) {
  const auto forward = measured("attention.fwd t256 hq2 d16 thr=1").at("peak_bytes").get<Index>();
  const auto both = measured("attention.fwdbwd t256 hq2 d16 thr=1").at("peak_bytes").get<Index>();
  EXPECT_GE(both, forward);
  EXPECT_GT(measured("lm.train b1 t64 m16 l1 hq2 hkv1 v11").at("peak_bytes").get<Index>(), 0);
}

TEST(Bench, DecodeRotatesCachesThatExceedTheLastLevelCache) {
  const nlohmann::json line = measured("decode s32768 hq8 hkv8 d64 thr=1");
  const double wanted = std::min(line.at("cache_bytes").get<double>(), 2.0 * (Index{1} << 30));
  EXPECT_GE(line.at("rotated_bytes").get<double>(), wanted);
}

TEST(Bench, FewRoundsAreRefused) {
  Limits limits;
  EXPECT_THROW(measure(parse_problem("gemm m1 n1 k1"), {.num_rounds = 6}, limits), ConfigError);
  EXPECT_THROW(measure(parse_problem("gemm m1 n1 k1"), {.min_seconds = 0}, limits), ConfigError);
}

TEST(BenchCommand, TakesProblemsAndFilesOfThem) {
  const std::string path = ::testing::TempDir() + "bench_problems.txt";
  std::ofstream(path) << "# two problems\n\n  gemm m8 n8 k8 thr=1  \ndecode s16 hq1 d8 thr=1\n";
  const CommandResult result =
      run_grouphead("bench --json --rounds 7 --min-time 0.001 --file " + path + " 'gemm m4 n4 k4'");
  ASSERT_EQ(result.exit_code, 0) << result.output;
  std::vector<std::string> problems;
  std::istringstream lines(result.output);
  for (std::string line; std::getline(lines, line);) {
    problems.push_back(nlohmann::json::parse(line).at("problem"));
  }
  EXPECT_THAT(problems,
              ::testing::ElementsAre("gemm f32 m4 n4 k4", "gemm f32 m8 n8 k8 thr=1",
                                     "decode f32 b1 s16 hq1 hkv1 d8 dv8 cache=f32 thr=1"));
}

TEST(Sweep, DoublesASizeAndWhatFollowsIt) {
  const auto texts = [](const char* problem, const char* range) {
    std::vector<std::string> all;
    for (const Problem& each : sweep(parse_problem(problem), range)) all.push_back(to_string(each));
    return all;
  };
  EXPECT_THAT(
      texts("attention.fwd t512 hq8 hkv2 d64 causal thr=1", "t=512..2048"),
      ::testing::ElementsAre("attention.fwd f32 b1 t512 s512 hq8 hkv2 d64 dv64 causal thr=1",
                             "attention.fwd f32 b1 t1024 s1024 hq8 hkv2 d64 dv64 causal thr=1",
                             "attention.fwd f32 b1 t2048 s2048 hq8 hkv2 d64 dv64 causal thr=1"));
  EXPECT_THAT(texts("attention.fwd f64 t4 s9 hq8 hkv8 d4 dv3", "hq=3..7"),
              ::testing::ElementsAre("attention.fwd f64 b1 t4 s9 hq3 hkv3 d4 dv3",
                                     "attention.fwd f64 b1 t4 s9 hq6 hkv6 d4 dv3"));
  EXPECT_THAT(texts("layer.gqa.train t4 m6 hq4 hkv2 d8", "d=5..5"),
              ::testing::ElementsAre("layer.gqa.train f32 b1 t4 s4 hq4 hkv2 d5 m6"));
  for (const char* range : {"t", "t=4", "t=4..2", "t=..4", "t=0..4", "x=1..2", "=1..2", "n=1..2"}) {
    EXPECT_THROW(sweep(parse_problem("attention.fwd t4 hq8 d4"), range), ConfigError) << range;
  }
}

TEST(BenchCommand, SweepGivesALineForEachSize) {
  const CommandResult result = run_grouphead(
      "bench --json --rounds 7 --min-time 0.001 --sweep k=4..16 'gemm m4 n4 k4 thr=1'");
  ASSERT_EQ(result.exit_code, 0) << result.output;
  EXPECT_THAT(result.output, HasSubstr("gemm f32 m4 n4 k4 thr=1"));
  EXPECT_THAT(result.output, HasSubstr("gemm f32 m4 n4 k16 thr=1"));
  EXPECT_EQ(std::count(result.output.begin(), result.output.end(), '\n'), 3);
}

TEST(BenchCommand, TurnsMeasuresARoundForEachLine) {
  const std::string input = ::testing::TempDir() + "turns.txt";
  std::ofstream(input) << "\n\n";
  const CommandResult result =
      run_grouphead("bench --turns --min-time 0.001 'gemm m8 n8 k8 thr=1' < " + input);
  ASSERT_EQ(result.exit_code, 0) << result.output;
  std::istringstream lines(result.output);
  std::string line;
  std::getline(lines, line);
  EXPECT_EQ(line, "ready");
  int rounds = 0;
  for (; std::getline(lines, line); ++rounds) {
    const nlohmann::json round = nlohmann::json::parse(line);
    if (rounds == 2) {
      EXPECT_EQ(round.at("rounds"), 2);
      continue;
    }
    for (const char* key : {"ms", "limit_gflops", "limit_gb_s", "fraction"}) {
      EXPECT_GT(round.at(key).get<double>(), 0) << key;
    }
  }
  EXPECT_EQ(rounds, 3);
  EXPECT_EQ(run_grouphead("bench --turns 'gemm m1 n1 k1' 'gemm m2 n1 k1'").exit_code, 2);
}

/// Of a problem's record, the shapes by name.
std::map<std::string, std::string> recorded(const std::string& problem) {
  const std::string path = ::testing::TempDir() + "record.safetensors";
  const CommandResult result = run_grouphead("bench --record " + path + " '" + problem + "'");
  EXPECT_EQ(result.exit_code, 0) << result.output;
  std::map<std::string, std::string> shapes;
  for (const auto& [name, tensor] : io::read_safetensors(path).tensors) {
    shapes[name] = tensor.shape().to_string();
  }
  return shapes;
}

TEST(BenchCommand, RecordsInputsAndResults) {
  using ::testing::AllOf;
  using ::testing::Contains;
  using ::testing::Pair;
  EXPECT_THAT(
      recorded("gemm m3 n4 k5"),
      ::testing::ElementsAre(Pair("a", "[3, 5]"), Pair("b", "[5, 4]"), Pair("c", "[3, 4]")));
  EXPECT_THAT(recorded("decode b2 s20 hq4 hkv2 d8 dv6"),
              ::testing::ElementsAre(Pair("k", "[2, 20, 2, 8]"), Pair("out", "[2, 1, 4, 6]"),
                                     Pair("q", "[2, 1, 4, 8]"), Pair("v", "[2, 20, 2, 6]")));
  EXPECT_THAT(recorded("attention.fwdbwd t5 s7 hq2 d4 mask=key"),
              AllOf(Contains(Pair("d_k", "[1, 7, 2, 4]")), Contains(Pair("mask", "[1, 7]"))));
  EXPECT_THAT(recorded("layer.gqa.train t5 m6 hq2 hkv1 d4"),
              AllOf(Contains(Pair("d_x", "[1, 5, 6]")), Contains(Pair("y", "[1, 5, 6]")),
                    Contains(Pair("d_query/kernel", "[6, 2, 4]"))));
  EXPECT_THAT(recorded("lm.train b1 t8 m16 l1 hq2 hkv1 v11"),
              AllOf(Contains(Pair("loss", "[1]")), Contains(Pair("tokens", "[1, 8]"))));
  EXPECT_THAT(recorded("lm.generate t4 s2 m16 l1 hq2 hkv1 v11"),
              AllOf(Contains(Pair("logits", "[1, 11]")), Contains(Pair("prompt", "[1, 2]"))));
}

TEST(InfoCommand, LimitsAreMeasuredForOneAndAllThreads) {
  const CommandResult result = run_grouphead("info --limits --threads 2");
  ASSERT_EQ(result.exit_code, 0) << result.output;
  EXPECT_THAT(result.output, HasSubstr("fp32 GFLOP/s"));
  EXPECT_THAT(result.output, ::testing::ContainsRegex("\n1 +avx3|\n1 +avx2|\n1 +sse4|\n1 +ref"));
}

TEST(BenchCommand, TheListsInTheTreeAreReadable) {
  int count = 0;
  for (const auto& list :
       std::filesystem::directory_iterator(GROUPHEAD_SOURCE_DIR "/bench/problems")) {
    std::ifstream file(list.path());
    for (std::string line; std::getline(file, line);) {
      if (line.empty() || line[0] == '#') continue;
      EXPECT_NO_THROW(parse_problem(line)) << list.path() << ": " << line;
      ++count;
    }
  }
  EXPECT_GE(count, 60);
}

TEST(BenchCommand, BadInputEndsWithTwo) {
  EXPECT_EQ(run_grouphead("bench").exit_code, 2);
  EXPECT_EQ(run_grouphead("bench 'gemm m4'").exit_code, 2);
  EXPECT_EQ(run_grouphead("bench --file /nonexistent").exit_code, 2);
  EXPECT_EQ(run_grouphead("bench --rounds 3 'gemm m1 n1 k1'").exit_code, 2);
}

TEST(CheckCommand, ExitCodeTellsTheVerdict) {
  const CommandResult good = run_grouphead("check --threads 1 'gemm m4 n4 k4' 'decode s9 hq2 d8'");
  EXPECT_EQ(good.exit_code, 0) << good.output;
  EXPECT_THAT(good.output, HasSubstr("gemm f32 m4 n4 k4 thr=1\n  c["));
  EXPECT_THAT(good.output, HasSubstr("passed on"));
  EXPECT_EQ(run_grouphead("check").exit_code, 2);
  const CommandResult bad = run_grouphead("check 'gemm m4 n4 k4 window=3'");
  EXPECT_EQ(bad.exit_code, 2);
  EXPECT_THAT(bad.output, HasSubstr("[problem] window=3: expected one of f32 f64 m# n# k#"));
}

TEST(CheckCommand, HelpHasAnExample) {
  for (const char* verb : {"check", "bench"}) {
    const CommandResult help = run_grouphead(std::string(verb) + " --help");
    EXPECT_EQ(help.exit_code, 0);
    EXPECT_THAT(help.output, HasSubstr("Example: grouphead " + std::string(verb)));
  }
}

}  // namespace
}  // namespace grouphead::testing
