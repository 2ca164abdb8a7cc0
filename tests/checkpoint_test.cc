#include "saved/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <functional>

#include "io/file.h"
#include "saved/model_folder.h"
#include "training_support.h"

namespace grouphead::saved {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing_support::example_text;
using testing_support::FolderTest;
using testing_support::same_bits;
using testing_support::same_weights;
using testing_support::tiny_config;

class CheckpointFolder : public FolderTest {
 protected:
  Trainer make_trainer(const TrainerConfig& config) {
    return Trainer(ctx_, config, TextData(example_text(5000), config.sequence_length));
  }
  // Trains up to `step`, as the program does.
  static void train_to(Index step, Trainer& trainer, History& history) {
    while (trainer.steps_done() < step) {
      const Trainer::StepResult result = trainer.step();
      HistoryRow row{.step = trainer.steps_done(),
                     .loss = result.loss,
                     .learning_rate = result.learning_rate,
                     .gradient_norm = result.gradient_norm};
      if (row.step % 5 == 0) row.validation_loss = trainer.validate();
      history.push_back(row);
    }
  }
  // A checkpoint after seven of twenty steps in folder_.
  void save_seven(const TrainerConfig& config = tiny_config()) {
    Trainer trainer = make_trainer(config);
    History history;
    train_to(7, trainer, history);
    save(folder_, trainer, history, {"/some/text"});
  }
  // Rewrites the checkpoint as `change` wants it.
  void damage(const std::function<void(io::Safetensors&)>& change) {
    io::Safetensors contents = io::read_safetensors(path("state.safetensors"));
    change(contents);
    io::write_safetensors(path("state.safetensors"), contents);
  }
  // The error of resuming from folder_; checks that nothing of the trainer changed.
  std::string resume_error() {
    Trainer trainer = make_trainer(tiny_config());
    Trainer untouched = make_trainer(tiny_config());
    try {
      restore(read_checkpoint(folder_), trainer);
    } catch (const IoError& error) {
      EXPECT_TRUE(same_weights(trainer.model(), untouched.model()));
      EXPECT_EQ(trainer.steps_done(), 0);
      for (const Tensor& moment : trainer.optimizer().slots()[0].tensors) {
        EXPECT_TRUE(same_bits(moment, Tensor::zeros(moment.shape())));
      }
      return error.what();
    }
    return "no IoError";
  }

