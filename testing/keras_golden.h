#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "testing/golden.h"

namespace grouphead::testing {

/// Which cases of a folder belong together: those of one layer class, or those of another kind.
/// `initializers` and `errors` are the entries of the files of these names.
std::vector<std::string> keras_golden_groups(const std::filesystem::path& folder);

/// Compares with the cases of a folder in Keras's format: cases.json with its tensors, and where
/// they are there initializers.json and errors.json. One result per case, of one group or (empty)
/// of all. A case that is not understood to the last field counts as failed.
/// Errors: IoError for files that cannot be read, or hold no case.
std::vector<GoldenResult> run_keras_golden(Context& ctx, const std::filesystem::path& folder,
                                           std::string_view group = {});

}  // namespace grouphead::testing
