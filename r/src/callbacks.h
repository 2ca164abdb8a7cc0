#pragma once

#include <cpp11/sexp.hpp>
#include <memory>
#include <vector>

#include "grouphead/train/callbacks.h"

namespace gr {

/// The library's callbacks of R's descriptions: a list of closures with a configuration. Functions
/// of R that they call end the training with an error where they fail.
std::vector<std::shared_ptr<grouphead::Callback>> to_callbacks(SEXP list);

/// A function of R, called from the library.
cpp11::sexp call_function(SEXP function, const std::vector<cpp11::sexp>& arguments);
/// A list with the logs' names.
SEXP from_logs(const grouphead::Logs& logs);

}  // namespace gr
