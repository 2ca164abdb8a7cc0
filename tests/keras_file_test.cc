// Keras's model files: read, written, and refused without a change.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "grouphead/grouphead.h"
#include "io/file.h"
#include "io/hdf5.h"
#include "io/json.h"
#include "io/safetensors.h"
#include "io/zip.h"
#include "support.h"

namespace grouphead {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using testing_support::error_of;
using testing_support::same_bits;

const fs::path kGolden = GROUPHEAD_SOURCE_DIR "/tests/golden";
const fs::path kFiles = kGolden / "keras_files";

fs::path temporary_file(const std::string& name) {
  const ::testing::TestInfo* test = ::testing::UnitTest::GetInstance()->current_test_info();
  const fs::path folder = fs::path(::testing::TempDir()) / (std::string("files_") + test->name());
  fs::create_directories(folder);
  return folder / name;
}

bool same_weights(const Layer& a, const Layer& b) {
  const auto left = a.parameters();
  const auto right = b.parameters();
  bool same = left.size() == right.size();
  for (std::size_t i = 0; same && i < left.size(); ++i) {
    same = left[i].path == right[i].path &&
           same_bits(left[i].parameter->value(), right[i].parameter->value());
  }
  return same;
}

void clear(Layer& model) {
  for (const auto& [path, parameter] : model.parameters()) fill_zero(parameter->edit());
}

std::string config_of(const Model& model) { return model_to_config(model).to_string(); }

std::vector<std::string> arrays_in(const fs::path& file) {
  const auto mapped = io::MappedFile::open(file);
  const io::Hdf5File opened(mapped->bytes(), mapped, file.string());
  std::vector<std::string> paths;
  for (const auto& [path, dataset] : opened.datasets()) paths.push_back(path);
  return paths;
}

/// An archive of a configuration with the weights of trained.keras.
fs::path archive_with(const std::string& config) {
  const std::string contents = io::read_file(kFiles / "trained.weights.h5");
  const fs::path file = temporary_file("made.keras");
  io::write_zip(file,
                {{"metadata.json", "{}"}, {"config.json", config}, {"model.weights.h5", contents}});
  return file;
}

std::string config_text(const fs::path& file) {
  const auto mapped = io::MappedFile::open(file);
  return std::string(io::ZipFile({mapped->bytes(), mapped}, "x").read("config.json").text());
}

TEST(KerasFiles, ComeBackToTheBit) {
  int files = 0;
  for (const auto& entry : fs::directory_iterator(kGolden / "keras/models")) {
    if (entry.path().extension() != ".keras") continue;
    ++files;
    const auto model = load_model(entry.path());
    const fs::path saved = temporary_file("saved.keras");
    save_model(*model, saved);
    const auto again = load_model(saved);
    EXPECT_TRUE(same_weights(*model, *again)) << entry.path();
    EXPECT_EQ(config_of(*model), config_of(*again)) << entry.path();
  }
  EXPECT_GE(files, 9);
}

TEST(KerasFiles, EveryFormHasTheSameWeights) {
  const auto model = load_model(kFiles / "trained.keras");
  EXPECT_TRUE(same_weights(*model, *load_model(kFiles / "trained.h5")));
  EXPECT_TRUE(same_weights(*model, *load_model(kFiles / "older.keras")));
  const auto other = load_model(kFiles / "trained.keras");
  for (const char* name :
       {"trained.weights.h5", "trained.weights.json", "trained.keras", "trained.h5"}) {
    clear(*other);
    load_weights(*other, kFiles / name);
    EXPECT_TRUE(same_weights(*model, *other)) << name;
  }
  for (const char* name : {"x.weights.h5", "x.weights.json", "x.safetensors"}) {
    save_weights(*model, temporary_file(name), {.largest_shard = 700});
    clear(*other);
    load_weights(*other, temporary_file(name));
    EXPECT_TRUE(same_weights(*model, *other)) << name;
  }
  EXPECT_TRUE(fs::exists(temporary_file("x_00001.weights.h5")));
}

// Places go by classes in the order of the layers: the layer *named* dense is dense_1.
TEST(KerasFiles, HaveKerasPaths) {
  const Symbol ids = input({.shape = {4}, .dtype = Dtype::i32, .name = "ids"});
  const Symbol emb = layer<Embedding>({.input_dim = 10, .output_dim = 8, .name = "emb"})(ids);
  const Symbol gqa = layer<GroupQueryAttention>({.head_dim = 4,
                                                 .num_query_heads = 4,
                                                 .num_key_value_heads = 2,
                                                 .dropout = 0.1,
                                                 .use_gate = true,
                                                 .name = "my_gqa"})({emb, emb});
  const Symbol res = layer<Add>({.name = "res"})({emb, gqa});
  const Symbol ln = layer<LayerNormalization>({.name = "ln"})(res);
  const Symbol mha = layer<MultiHeadAttention>(
      {.num_heads = 2, .key_dim = 4, .use_bias = false, .name = "my_mha"})({ln, ln});
  const Symbol head = layer<Dense>({.units = 3, .name = "head"})(mha);
  Model model({.inputs = {ids},
               .outputs = {layer<Dense>({.units = 2, .name = "dense"})(head)},
               .name = "net"});
  const fs::path file = temporary_file("net.weights.h5");
  save_weights(model, file);
  std::vector<std::string> want = {
      "layers/dense/vars/0",
      "layers/dense/vars/1",
      "layers/dense_1/vars/0",
      "layers/dense_1/vars/1",
      "layers/embedding/vars/0",
      "layers/layer_normalization/vars/0",
      "layers/layer_normalization/vars/1",
      "layers/multi_head_attention/key_dense/vars/0",
      "layers/multi_head_attention/output_dense/vars/0",
      "layers/multi_head_attention/query_dense/vars/0",
      "layers/multi_head_attention/value_dense/vars/0",
  };
  for (const char* part : {"gate", "key", "output", "query", "value"}) {
    for (const char* number : {"0", "1"}) {
      want.push_back(std::string("layers/grouped_query_attention/_")
                         .append(part)
                         .append("_dense/vars/")
                         .append(number));
    }
  }
  EXPECT_THAT(arrays_in(file), ::testing::UnorderedElementsAreArray(want));
  const auto mapped = io::MappedFile::open(file);
  const io::Hdf5File opened(mapped->bytes(), mapped, "net");
  const auto name_at = [&](const std::string& group) {
    return opened.groups().at(group).at("name").at(0);
  };
  EXPECT_EQ(name_at("layers/dense/vars"), "head");
  EXPECT_EQ(name_at("layers/dense_1/vars"), "dense");
  EXPECT_EQ(name_at("vars"), "net");
  EXPECT_EQ(name_at("layers/input_layer/vars"), "ids");
  EXPECT_TRUE(opened.groups().contains("layers/grouped_query_attention/_dropout_layer/vars"));
  EXPECT_FALSE(opened.groups().contains("layers/multi_head_attention/_dropout_layer/vars"));
}

/// x -> attention -> Dense of so many units.
std::shared_ptr<Model> attention_model(bool use_gate, Index units) {
  const Symbol x = input({.shape = {3, 4}, .name = "x"});
  const Symbol h = layer<GroupQueryAttention>(
      {.head_dim = 2, .num_query_heads = 2, .num_key_value_heads = 2, .use_gate = use_gate})(
      {x, x});
  return std::make_shared<Model>(
      ModelConfig{.inputs = {x}, .outputs = {layer<Dense>({.units = units})(h)}, .seed = 5});
}

TEST(KerasFiles, WhatTheModelDoesNotHaveIsLeftAlone) {
  const auto gated = attention_model(true, 3);
  const auto plain = attention_model(false, 3);
  save_weights(*gated, temporary_file("gated.weights.h5"));
  clear(*plain);
  load_weights(*plain, temporary_file("gated.weights.h5"));
  EXPECT_TRUE(same_bits(plain->parameters()[0].parameter->value(),
                        gated->parameters()[0].parameter->value()));
}

TEST(KerasFiles, WeightsThatDoNotFitAreListedAndChangeNothing) {
  const auto plain = attention_model(false, 3);
  const auto gated = attention_model(true, 7);
  save_weights(*plain, temporary_file("plain.weights.h5"));
  const std::vector<Tensor> before = get_weights(*gated);
  EXPECT_THAT(error_of<IoError>([&] { load_weights(*gated, temporary_file("plain.weights.h5")); }),
              AllOf(HasSubstr("layers/grouped_query_attention/_gate_dense ('gate'): expected 2 "
                              "arrays, got 0"),
                    HasSubstr("layers/dense/vars/0: expected [4, 7], got [4, 3]"),
                    HasSubstr("layers/dense/vars/1: expected [7], got [3]")));
  const std::vector<Tensor> after = get_weights(*gated);
  for (std::size_t i = 0; i < before.size(); ++i) EXPECT_TRUE(same_bits(before[i], after[i]));
}

TEST(KerasFiles, HeadsOfAnotherClassDoNotFit) {
  const Symbol x = input({.shape = {3, 4}, .name = "x"});
  Model other({.inputs = {x},
               .outputs = {layer<Dense>({.units = 3})(
                   layer<MultiHeadAttention>({.num_heads = 2, .key_dim = 2})({x, x}))}});
  save_weights(other, temporary_file("mha.weights.h5"));
  const auto model = attention_model(false, 3);
  EXPECT_THROW(load_weights(*model, temporary_file("mha.weights.h5")), IoError);
}

// Keras's class had no public names for its projections at first.
TEST(KerasFiles, ProjectionsOfOlderFilesHavePrivateNames) {
  const Symbol x = input({.shape = {3, 4}, .name = "x"});
  Model model({.inputs = {x},
               .outputs = {layer<MultiHeadAttention>({.num_heads = 2, .key_dim = 2})({x, x})}});
  save_weights(model, temporary_file("new.weights.h5"));
  const auto mapped = io::MappedFile::open(temporary_file("new.weights.h5"));
  const io::Hdf5File file(mapped->bytes(), mapped, "new");
  io::Hdf5Writer older(0);
  for (const auto& [path, dataset] : file.datasets()) {
    std::string renamed = path;
    renamed.insert(std::string_view("layers/multi_head_attention/").size(), 1, '_');
    older.dataset(renamed, file.read(path));
  }
  io::write_file(temporary_file("old.weights.h5"), older.finish());
  const std::vector<Tensor> before = get_weights(model);
  clear(model);
  load_weights(model, temporary_file("old.weights.h5"));
  const std::vector<Tensor> after = get_weights(model);
  for (std::size_t i = 0; i < before.size(); ++i) EXPECT_TRUE(same_bits(before[i], after[i]));
}

TEST(KerasFiles, NumbersAreCastToTheVariables) {
  const auto dense_of = [](const char* dtype) {
    const Symbol x = input({.shape = {3}, .name = "x"});
    return std::make_shared<Model>(ModelConfig{
        .inputs = {x}, .outputs = {layer<Dense>({.units = 2, .dtype = dtype})(x)}, .seed = 1});
  };
  const auto wide = dense_of("float64");
  save_weights(*wide, temporary_file("f64.weights.h5"));
  const auto half = dense_of("bfloat16");
  load_weights(*half, temporary_file("f64.weights.h5"));
  const double want = *wide->parameters()[0].parameter->value().data<double>();
  const Bf16 got = *half->parameters()[0].parameter->value().data<Bf16>();
  EXPECT_EQ(got.bits, to_bf16(static_cast<float>(want)).bits);
}

TEST(KerasFiles, Int8WeightsAreScaled) {
  Context ctx;
  const auto model = load_model(kFiles / "int8.keras");
  const io::Safetensors file = io::read_safetensors(kFiles / "int8.safetensors");
  const Tensor y = (*model)(ctx, file.at("inputs.tokens"));
  const Tensor& exact = file.at("exact");
  EXPECT_TRUE(testing::compare("y", y, exact, 0.02 * testing::max_abs(exact)).ok());
}

TEST(KerasFiles, OtherLayersAreAllNamed) {
  EXPECT_THAT(
      error_of<IoError>([] { load_model(kFiles / "others.keras"); }),
      AllOf(HasSubstr("others.keras"), HasSubstr("'conv' (Conv1DTranspose) in others/inner"),
            HasSubstr("'pool' (AdaptiveMaxPooling1D) in others")));
}

TEST(KerasFiles, TrainingGoesOnAsInKeras) {
  const io::Safetensors file = io::read_safetensors(kFiles / "trained.safetensors");
  for (const char* name : {"trained.keras", "trained.h5"}) {
    Context ctx;
    TrainableModel loaded = load_compiled_model(kFiles / name);
    ASSERT_NE(loaded.compiled, nullptr);
    const auto variables = loaded.compiled->optimizer().variables();
    for (std::size_t i = 2; i < variables.size(); ++i) {
      EXPECT_TRUE(same_bits(variables[i].value, file.at("state." + std::to_string(i))));
    }
    EXPECT_EQ(loaded.compiled->optimizer().iterations(), 3);
    for (int step = 0; step < 2; ++step) {
      const double loss = loaded.compiled->train_on_batch(
          ctx, {.x = {file.at("inputs.x")}, .y = {file.at("target")}});
      EXPECT_NEAR(loss, file.at("losses").data<float>()[step], 2e-6) << name;
    }
  }
}

TEST(KerasFiles, TrainingGoesOnToTheBitFromAFileOfOurs) {
  Context ctx;
  const io::Safetensors file = io::read_safetensors(kFiles / "trained.safetensors");
  const Data batch{.x = {file.at("inputs.x")}, .y = {file.at("target")}};
  TrainableModel straight = load_compiled_model(kFiles / "trained.keras");
  straight.compiled->train_on_batch(ctx, batch);
  save_model(*straight.compiled, temporary_file("between.keras"));
  save_weights(*straight.compiled, temporary_file("between.weights.h5"));
  TrainableModel resumed = load_compiled_model(temporary_file("between.keras"));
  TrainableModel by_weights = load_compiled_model(kFiles / "trained.keras");
  load_weights(*by_weights.compiled, temporary_file("between.weights.h5"));
  for (TrainableModel* each : {&straight, &resumed, &by_weights}) {
    each->compiled->train_on_batch(ctx, batch);
  }
  EXPECT_TRUE(same_weights(*straight.model, *resumed.model));
  EXPECT_TRUE(same_weights(*straight.model, *by_weights.model));
  EXPECT_EQ(find(straight.compiled->logs(), "mae").has_value(), true);
  EXPECT_EQ(find(resumed.compiled->logs(), "mae").has_value(), true);
}

TEST(KerasFiles, AModelThatWasNotCompiledHasNothingToTrainBy) {
  const auto loaded = load_compiled_model(kGolden / "keras/models/model_a2_seq_plain.keras");
  EXPECT_NE(loaded.model, nullptr);
  EXPECT_EQ(loaded.compiled, nullptr);
}

// ---- What is refused ---------------------------------------------------------------------------

TEST(KerasFiles, NamesSayWhatAFileIs) {
  const auto model = attention_model(false, 3);
  EXPECT_THAT(error_of<IoError>([&] { save_model(*model, temporary_file("x.h5")); }),
              HasSubstr("ends in .keras"));
  EXPECT_THAT(error_of<IoError>([&] { save_weights(*model, temporary_file("x.h5")); }),
              HasSubstr(".weights.h5"));
  EXPECT_THAT(error_of<IoError>([] { load_model(kFiles / "trained.weights.h5"); }),
              HasSubstr("ends in .keras or .h5"));
  EXPECT_THAT(error_of<IoError>([] { load_model("nowhere.keras"); }), HasSubstr("nowhere.keras"));
}

TEST(KerasFiles, AFailedSaveLeavesTheOldFile) {
  const auto model = attention_model(false, 3);
  const fs::path file = temporary_file("old.keras");
  save_model(*model, file);
  const std::string before = io::read_file(file);
  EXPECT_THROW(save_weights(*model, temporary_file("none") / "x.weights.h5"), IoError);
  EXPECT_THROW(save_model(Sequential(), file), ConfigError);
  EXPECT_EQ(io::read_file(file), before);
  EXPECT_EQ(std::distance(fs::directory_iterator(file.parent_path()), {}), 1);
}

TEST(KerasFiles, ClaimsTakeNoMemory) {
  std::string config = config_text(kFiles / "trained.keras");
  const std::string units = "\"units\": 6";
  const std::size_t at = config.find(units);
  ASSERT_NE(at, std::string::npos);
  config.replace(at, units.size(), "\"units\": 600000000000");
  EXPECT_THAT(error_of<IoError>([&] { load_model(archive_with(config)); }),
              HasSubstr("as many numbers as the file has"));
}

TEST(KerasFiles, ConfigurationsThatAreNoneAreRefused) {
  const std::string deep(100'000, '[');
  std::string models = "{}";
  for (int i = 0; i < 200; ++i) {
    models = "{\"class_name\": \"Sequential\", \"config\": {\"layers\": [" + models + "]}}";
  }
  for (const std::string& config :
       {std::string("{}"), std::string("null"), std::string("{\"class_name\": 3}"), deep, models,
        std::string("{\"class_name\": \"Functional\", \"config\": {\"layers\": [3]}}"),
        std::string("{\"class_name\": \"Lambda\", \"config\": {}}")}) {
    EXPECT_THROW(load_model(archive_with(config)), IoError) << config.substr(0, 60);
  }
}

TEST(KerasFiles, LayersInACircleAreRefused) {
  std::string config = config_text(kFiles / "trained.keras");
  const std::string source = "\"keras_history\": [\"x\", 0, 0]";
  for (std::size_t at; (at = config.find(source)) != std::string::npos;) {
    config.replace(at, source.size(), "\"keras_history\": [\"head\", 0, 0]");
  }
  EXPECT_THAT(error_of<IoError>([&] { load_model(archive_with(config)); }), HasSubstr("loop"));
}

TEST(KerasFiles, FilesThatAreCutOffOrChangedAreErrorsOrOtherNumbers) {
  const std::string whole = io::read_file(kFiles / "older.keras");
  const fs::path file = temporary_file("changed.keras");
  for (std::size_t size = 0; size < whole.size(); size += 1009) {
    io::write_file(file, whole.substr(0, size));
    EXPECT_THROW(load_model(file), IoError) << size;
  }
  for (std::size_t i = 0; i < whole.size(); i += 311) {
    std::string changed = whole;
    changed[i] = static_cast<char>(~changed[i]);
    std::ofstream(file, std::ios::binary) << changed;
    try {
      load_model(file);
    } catch (const IoError&) {
    }
  }
}

TEST(KerasFiles, ListsOfShardsStayInTheirFolder) {
  for (const char* name : {"../x.weights.h5", "/etc/x.weights.h5", "..", ""}) {
    const fs::path file = temporary_file("x.weights.json");
    io::write_file(file, std::string("{\"weight_map\": {\"/vars\": \"") + name + "\"}}");
    EXPECT_THAT(error_of<IoError>([&] { load_weights(*attention_model(false, 3), file); }),
                HasSubstr("beside it"))
        << name;
  }
}

}  // namespace
}  // namespace grouphead
