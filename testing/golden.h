#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "grouphead/core/context.h"

namespace grouphead::testing {

/// One comparison with a stored result, or the reason why there is none.
struct GoldenResult {
  bool passed = false;
  std::string line{};  ///< what was compared, and the worst element or the error
};

/// Largest absolute difference of f32 results from Edifice's golden files.
inline constexpr double kGoldenTolerance = 5e-5;

/// Compares with every case of a folder. With tokenizers they are those of run_tokenizer_golden();
/// with a cases.json it is in Keras's format, see run_keras_golden(). A model folder with an
/// expect.safetensors, or a folder of such, is compared by run_pretrained_case(). Files of
/// attention are compared by run_attention_golden(). Others are Edifice's: `expected.output`,
/// `expected.all` (in one pass, and token by token through a cache), the `alt.*` and all `freqs`. A
/// case that cannot be run counts as failed. Errors: IoError for a folder that is none or has no
/// cases.
std::vector<GoldenResult> run_golden(Context& ctx, const std::filesystem::path& folder);

}  // namespace grouphead::testing
