#pragma once

#include <filesystem>
#include <vector>

#include "testing/golden.h"

namespace grouphead::testing {

/// Whether a folder is a Hugging Face model with what transformers computed of it: config.json,
/// weights, expect.safetensors.
bool is_pretrained_case(const std::filesystem::path& folder);

/// Compares the model with expect.safetensors, as tests/golden/hf/generate_hf.py describes it: of
/// decoders the logits of a text and of a padded batch, the loss, every gradient, attention maps,
/// and a greedy continuation from a KV cache; of encoders the hidden states and every gradient.
/// Values to 2e-5 absolute and relative, gradients to 1e-4 of their tensor's largest.
std::vector<GoldenResult> run_pretrained_case(Context& ctx, const std::filesystem::path& folder);

}  // namespace grouphead::testing
