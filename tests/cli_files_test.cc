// `grouphead run` and `grouphead inspect`, as a user types them.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <functional>
#include <limits>

#include "command.h"
#include "grouphead/files/tensors.h"
#include "io/file.h"
#include "io/hdf5.h"
#include "io/json.h"
#include "io/safetensors.h"
#include "io/zip.h"

namespace grouphead {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using testing_support::CommandResult;
using testing_support::run_grouphead;

const std::string kModels = GROUPHEAD_SOURCE_DIR "/tests/golden/keras/models/";
const std::string kFiles = GROUPHEAD_SOURCE_DIR "/tests/golden/keras_files/";

std::string run_of(const std::string& model, const std::string& more) {
  return "run " + kModels + model + ".keras --inputs " + kModels + model + ".safetensors " + more;
}

TEST(CliFiles, EveryGoldenModelIsAsExpected) {
  int models = 0;
  for (const auto& entry : fs::directory_iterator(kModels)) {
    if (entry.path().extension() != ".keras") continue;
    const CommandResult result = run_grouphead(run_of(entry.path().stem(), "--expect"));
    EXPECT_EQ(result.exit_code, 0) << result.output;
    EXPECT_THAT(result.output, AllOf(HasSubstr("passed"), HasSubstr("error ")));
    ++models;
  }
  EXPECT_GE(models, 9);
}

const std::string kInputs = GROUPHEAD_SOURCE_DIR "/tests/golden/keras_inputs/";

CommandResult run_with(const std::string& model, const std::string& inputs) {
  return run_grouphead("run " + kInputs + model + ".keras --inputs " + inputs + " --expect");
}

// Masks, inputs and outputs of every type, and archives with bytes around them.
TEST(CliFiles, ModelsOfManyTypesAreAsExpected) {
  for (const char* model : {"mask_int8", "mask_list", "mask_float64", "mask_cast", "tokens",
                            "mixed", "above", "where"}) {
    const CommandResult result = run_with(model, kInputs + model + ".safetensors");
    EXPECT_EQ(result.exit_code, 0) << result.output;
  }
  for (const char* model : {"front", "behind"}) {
    EXPECT_EQ(run_with(model, kInputs + "above.safetensors").exit_code, 0) << model;
  }
  // Names that are not ASCII, in the legacy form.
  const std::string named = " --inputs " + kInputs + "names.safetensors --expect";
  const CommandResult names = run_grouphead("run " + kInputs + "names.h5" + named);
  EXPECT_EQ(names.exit_code, 0) << names.output;
  EXPECT_THAT(run_grouphead("inspect " + kInputs + "many_names.h5").output,
              HasSubstr("more than 8 members with names beyond ASCII"));
  EXPECT_THAT(run_with("lzma", kInputs + "above.safetensors").output, HasSubstr("got lzma"));
  EXPECT_THAT(run_with("mixed", kInputs + "mixed.safetensors").output, HasSubstr("bound 1."));
}

TEST(CliFiles, ClassesOfAFileAreKnown) {
  const std::string own = GROUPHEAD_SOURCE_DIR "/tests/golden/keras_own/";
  const std::string run = "run " + own + "own.keras --inputs " + own + "own.safetensors --expect";
  const CommandResult refused = run_grouphead(run);
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_THAT(refused.output, HasSubstr("a definition of \"example>Block\" in a file of classes"));
  const CommandResult known = run_grouphead(run + " --classes " + own + "classes.json");
  EXPECT_EQ(known.exit_code, 0) << known.output;
  EXPECT_THAT(
      run_grouphead("inspect " + own + "own.keras --classes " + own + "classes.json").output,
      HasSubstr("Block"));
}

// Each changes one expected value; all of them must be noticed.
TEST(CliFiles, ExpectNoticesEveryChange) {
  const auto changed = [](const std::string& model, const std::function<void(Tensor&)>& change) {
    io::Safetensors file = io::read_safetensors(kInputs + model + ".safetensors");
    change(file.tensors.at("expect.output"));
    const std::string inputs = ::testing::TempDir() + "cli_files_changed.safetensors";
    io::write_safetensors(inputs, file);
    return run_with(model, inputs).exit_code;
  };
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(changed("where", [](Tensor&) {}), 0);
  EXPECT_EQ(changed("where", [](Tensor& y) { y.data<float>()[0] += 1000; }), 1);
  EXPECT_EQ(changed("where", [](Tensor& y) { y.data<float>()[1] = 0; }), 1);
  EXPECT_EQ(changed("where", [&](Tensor& y) { y.data<float>()[1] = infinity; }), 1);
  EXPECT_EQ(changed("where", [&](Tensor& y) { y.data<float>()[1] = NAN; }), 1);
  EXPECT_EQ(changed("where", [&](Tensor& y) { y.data<float>()[0] = infinity; }), 1);
  EXPECT_EQ(changed("above", [](Tensor& y) { y.data<bool>()[3] = !y.data<bool>()[3]; }), 1);
  EXPECT_EQ(changed("mixed", [](Tensor& y) { y.data<float>()[2] += 0.1F; }), 1);
}

// Keras casts what it is given to the types of the inputs.
TEST(CliFiles, InputsOfOtherTypesAreTakenWhereTheyFit) {
  const io::Safetensors file = io::read_safetensors(kInputs + "tokens.safetensors");
  const std::string inputs = ::testing::TempDir() + "cli_files_cast.safetensors";
  for (const Dtype tokens : {Dtype::u8, Dtype::i32, Dtype::i64, Dtype::f32, Dtype::f64}) {
    for (const Dtype mask : {Dtype::boolean, Dtype::u8, Dtype::i32, Dtype::i64, Dtype::f32}) {
      io::write_safetensors(inputs, {.metadata = {},
                                     .tensors = {{"t", cast_exactly(file.at("inputs.t"), tokens)},
                                                 {"k", cast_exactly(file.at("inputs.k"), mask)},
                                                 {"expect.output", file.at("expect.output")}}});
      EXPECT_EQ(run_with("tokens", inputs).exit_code, 0) << name_of(tokens) << name_of(mask);
    }
  }
  Tensor halves = cast_exactly(file.at("inputs.t"), Dtype::f32);
  halves.data<float>()[0] += 0.5F;
  io::write_safetensors(inputs,
                        {.metadata = {}, .tensors = {{"t", halves}, {"k", file.at("inputs.k")}}});
  const CommandResult refused = run_with("tokens", inputs);
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_THAT(refused.output, HasSubstr("values that i64 has, got"));
}

TEST(CliFiles, InspectListsWhatIsNotReadAndEscapesNames) {
  const std::string npz = std::string(GROUPHEAD_SOURCE_DIR) + "/tests/golden/npy/";
  const std::string file = ::testing::TempDir() + "cli_files_names.npz";
  const std::string text = io::read_file(npz + "text.npy");
  io::write_zip(file, {{"x.npy", io::read_file(npz + "int16.npy")}, {"red.npy", text}});
  const CommandResult shown = run_grouphead("inspect " + file);
  EXPECT_EQ(shown.exit_code, 0) << shown.output;
  EXPECT_THAT(shown.output, AllOf(HasSubstr("x  i16 [24]"), HasSubstr("red  <U2 [2]  not read")));
  const std::string colours = ::testing::TempDir() + "cli_files_names.safetensors";
  io::write_safetensors(colours,
                        {.metadata = {}, .tensors = {{"\x1b[31mred", Tensor::zeros({2})}}});
  const std::string red = run_grouphead("inspect " + colours).output;
  EXPECT_THAT(red, HasSubstr("\\x1b[31mred"));
  EXPECT_EQ(red.find('\x1b'), std::string::npos);
  const CommandResult json = run_grouphead("inspect --json " + file);
  EXPECT_EQ(json.exit_code, 0);
  EXPECT_EQ(io::parse_json(json.output, "inspect")["tensors"].as_list("tensors").size(), 2U);
  // A name that is not UTF-8 is no reason to say nothing.
  io::Hdf5Writer writer(4096);
  writer.dataset("layers/\xff/vars/0", Tensor::zeros({2}));
  const std::string weights = ::testing::TempDir() + "cli_files_names.weights.h5";
  io::write_file(weights, writer.finish());
  EXPECT_THAT(run_grouphead("inspect " + weights).output, HasSubstr("\\xff/"));
  EXPECT_THAT(run_grouphead("inspect --json " + weights).output, HasSubstr("\\ufffd/vars/0"));
  // Messages go to the terminal too.
  const CommandResult missing = run_grouphead("inspect \"$(printf '/none/\\033[2J.npz')\"");
  EXPECT_EQ(missing.exit_code, 2);
  EXPECT_EQ(missing.output.find('\x1b'), std::string::npos);
}

TEST(CliFiles, InspectShowsTheSameOfBothForms) {
  const auto shown = [](const std::string& name) {
    const CommandResult json = run_grouphead("inspect --json " + kFiles + name);
    return io::parse_json(json.output, "inspect")["model"];
  };
  const ConfigValue keras = shown("trained.keras");
  const ConfigValue legacy = shown("trained.h5");
  EXPECT_EQ(keras["kv_cache"], legacy["kv_cache"]);
  EXPECT_EQ(keras["parameters"], legacy["parameters"]);
  EXPECT_GT(keras["kv_cache"].as_integer("kv_cache"), 0);
}

TEST(CliFiles, RunWritesOutputsAndComparesThem) {
  const std::string out = ::testing::TempDir() + "cli_files_out.safetensors";
  ASSERT_EQ(run_grouphead(run_of("model_g_gated_window", "--out " + out)).exit_code, 0);
  const io::Safetensors made = io::read_safetensors(out);
  EXPECT_EQ(made.tensors.size(), 2U);
  EXPECT_EQ(made.at("output.1").shape(), Shape({2, 2, 9, 9}));
  const CommandResult strict = run_grouphead(run_of("model_b_gqa_residual", "--expect --atol 0"));
  EXPECT_EQ(strict.exit_code, 1);
  EXPECT_THAT(strict.output, HasSubstr("FAILED"));
}

TEST(CliFiles, BadInputEndsWithTwo) {
  const std::string inputs = " --inputs " + kFiles + "int8.safetensors";
  const CommandResult missing = run_grouphead("run " + kFiles + "trained.keras" + inputs);
  EXPECT_EQ(missing.exit_code, 2);
  EXPECT_THAT(missing.output, HasSubstr("expected inputs.x or x, got exact, inputs.tokens"));
  EXPECT_EQ(run_grouphead("run " + kFiles + "int8.keras --expect" + inputs).exit_code, 2);
  EXPECT_EQ(run_grouphead("run none.keras" + inputs).exit_code, 2);
  EXPECT_EQ(run_grouphead("inspect none.keras").exit_code, 2);
}

TEST(CliFiles, InspectShowsLayersConnectionsAndCosts) {
  const CommandResult text = run_grouphead("inspect " + kModels + "model_a_seq_nested.keras");
  EXPECT_EQ(text.exit_code, 0);
  EXPECT_THAT(text.output, AllOf(HasSubstr("Keras 3.15.1"), HasSubstr("GroupQueryAttention"),
                                 HasSubstr("8 numbers for each token"), HasSubstr("_query_dense/"),
                                 HasSubstr("attention_in")));
  const CommandResult json =
      run_grouphead("inspect --json " + kModels + "model_a_seq_nested.keras");
  const ConfigValue found = io::parse_json(json.output, "inspect");
  EXPECT_EQ(found["model"]["parameters"], ConfigValue(398));
  EXPECT_EQ(found["numbers"], ConfigValue(398));
  EXPECT_EQ(found["model"]["layers"].as_list("layers")[2]["kv_cache"], ConfigValue(8));
}

TEST(CliFiles, InspectShowsWhatCannotBeRun) {
  const CommandResult others = run_grouphead("inspect " + kFiles + "others.keras");
  EXPECT_EQ(others.exit_code, 0);
  EXPECT_THAT(others.output, AllOf(HasSubstr("AdaptiveMaxPooling1D"), HasSubstr("cannot be run")));
  for (const char* file : {"trained.h5", "trained.weights.h5", "trained.safetensors"}) {
    EXPECT_EQ(run_grouphead("inspect " + kFiles + file).exit_code, 0) << file;
  }
}

}  // namespace
}  // namespace grouphead
