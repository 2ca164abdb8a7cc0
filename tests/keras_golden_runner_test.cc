// The runner of golden folders in Keras's format notices whatever is wrong with a case.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <functional>

#include "command.h"
#include "io/file.h"
#include "io/json.h"
#include "io/safetensors.h"
#include "saved/keras_files.h"
#include "testing/keras_golden.h"

namespace grouphead::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using testing_support::CommandResult;
using testing_support::run_grouphead;

const fs::path kKeras = GROUPHEAD_SOURCE_DIR "/tests/golden/keras";

using ChangeCase = std::function<void(ConfigValue&)>;
using ChangeFile = std::function<void(io::Safetensors&)>;

ConfigValue entry_named(std::string_view list, std::string_view name) {
  const std::string file = std::string(list) + ".json";
  const ConfigValue document = io::parse_json(io::read_file(kKeras / file), file);
  for (const ConfigValue& entry : document[list].as_list(list)) {
    if (entry["name"] == ConfigValue(name)) return entry;
  }
  throw IoError("no such entry");
}

void write_list(const fs::path& folder, std::string_view list, ConfigValue::List entries) {
  ConfigValue document;
  document.set(list, std::move(entries));
  io::write_file(folder / (std::string(list) + ".json"), io::json_text(document, 1));
}

/// A folder with one stored case, changed.
fs::path changed(std::string_view name, const ChangeCase& change_case = {},
                 const ChangeFile& change_file = {}) {
  const ::testing::TestInfo* test = ::testing::UnitTest::GetInstance()->current_test_info();
  const fs::path folder = fs::path(::testing::TempDir()) / (std::string("keras_") + test->name());
  fs::remove_all(folder);
  fs::create_directories(folder);
  ConfigValue fields = entry_named("cases", name);
  io::Safetensors file = io::read_safetensors(kKeras / fields["file"].as_string("file"));
  fields.set("file", "x.safetensors");
  for (const char* model : {"keras_file", "weights_file"}) {
    const ConfigValue& stored = fields[model];
    if (stored.is_string()) fields.set(model, (kKeras / stored.as_string(model)).string());
  }
  if (change_case) change_case(fields);
  if (change_file) change_file(file);
  write_list(folder, "cases", {fields});
  io::write_safetensors(folder / "x.safetensors", file);
  return folder;
}

/// The lines of the runner_failures; empty when all passed.
std::vector<std::string> runner_failures(const fs::path& folder) {
  Context ctx({.num_threads = 1});
  std::vector<std::string> lines;
  for (const GoldenResult& result : run_golden(ctx, folder)) {
    if (!result.passed) lines.push_back(result.line);
  }
  return lines;
}

TEST(KerasRunner, StoredCasesPass) {
  EXPECT_THAT(runner_failures(changed("regularizer_02")), ElementsAre());
  EXPECT_THAT(runner_failures(changed("constraint_02")), ElementsAre());
}

TEST(KerasRunner, AWrongNumberIsNamed) {
  const fs::path folder = changed("regularizer_02", {}, [](io::Safetensors& file) {
    file.tensors.at("r02.gradient").data<float>()[1] += 1e-4F;
  });
  EXPECT_THAT(runner_failures(folder),
              ElementsAre(AllOf(HasSubstr("regularizer_02: r02.gradient[0, 1]: got"),
                                HasSubstr("want"), HasSubstr("bound 2.50e-07"))));
  const CommandResult result = run_grouphead("check --quiet --golden " + folder.string());
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.output, HasSubstr("0 passed, 1 failed"));
}

TEST(KerasRunner, UnknownFieldsAndKindsFail) {
  const auto failure_of = [](std::string_view key, const ConfigValue& value) {
    return runner_failures(
        changed("regularizer_02", [&](ConfigValue& fields) { fields.set(key, value); }));
  };
  EXPECT_THAT(failure_of("colour", "red"), ElementsAre(HasSubstr("got colour")));
  EXPECT_THAT(failure_of("kind", "sonnet"), ElementsAre(HasSubstr("got sonnet")));
  EXPECT_THAT(failure_of("layer", "L3"), ElementsAre(HasSubstr("L3")));
  EXPECT_THAT(failure_of("call", ConfigValue::Object{{"input", "r02.input"}, {"twice", true}}),
              ElementsAre(HasSubstr("got twice")));
  EXPECT_THAT(failure_of("config", ConfigValue::Object{{"l1", 0.1}, {"l2", 0.1}, {"l0", 0.1}}),
              ElementsAre(HasSubstr("l0")));
}

