#pragma once

#include "io/safetensors.h"
#include "testing/golden.h"

namespace grouphead::testing {

/// Whether a file is a case of attention: q, k, v, d_out, and `options` in its metadata.
bool is_attention_golden(const io::Safetensors& file);

/// Attention with its options, forward and backward, against values in float64
/// (tests/golden/attention/generate_attention.py describes the file): in f32 at the context's
/// level, within 1e-5 of the largest magnitude of a tensor, gradients 3e-5, and in f64 within
/// 1e-12. One result for each tensor. Errors: ConfigError and ShapeError for options that attention
/// refuses.
std::vector<GoldenResult> run_attention_golden(Context& ctx, const io::Safetensors& file,
                                               const std::string& name);

}  // namespace grouphead::testing
