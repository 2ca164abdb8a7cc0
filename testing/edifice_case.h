#pragma once

// Golden files of Edifice's GQA stack (tests/golden/edifice): what each holds, and the model that
// must reproduce it. The tests and the golden runner share this.

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "grouphead/models/models.h"
#include "io/safetensors.h"

namespace grouphead::testing {

/// One golden result: the tensor that holds it, and how it was computed.
struct EdificeCase {
  std::string tensor;  ///< `expected.all_rope`, `alt.yarn_paper.output`, ...
  std::string rule;    ///< position rule, as edifice_options() takes it
  edifice::OutputMode output_mode = edifice::OutputMode::last_timestep;
};

/// All `expected.*` and `alt.*.output` of a file, in the order of their names.
std::vector<EdificeCase> edifice_cases(const io::Safetensors& file);

/// The position rule of `expected.output`, `expected.all` and `freqs`: metadata `position`, or what
/// the file holds.
std::string edifice_own_rule(const io::Safetensors& file);

/// The file's sizes with a position rule: `none`, `rope`, `yarn` (Edifice's own), or the name of an
/// alternative: `rope_plain`, `rope_interleaved`, `yarn_paper`, `yarn_paper_no_mscale`,
/// `yarn_index_ramp`. Errors: IoError for another name or a size that is missing.
edifice::GqaOptions edifice_options(const io::Safetensors& file, std::string_view rule);

/// A built model with the file's parameters. Errors: IoError for one that is missing or misshapen.
std::unique_ptr<edifice::Gqa> edifice_model(const io::Safetensors& file,
                                            const edifice::GqaOptions& options);

}  // namespace grouphead::testing