TEST(KerasRunner, WhatIsExpectedMustBeCompared) {
  EXPECT_THAT(runner_failures(changed("regularizer_02",
                                      [](ConfigValue& fields) {
                                        ConfigValue::List expect =
                                            fields["expect"].as_list("expect");
                                        expect.emplace_back("r02.input");
                                        fields.set("expect", expect);
                                      })),
              ElementsAre(HasSubstr("r02.input: expected by the case, but nothing computes it")));
  EXPECT_THAT(runner_failures(
                  changed("regularizer_02",
                          [](ConfigValue& fields) { fields.set("expect", ConfigValue::List{}); })),
              ElementsAre(HasSubstr("names no result")));
  EXPECT_THAT(runner_failures(changed(
                  "regularizer_02",
                  [](ConfigValue& fields) { fields.set("tolerance", ConfigValue::Object{}); })),
              ElementsAre(HasSubstr("tolerance of r02.value")));
  EXPECT_THAT(
      runner_failures(changed("regularizer_02", {},
                              [](io::Safetensors& file) { file.tensors.erase("r02.value"); })),
      ElementsAre(HasSubstr("r02.value")));
}

TEST(KerasRunner, AWrongWeightFailsWhatItTouches) {
  const fs::path folder = changed("add_scale", {}, [](io::Safetensors& file) {
    file.tensors.at("scale").data<float>()[2] += 0.5F;
  });
  const std::vector<std::string> lines = runner_failures(folder);
  ASSERT_EQ(lines.size(), 1U);
  for (const char* name : {"expect.output[", "expect.loss[", "grad.scale[", "grad.inputs.query[",
                           "grad.inputs.value["}) {
    EXPECT_THAT(lines[0], HasSubstr(std::string("add_scale: ") + name));
  }
}

TEST(KerasRunner, AWrongCotangentFailsTheGradientsAlone) {
  const fs::path folder = changed("add_scale", {}, [](io::Safetensors& file) {
    Tensor& cotangent = file.tensors.at("cotangent.output");
    cotangent.data<float>()[0] += 0.1F;
  });
  const std::vector<std::string> lines = runner_failures(folder);
  ASSERT_EQ(lines.size(), 1U);
  EXPECT_THAT(lines[0], AllOf(HasSubstr("grad.scale["), Not(HasSubstr("expect.output["))));
}

TEST(KerasRunner, WeightsMustFit) {
  const auto failure_with = [](const ConfigValue::List& weights, const ChangeFile& change_file) {
    return runner_failures(changed(
        "add_scale", [&](ConfigValue& fields) { fields.set("weights", weights); }, change_file));
  };
  EXPECT_THAT(failure_with({}, {}), ElementsAre(HasSubstr("weights: expected , got scale")));
  EXPECT_THAT(failure_with({"scale", "bias"}, {}),
              ElementsAre(HasSubstr("weights: expected scale bias, got scale")));
  EXPECT_THAT(
      failure_with({"scale"},
                   [](io::Safetensors& file) { file.tensors.at("scale") = Tensor::zeros({1}); }),
      ElementsAre(HasSubstr("[golden] scale: expected f32 [1], got f32 [")));
  EXPECT_THAT(failure_with({"scale"}, [](io::Safetensors& file) { file.tensors.erase("scale"); }),
              ElementsAre(HasSubstr("scale")));
}

