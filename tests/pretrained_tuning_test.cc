// Training the models of Hugging Face folders, and going on after a stop.

#include <gmock/gmock.h>

#include "grouphead/files/tensors.h"
#include "io/file.h"
#include "model_support.h"
#include "saved/huggingface/tuning.h"
#include "training_support.h"

namespace grouphead::saved {
namespace {

namespace fs = std::filesystem;
using namespace testing_support;  // NOLINT(google-build-using-namespace)
using ::testing::HasSubstr;

const fs::path kCases = fs::path(GROUPHEAD_SOURCE_DIR) / "tests/golden/hf";

TunerConfig quick(TunedPart part) {
  TunerConfig config{.part = part, .lora_rank = 2};
  config.training.sequence_length = 8;
  config.training.batch_size = 2;
  config.training.steps = 6;
  config.training.learning_rate = 0.01;
  config.training.warmup_steps = 1;
  config.training.seed = 7;
  return config;
}

TextData text(Index length) {
  const Tensor tokens = random_tokens({400}, 20, 3);
  return {std::vector<std::int32_t>(tokens.data<std::int32_t>(), tokens.data<std::int32_t>() + 400),
          length};
}

class PretrainedTuning : public FolderTest {
 protected:
  Context ctx_{{.num_threads = 1}};