  Context ctx_{{.num_threads = 2}};
};

TEST_F(CheckpointFolder, AResumedRunEndsWithTheBitsOfAnUninterruptedOne) {
  Trainer whole = make_trainer(tiny_config());
  History whole_history;
  train_to(20, whole, whole_history);
  save_seven();

  const Checkpoint checkpoint = read_checkpoint(folder_);
  EXPECT_EQ(checkpoint.steps_done, 7);
  EXPECT_THAT(checkpoint.text_files, ElementsAre("/some/text"));
  Trainer resumed = make_trainer(checkpoint.config);
  EXPECT_THAT(differences(checkpoint, resumed), IsEmpty());
  restore(checkpoint, resumed);
  History history = checkpoint.history;
  ASSERT_EQ(history.size(), 7U);
  train_to(20, resumed, history);

  EXPECT_TRUE(same_weights(resumed.model(), whole.model()));
  for (std::size_t i = 0; i < whole.optimizer().slots()[0].tensors.size(); ++i) {
    EXPECT_TRUE(same_bits(resumed.optimizer().slots()[0].tensors[i],
                          whole.optimizer().slots()[0].tensors[i]));
    EXPECT_TRUE(same_bits(resumed.optimizer().slots()[1].tensors[i],
                          whole.optimizer().slots()[1].tensors[i]));
  }
  fs::create_directory(path("resumed"));
  fs::create_directory(path("whole"));
  save(path("resumed"), resumed, history, {"/some/text"});
  save(path("whole"), whole, whole_history, {"/some/text"});
  for (const char* file :
       {"state.safetensors", "model.safetensors", "config.json", "history.csv"}) {
    EXPECT_EQ(io::read_file(folder_ / "resumed" / file), io::read_file(folder_ / "whole" / file))
        << file;
  }
}

TEST_F(CheckpointFolder, HistoryIsTheCheckpointsAndNamesItsColumns) {
  save_seven();
  std::ifstream in(path("history.csv"));
  std::string line;
  std::getline(in, line);
  EXPECT_EQ(line, "step,loss,val_loss,learning_rate,gradient_norm");
  int rows = 0;
  int validated = 0;
  for (; std::getline(in, line); ++rows) {
    EXPECT_TRUE(line.starts_with(std::to_string(rows + 1) + ","));
    if (line.find(",,") == std::string::npos) ++validated;
  }
  EXPECT_EQ(rows, 7);
  EXPECT_EQ(validated, 1);
}

TEST_F(CheckpointFolder, TheModelFolderLoads) {
  Trainer trainer = make_trainer(tiny_config());
  save(folder_, trainer, {}, {});
  EXPECT_TRUE(same_weights(*load_language_model(folder_).model, trainer.model()));
  fs::remove(path("model.safetensors"));  // as after a kill between the two files
  const LoadedLanguageModel loaded = load_language_model(folder_);
  EXPECT_TRUE(same_weights(*loaded.model, trainer.model()));
  EXPECT_EQ(loaded.training, tiny_config());
}

TEST_F(CheckpointFolder, EveryFieldOfTheConfigurationSurvives) {
  const TrainerConfig config{.hidden_size = 24,
                             .num_heads = 6,
                             .num_key_value_heads = 3,
                             .num_layers = 5,
                             .rope = false,
                             .yarn_scale = 2.5,
                             .dropout = 0.125,
                             .sequence_length = 77,
                             .batch_size = 3,
                             .steps = 123456789,
                             .learning_rate = 0.1 + 0.2,
                             .warmup_steps = 9,
                             .weight_decay = 1e-9,
                             .clipnorm = 2,
                             .seed = ~std::uint64_t{0},
                             .dtype = Dtype::f64};
  EXPECT_EQ(config_from_json(to_json(config), "here"), config);
}

TEST_F(CheckpointFolder, ConfigurationsThatCannotBeAreRefusedByName) {
  const auto error = [](const std::string& from, const std::string& to) {
    std::string json = to_json(tiny_config());
    json.replace(json.find(from), from.size(), to);
    try {
      config_from_json(json, "file");
    } catch (const IoError& caught) {
      return std::string(caught.what());
    }
    return std::string("no IoError");
  };
  EXPECT_EQ(error("\"hidden\": 16", "\"hidden\": -16"), "file: hidden: cannot be -16");
  EXPECT_EQ(error("\"hidden\": 16", "\"hidden\": 1e99"), "file: hidden: cannot be 1e+99");
  EXPECT_THAT(error("\"hidden\": 16", "\"hidden\": 18446744073709551615"),
              HasSubstr("an integer beyond 64 bits"));
  EXPECT_EQ(error("\"rope\": true", "\"rope\": 1"), "file: rope: cannot be 1");
  EXPECT_EQ(error("\"dtype\": \"f32\"", "\"dtype\": \"f16\""), "file: dtype: cannot be \"f16\"");
  EXPECT_EQ(error("\"hidden\"", "\"wide\""), "file: hidden: missing");
  EXPECT_THAT(error("{", "["), HasSubstr("file: expected a JSON object"));
}

TEST_F(CheckpointFolder, DifferencesAreNamedWithBothValues) {
  save_seven();
  const Checkpoint checkpoint = read_checkpoint(folder_);
  TrainerConfig config = tiny_config();
  config.steps = 30;
  config.learning_rate = 1e-2;
  config.warmup_steps = 5;
  Trainer other(ctx_, config, TextData(example_text(5001), config.sequence_length));
  const std::vector<std::string> lines = differences(checkpoint, other);
  ASSERT_EQ(lines.size(), 4U);
  EXPECT_EQ(lines[0], "steps: checkpoint has 20, this run 30");
  EXPECT_EQ(lines[1], "lr: checkpoint has 0.005, this run 0.01");
  EXPECT_EQ(lines[2], "warmup: checkpoint has 4, this run 5");
  EXPECT_THAT(lines[3], HasSubstr("text: checkpoint has 5000 bytes"));

  Context reference({.num_threads = 1, .isa = Isa::ref});
  if (reference.isa() == ctx_.isa()) return;  // a processor without any vector level
  Trainer elsewhere(reference, tiny_config(), TextData(example_text(5000), 24));
  EXPECT_THAT(differences(checkpoint, elsewhere), ElementsAre(HasSubstr("isa: checkpoint has")));
}

TEST_F(CheckpointFolder, OtherShapesAreRefusedByTensorAndNothingIsTouched) {
  save_seven();
  damage([](io::Safetensors& c) { c.tensors["head/bias"] = Tensor::zeros({255}); });
  EXPECT_THAT(resume_error(),
              HasSubstr("state.safetensors: head/bias: expected f32 [256], got f32 [255]"));
  save_seven();
  damage([](io::Safetensors& c) { c.tensors.erase("gqa_block_2/attn/key/kernel"); });
  EXPECT_THAT(resume_error(),
              HasSubstr("gqa_block_2/attn/key/kernel: expected f32 [16, 2, 4], got none"));
  save_seven();
  damage([](io::Safetensors& c) {
    c.tensors["velocity/head/bias"] = Tensor::zeros({256}, Dtype::f64);
  });
  EXPECT_THAT(resume_error(), HasSubstr("velocity/head/bias: expected f32 [256], got f64 [256]"));
  TrainerConfig wide = tiny_config();
  wide.hidden_size = 32;
  save_seven(wide);
  EXPECT_THAT(resume_error(), HasSubstr("expected f32 [256, 16], got f32 [256, 32]"));
}

TEST_F(CheckpointFolder, DamagedFilesAreRefused) {
  EXPECT_FALSE(has_checkpoint(folder_));
  EXPECT_THAT(resume_error(), HasSubstr("No such file"));
  save_seven();
  EXPECT_TRUE(has_checkpoint(folder_));
  const std::string whole = io::read_file(path("state.safetensors"));
  for (const std::size_t size :
       {std::size_t{0}, std::size_t{1}, std::size_t{8}, whole.size() / 2, whole.size() - 1}) {
    io::write_file(path("state.safetensors"), whole.substr(0, size));
    EXPECT_THAT(resume_error(), HasSubstr(path("state.safetensors")));
  }
  const auto damaged = [&](const std::function<void(io::Safetensors&)>& change) {
    io::write_file(path("state.safetensors"), whole);
    damage(change);
    return resume_error();
  };
  EXPECT_THAT(damaged([](auto& c) { c.metadata.clear(); }), HasSubstr("expected a checkpoint"));
  EXPECT_THAT(damaged([](auto& c) { c.metadata["run"] = "{"; }), HasSubstr("run: "));
  EXPECT_THAT(damaged([](auto& c) { c.metadata["run"] = "{\"version\": 2}"; }),
              HasSubstr("version: expected 1, got 2"));
  EXPECT_THAT(damaged([](auto& c) { c.metadata["configuration"] = "[]"; }), HasSubstr("JSON"));
  const auto with = [&](const std::string& from, const std::string& to) {
    return damaged([&](auto& c) {
      std::string& run = c.metadata["run"];
      const std::size_t at = run.find(from);
      ASSERT_NE(at, std::string::npos);
      run.replace(at, from.size(), to);
    });
  };
  EXPECT_THAT(with("\"steps_done\": 7", "\"steps_done\": 6.9"),
              HasSubstr("steps_done: expected an integer, got 6.9"));
  EXPECT_THAT(with("\"next_dropout_draw\": ", "\"next_dropout_draw\": -"),
              HasSubstr("next_dropout_draw: expected 0 or more"));
  // As deep as JSON may be is not as deep as a stack.
  const std::string deep = std::string(50'000, '[') + std::string(50'000, ']');
  EXPECT_THAT(damaged([&](auto& c) { c.metadata["run"] = deep; }), HasSubstr("256 levels"));
  EXPECT_THAT(damaged([&](auto& c) { c.metadata["configuration"] = deep; }),
              HasSubstr("256 levels"));
  EXPECT_THAT(damaged([&](auto& c) { c.metadata["configuration"] = "{\"hidden\": " + deep + "}"; }),
              HasSubstr("256 levels"));
  EXPECT_THAT(damaged([](auto& c) { c.tensors.erase("history"); }), HasSubstr("history"));
  EXPECT_THAT(damaged([](auto& c) {
                c.tensors["history"] = Tensor::zeros({7, 4});
              }),
              HasSubstr("history: expected f64 [7, 5], got f32 [7, 4]"));
}

// A folder that came from elsewhere cannot make a run write outside of it.
TEST_F(CheckpointFolder, LinksInAFolderAreReplaced) {
  const std::string outside = path("outside.txt");
  io::write_file(outside, "mine");
  fs::create_directory(path("run"));
  for (const char* name :
       {"state.safetensors", "model.safetensors", "config.json", "history.csv"}) {
    fs::create_symlink(outside, fs::path(path("run")) / name);
  }
  Trainer trainer = make_trainer(tiny_config());
  save(path("run"), trainer, {}, {});
  EXPECT_EQ(io::read_file(outside), "mine");
  EXPECT_FALSE(fs::is_symlink(fs::path(path("run")) / "history.csv"));
}

// Folders of older versions say a TrainerConfig in both files.
TEST_F(CheckpointFolder, OlderModelFilesThatLieAreRefusedBeforeAModelIsMade) {
  Trainer trainer = make_trainer(tiny_config());
  save(folder_, trainer, {}, {});
  const io::Safetensors before = io::read_safetensors(path("model.safetensors"));
  const auto error = [&](const std::function<void(TrainerConfig&, io::Safetensors&)>& change) {
    io::Safetensors contents = before;
    TrainerConfig config = tiny_config();
    change(config, contents);
    contents.metadata.erase("model");
    contents.metadata["configuration"] = to_json(config);
    io::write_safetensors(path("model.safetensors"), contents);
    io::write_file(path("config.json"), to_json(config));
    std::string text = "no IoError";
    try {
      load_language_model(folder_);
    } catch (const IoError& caught) {
      text = caught.what();
    }
    return text;
  };
  using Contents = io::Safetensors;
  EXPECT_THAT(error([](TrainerConfig& c, Contents&) { c.hidden_size = 1 << 30; }),
              HasSubstr("expected sizes that"));
  EXPECT_THAT(error([](TrainerConfig& c, Contents&) { c.num_layers = 1 << 30; }),
              HasSubstr("expected sizes that"));
  EXPECT_THAT(error([](TrainerConfig& c, Contents&) {
                c.num_layers = 200;
                c.hidden_size = 4;
              }),
              HasSubstr("expected sizes that"));
  // Bytes of another type are not the weights of a large model.
  EXPECT_THAT(error([](TrainerConfig& c, Contents& contents) {
                c.hidden_size = 1024;
                contents.tensors["bytes"] = Tensor::zeros({Index{1} << 25}, Dtype::u8);
              }),
              HasSubstr("expected sizes that"));
  EXPECT_THAT(error([](TrainerConfig& c, Contents&) { c.num_heads = 0; }), HasSubstr("num_heads"));
  EXPECT_THAT(error([](TrainerConfig& c, Contents&) { c.num_key_value_heads = 1; }),
              HasSubstr("attn/key/kernel: expected f32 [16, 1, 4], got f32 [16, 2, 4]"));
  EXPECT_THAT(error([](TrainerConfig&, Contents& c) { c.tensors.erase("head/kernel"); }),
              HasSubstr("head/kernel: expected f32 [16, 256], got none"));
  EXPECT_THAT(error([](TrainerConfig&, Contents&) {}), HasSubstr("no IoError"));
  EXPECT_TRUE(same_weights(*load_language_model(folder_).model, trainer.model()));
  EXPECT_EQ(load_language_model(folder_).training, tiny_config());
  TrainerConfig other = tiny_config();
  other.num_heads = 2;
  io::write_file(path("config.json"), to_json(other));
  EXPECT_THROW(load_language_model(folder_), IoError);
  for (const std::string& text : {std::string("{"), std::string(50'000, '[')}) {
    io::write_file(path("config.json"), text);
    EXPECT_THROW(load_language_model(folder_), IoError);
  }
  EXPECT_THROW(load_language_model(path("none")), IoError);
}

}  // namespace
}  // namespace grouphead::saved