TEST(KerasRunner, CallsMustBeUnderstood) {
  const auto failure_with = [](std::string_view key, const ConfigValue& value) {
    return runner_failures(changed("add_scale", [&](ConfigValue& fields) {
      ConfigValue call = fields["call"];
      call.set(key, value);
      fields.set("call", call);
    }));
  };
  EXPECT_THAT(failure_with("upside_down", true), ElementsAre(HasSubstr("upside_down")));
  EXPECT_THAT(failure_with("inputs", ConfigValue::List{"inputs.query", "inputs.nobody"}),
              ElementsAre(HasSubstr("inputs.nobody")));
  EXPECT_THAT(failure_with("mask", ConfigValue::List{"masks.nobody", nullptr}),
              ElementsAre(HasSubstr("masks.nobody")));
  EXPECT_THAT(failure_with("mask", ConfigValue::List{nullptr}),
              ElementsAre(HasSubstr("mask: expected [query_mask, value_mask]")));
  EXPECT_THAT(failure_with("implicit_masks", ConfigValue::Object{{"nobody", "inputs.query"}}),
              ElementsAre(HasSubstr("implicit_masks: expected names of operands, got nobody")));
  EXPECT_THAT(runner_failures(changed(
                  "add_scale", [](ConfigValue& fields) { fields.set("layer", "Attendance"); })),
              ElementsAre(HasSubstr("Attendance")));
}

/// A folder with one entry of errors.json or initializers.json, changed.
std::vector<std::string> failures_of_entry(std::string_view list, ConfigValue entry) {
  const fs::path folder = changed("regularizer_02");
  write_list(folder, list, {std::move(entry)});
  return runner_failures(folder);
}

TEST(KerasRunner, RefusalsMustHappenAndOnlyThese) {
  ConfigValue entry = entry_named("errors", "att_score_mode");
  EXPECT_THAT(failures_of_entry("errors", entry), ElementsAre());
  entry.set("kwargs", ConfigValue::Object{});
  EXPECT_THAT(failures_of_entry("errors", entry), ElementsAre(HasSubstr("got none")));
  entry.set("raises", nullptr);
  EXPECT_THAT(failures_of_entry("errors", entry), ElementsAre());
  entry.set("kwargs", ConfigValue::Object{{"score_mode", "cosine"}});
  EXPECT_THAT(failures_of_entry("errors", entry),
              ElementsAre(AllOf(HasSubstr("expected no error"), HasSubstr("score_mode"))));
  entry.set("layer", "Attendance");
  EXPECT_THAT(failures_of_entry("errors", entry), ElementsAre(HasSubstr("Attendance")));
}

TEST(KerasRunner, ModelsAreComparedLayerByLayer) {
  if (!saved::has_keras_files()) {
    EXPECT_THAT(runner_failures(changed("model_a2_seq_plain")),
                ElementsAre(HasSubstr("GROUPHEAD_IO_KERAS")));
    return;
  }
  EXPECT_THAT(runner_failures(changed("model_a2_seq_plain")), ElementsAre());
  const auto add = [](const char* name) {
    return [name](io::Safetensors& file) { *file.tensors.at(name).data<float>() += 0.1F; };
  };
  EXPECT_THAT(runner_failures(changed("model_a2_seq_plain", {}, add("expect.layer.d1"))),
              ElementsAre(HasSubstr("expect.layer.d1")));
  EXPECT_THAT(runner_failures(changed("model_a2_seq_plain", {}, add("weight.seq_plain/d1/kernel"))),
              ElementsAre(HasSubstr("weight.seq_plain/d1/kernel: differs")));
  const auto without_file = [](ConfigValue& fields) { fields.set("keras_file", "none.keras"); };
  EXPECT_THAT(runner_failures(changed("model_a2_seq_plain", without_file)),
              ElementsAre(HasSubstr("none.keras")));
}

TEST(KerasRunner, FoldersWithoutCasesEndWithTwo) {
  const fs::path folder = changed("regularizer_02");
  write_list(folder, "cases", {});
  EXPECT_EQ(run_grouphead("check --golden " + folder.string()).exit_code, 2);
  io::write_file(folder / "cases.json", "{");
  EXPECT_EQ(run_grouphead("check --golden " + folder.string()).exit_code, 2);
}

}  // namespace
}  // namespace grouphead::testing