  void run(const fs::path& to, const PretrainedModel& pretrained, Tuner& tuner, History history,
           Index steps) {
    while (tuner.steps_done() < steps) {
      const TextTraining::StepResult result = tuner.step();
      history.push_back({.step = tuner.steps_done(),
                         .loss = result.loss,
                         .learning_rate = result.learning_rate,
                         .gradient_norm = result.gradient_norm});
    }
    fs::create_directories(to);
    save(to, pretrained, tuner, history, {"/some/text"}, {{"tokenizer.json", "{}"}});
  }
};

TEST_F(PretrainedTuning, GoesOnToTheBit) {
  for (const char* family : {"llama", "gpt2"}) {  // the latter has dropout
    for (const TunedPart part : {TunedPart::all, TunedPart::attention, TunedPart::lora}) {
      SCOPED_TRACE(std::string(family) + " " + std::string(name_of(part)));
      TunerConfig config = quick(part);
      if (part == TunedPart::all) config.dtype = "mixed_bfloat16";
      config.training.accumulate = part == TunedPart::all ? 2 : 1;
      const fs::path whole = folder_ / "whole", cut = folder_ / "cut";
      {
        const PretrainedModel pretrained =
            load_pretrained(kCases / family, {.dtype = config.dtype});
        Tuner tuner(ctx_, pretrained.model, config, text(8));
        run(whole, pretrained, tuner, {}, 6);
      }
      {
        const PretrainedModel pretrained =
            load_pretrained(kCases / family, {.dtype = config.dtype});
        Tuner tuner(ctx_, pretrained.model, config, text(8));
        run(cut, pretrained, tuner, {}, 2);
      }
      EXPECT_TRUE(has_tuning_checkpoint(cut));
      const TuningCheckpoint checkpoint = read_tuning_checkpoint(cut);
      Tuner tuner(ctx_, checkpoint.pretrained.model, checkpoint.config, text(8));
      EXPECT_TRUE(differences(checkpoint, tuner).empty());
      restore(checkpoint, tuner);
      run(cut, checkpoint.pretrained, tuner, checkpoint.history, 6);
      for (const char* file : {"state.safetensors", "model.safetensors", "config.json",
                               "history.csv", "tokenizer.json"}) {
        EXPECT_TRUE(io::read_file(whole / file) == io::read_file(cut / file)) << file;
      }
      EXPECT_TRUE(same_weights(*load_pretrained(cut).model, tuner.model()));
      EXPECT_EQ(tuner.config().dtype, config.dtype);
      fs::remove_all(whole);
      fs::remove_all(cut);
    }
  }
}

// Numbers of bf16 have a relative error of 2^-9 at most. A step's loss is a mean over the logits of
// a few layers, so their errors of some 2^-8 of the logits' size are what it may differ by; the
// weights that it leads to differ by no more.
TEST_F(PretrainedTuning, LossesOfMixedBfloat16FollowThoseOfFloat32) {
  for (const char* family :
       {"llama", "gpt2", "gemma2", "gpt_neox", "olmo2", "opt_post", "mixtral"}) {
    for (const TunedPart part : {TunedPart::all, TunedPart::lora}) {
      SCOPED_TRACE(std::string(family) + " " + std::string(name_of(part)));
      std::vector<double> losses[2], norms[2];
      for (const int i : {0, 1}) {
        TunerConfig config = quick(part);
        if (i == 1) config.dtype = "mixed_bfloat16";
        const PretrainedModel model = load_pretrained(kCases / family, {.dtype = config.dtype});
        EXPECT_EQ(model.model->parameters()[0].parameter->value().dtype(), Dtype::f32);
        Tuner tuner(ctx_, model.model, config, text(8));
        while (!tuner.is_done()) {
          const TextTraining::StepResult result = tuner.step();
          losses[i].push_back(result.loss);
          norms[i].push_back(result.gradient_norm);
        }
      }
      EXPECT_NE(losses[0][0], losses[1][0]) << "computed in f32";
      for (std::size_t step = 0; step < losses[0].size(); ++step) {
        EXPECT_NEAR(losses[1][step], losses[0][step], 0.01 * losses[0][step]) << step;
        EXPECT_NEAR(norms[1][step], norms[0][step], 0.1 * norms[0][step]) << step;
      }
    }
  }
}

TEST_F(PretrainedTuning, APolicyIsTheModelsOwn) {
  TunerConfig config = quick(TunedPart::all);
  config.dtype = "mixed_bfloat16";
  EXPECT_THAT(error_of<ConfigError>(
                  [&] { Tuner(ctx_, load_pretrained(kCases / "llama").model, config, text(8)); }),
              HasSubstr("dtype policy: expected the model's, float32, got mixed_bfloat16"));
}

TEST_F(PretrainedTuning, PartsOfTheModelAreTrained) {
  for (const TunedPart part : {TunedPart::attention, TunedPart::lora}) {
    SCOPED_TRACE(name_of(part));
    const PretrainedModel before = load_pretrained(kCases / "llama");
    const PretrainedModel after = load_pretrained(kCases / "llama");
    Tuner tuner(ctx_, after.model, quick(part), text(8));
    const double first = tuner.step().loss;
    while (!tuner.is_done()) EXPECT_LT(tuner.step().loss, first * 1.5);
    static_cast<void>(tuner.model());
    const auto now = std::as_const(*after.model).parameters();
    const auto old = std::as_const(*before.model).parameters();
    for (std::size_t i = 0; i < now.size(); ++i) {
      const bool is_attention = now[i].path.find("/attention/") != std::string::npos;
      EXPECT_EQ(same_bits(now[i].parameter->value(), old[i].parameter->value()), !is_attention)
          << now[i].path;
    }
  }
}

// Two batches of two windows are one batch of the same four windows, up to the rounding of sums.
TEST_F(PretrainedTuning, AccumulatedBatchesAreOneLargeBatch) {
  const auto step_of = [&](const std::vector<Data>& batches) {
    const PretrainedModel pretrained = load_pretrained(kCases / "llama", {.dtype = Dtype::f64});
    AdamWConfig config{.learning_rate = 0.01};
    if (batches.size() > 1) {
      config.options.gradient_accumulation_steps = static_cast<Index>(batches.size());
    }
    CompiledModel compiled(*pretrained.model,
                           {.optimizer = std::make_shared<AdamW>(config),
                            .loss = {sparse_categorical_crossentropy({.from_logits = true})}});
    for (const Data& batch : batches) compiled.train_on_batch(ctx_, batch);
    return pretrained.model;
  };
  const Tensor x = random_tokens({4, 8}, 20, 1);
  const Tensor y = random_tokens({4, 8}, 20, 2);
  const auto part = [](const Tensor& all, Index begin) {
    Tensor rows({2, 8}, Dtype::i32);
    copy(all.view().slice(0, begin, begin + 2), rows);
    return rows;
  };
  const auto one = step_of({{.x = {x}, .y = {y}}});
  const auto two =
      step_of({{.x = {part(x, 0)}, .y = {part(y, 0)}}, {.x = {part(x, 2)}, .y = {part(y, 2)}}});
  const auto want = std::as_const(*one).parameters();
  const auto got = std::as_const(*two).parameters();
  for (std::size_t i = 0; i < want.size(); ++i) {
    const testing::Comparison compared =
        testing::compare(want[i].path, got[i].parameter->value(), want[i].parameter->value(), 1e-7);
    EXPECT_TRUE(compared.ok()) << compared.to_string();
  }
}

TEST_F(PretrainedTuning, DamagedStatesAndOtherRunsAreNamed) {
  const PretrainedModel pretrained = load_pretrained(kCases / "llama");
  Tuner tuner(ctx_, pretrained.model, quick(TunedPart::lora), text(8));
  run(folder_, pretrained, tuner, {}, 1);
  const TuningCheckpoint checkpoint = read_tuning_checkpoint(folder_);
  TunerConfig other = checkpoint.config;
  other.training.learning_rate = 0.5;
  const Tuner different(ctx_, checkpoint.pretrained.model, other, text(8));
  ASSERT_EQ(differences(checkpoint, different).size(), 1U);
  EXPECT_THAT(differences(checkpoint, different)[0], HasSubstr("lr: checkpoint has 0.01"));

  std::map<std::string, Tensor> tensors = read_tensors(folder_ / "state.safetensors");
  write_tensors(folder_ / "state.safetensors", tensors);  // without what it says of the run
  EXPECT_FALSE(has_tuning_checkpoint(folder_));
  EXPECT_THAT(error_of<IoError>([&] { read_tuning_checkpoint(folder_); }),
              HasSubstr("expected a state of `grouphead train`"));
  TunerConfig longer = quick(TunedPart::all);
  longer.training.sequence_length = 100;
  EXPECT_THAT(error_of<ConfigError>(
                  [&] { Tuner(ctx_, load_pretrained(kCases / "gpt2").model, longer, text(100)); }),
              HasSubstr("sequence length: expected at most the model's"));
  EXPECT_THROW(Tuner(ctx_, load_pretrained(kCases / "bert").model, quick(TunedPart::all), text(8)),
               ConfigError);
}

}  // namespace
}  // namespace grouphead::saved
