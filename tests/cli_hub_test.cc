// The program on Hugging Face folders and texts.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "command.h"
#include "grouphead/files/tensors.h"
#include "io/file.h"
#include "io/npy.h"
#include "model_support.h"
#include "training_support.h"

namespace grouphead {
namespace {

using ::testing::HasSubstr;
using testing_support::CommandResult;
using testing_support::element;
using testing_support::FolderTest;
using testing_support::run_grouphead;

const std::string kCases = GROUPHEAD_SOURCE_DIR "/tests/golden/hub/";

class HubProgram : public FolderTest {};

TEST_F(HubProgram, EmbedsLinesIntoRowsAndLists) {
  const std::string folder = kCases + "encoder";
  const std::string file = path("vectors.npy");
  const CommandResult written =
      run_grouphead("embed " + folder + " " + folder + "/sentences.txt --out " + file);
  EXPECT_EQ(written.exit_code, 0) << written.output;
  EXPECT_EQ(written.output, "");
  const Tensor got = io::read_npy(file);
  const Tensor want = read_tensors(folder + "/expect.safetensors").at("vectors");
  ASSERT_EQ(got.shape(), want.shape());
  for (Index i = 0; i < want.size(); ++i) EXPECT_NEAR(element(got, i), element(want, i), 1e-5);
  const CommandResult lists = run_grouphead("embed " + folder + " <" + folder + "/sentences.txt");
  EXPECT_EQ(lists.exit_code, 0) << lists.output;
  std::istringstream lines(lists.output);
  Index at = 0;
  for (std::string line; std::getline(lines, line);) {
    EXPECT_EQ(line.front(), '[');
    EXPECT_EQ(line.back(), ']');
    std::istringstream numbers(line.substr(1));
    for (double number = 0; numbers >> number; numbers.ignore()) {
      ASSERT_LT(at, want.size());
      EXPECT_NEAR(number, element(want, at++), 1e-5);
    }
  }
  EXPECT_EQ(at, want.size());
}

TEST_F(HubProgram, ComparesTwoTexts) {
  const std::string folder = kCases + "encoder";
  const CommandResult same = run_grouphead("embed " + folder + " --pair 'a word' 'a word'");
  EXPECT_EQ(same.output, "1.000000\n");
  const Tensor vectors = read_tensors(folder + "/expect.safetensors").at("vectors");
  double cosine = 0;  // of vectors of length 1
  for (Index i = 0; i < 16; ++i) cosine += element(vectors, i) * element(vectors, 3 * 16 + i);
  const CommandResult other =
      run_grouphead("embed " + folder + " --pair \"It's a word.\" 'Ein Satz.'");
  EXPECT_NEAR(std::stod(other.output), cosine, 2e-5);
}

TEST_F(HubProgram, RefusesWhatItCannotEmbed) {
  const CommandResult decoder = run_grouphead("embed " + kCases + "decoder --text x");
  EXPECT_EQ(decoder.exit_code, 2);
  EXPECT_THAT(decoder.output, HasSubstr("modules.json"));
  const CommandResult name =
      run_grouphead("embed " + kCases + "encoder --text x --out " + path("x.txt"));
  EXPECT_EQ(name.exit_code, 2);
  EXPECT_THAT(name.output, HasSubstr("--out: expected a name that ends in .npy"));
  const CommandResult nothing = run_grouphead("embed " + kCases + "encoder </dev/null");
  EXPECT_EQ(nothing.exit_code, 2);
}

TEST_F(HubProgram, EvaluatesATextByStrides) {
  const std::string folder = kCases + "decoder";
  const std::string text = folder + "/text.txt";
  const CommandResult usual = run_grouphead("eval " + folder + " --text " + text);
  EXPECT_EQ(usual.exit_code, 0) << usual.output;  // as expect.json has it
  EXPECT_THAT(usual.output, HasSubstr("tokens      138 of 139, 253 bytes"));
  EXPECT_THAT(usual.output, HasSubstr("windows     64 tokens, 32 apart"));
  EXPECT_THAT(usual.output, HasSubstr("loss        7.20160"));
  const CommandResult given =
      run_grouphead("eval " + folder + " --text - --length 30 --stride 7 <" + text);
  EXPECT_THAT(given.output, HasSubstr("loss        7.31457")) << given.output;
  const CommandResult encoder = run_grouphead("eval " + kCases + "encoder --text " + text);
  EXPECT_EQ(encoder.exit_code, 2);
  EXPECT_THAT(encoder.output, HasSubstr("expected one with a head, got one without"));
}

TEST_F(HubProgram, MakesAPageOfAttention) {
  const std::string page = path("page.html");
  for (const char* name : {"decoder", "encoder"}) {
    const CommandResult made =
        run_grouphead("attend " + kCases + name + " --text \"It's a word.\" --out " + page);
    EXPECT_EQ(made.exit_code, 0) << made.output;
    EXPECT_THAT(made.output, HasSubstr(" tokens, "));
    const std::string html = io::read_file(page);
    EXPECT_THAT(html, HasSubstr(std::string("<h1>Attention of ") + name + "</h1>"));
    EXPECT_THAT(html, HasSubstr(R"("layers": 2, "heads": 4)"));
    EXPECT_THAT(html, HasSubstr("word"));
  }
  const CommandResult nothing =
      run_grouphead("attend " + kCases + "decoder --text x --out " + path("no/page.html"));
  EXPECT_EQ(nothing.exit_code, 2);
}

TEST_F(HubProgram, SaysWhatAFolderHoldsWithoutItsWeights) {
  const CommandResult info = run_grouphead("info " + kCases + "decoder");
  EXPECT_EQ(info.exit_code, 0) << info.output;
  EXPECT_THAT(info.output, HasSubstr("decoder (llama)"));
  EXPECT_THAT(info.output, HasSubstr("4 for queries, 2 for keys and values, of width 4"));
  EXPECT_THAT(info.output, HasSubstr("stored as      f32"));
  EXPECT_THAT(info.output, HasSubstr("model.layers.1 "));
  // 2 layers, keys and values, 2 heads of width 4.
  EXPECT_THAT(info.output, HasSubstr("32 numbers, 128 bytes in f32, 64 in bf16"));
  const CommandResult inspection = run_grouphead("inspect " + kCases + "decoder");
  EXPECT_EQ(inspection.exit_code, 0) << inspection.output;
  EXPECT_THAT(inspection.output, HasSubstr("Hugging Face folder"));
  EXPECT_THAT(inspection.output, HasSubstr("rms_norm_eps"));
  EXPECT_THAT(inspection.output, HasSubstr("model.layers.1.self_attn.k_proj.weight  f32 [8, 16]"));
}

}  // namespace
}  // namespace grouphead
