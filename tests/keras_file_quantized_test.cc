// Files with weights of 4 and 8 bits and of LoRA: tests/golden/keras_quantized.

#include <gmock/gmock.h>

#include "grouphead/files/saved_model.h"
#include "grouphead/models/model.h"
#include "io/safetensors.h"
#include "keras_training_support.h"
#include "training_support.h"

namespace grouphead {
namespace {

using ::testing::HasSubstr;
using testing_support::distance;
using testing_support::error_of;

const std::string kFolder = GROUPHEAD_SOURCE_DIR "/tests/golden/keras_quantized/";

class Quantized : public testing_support::FolderTest {
 protected:
  Tensor predicted(const std::string& file, const io::Safetensors& values) {
    return (*load_model(file))(ctx_, values.at("inputs.tokens"));
  }
  Context ctx_;
};

TEST_F(Quantized, FilesComputeWhatKerasDoes) {
  for (const std::string name : {"int4", "int4_blocks", "int4_rows", "float8", "lora"}) {
    SCOPED_TRACE(name);
    const io::Safetensors values = io::read_safetensors(kFolder + name + ".safetensors");
    const Tensor got = predicted(kFolder + name + ".keras", values);
    EXPECT_LT(distance(got, values.at("expect.output")), 1e-5);
    // Written, they are floating-point models.
    save_model(*load_model(kFolder + name + ".keras"), path("again.keras"));
    EXPECT_TRUE(testing_support::same_bits(predicted(path("again.keras"), values), got));
  }
}

TEST_F(Quantized, DamagedFilesAreRefused) {
  const auto refusal = [](const char* name) {
    return error_of<IoError>([&] { load_model(kFolder + name); });
  };
  EXPECT_THAT(refusal("broken_groups.keras"), HasSubstr("expected groups below 3, got another"));
  EXPECT_THAT(
      refusal("broken_scale.keras"),
      HasSubstr("layers/dense ('dense_1'): expected numbers of 4 bits in groups, with a scale "
                "and a zero for each"));
}

}  // namespace
}  // namespace grouphead
