#pragma once

#include "nn/recurrent/recurrence.h"

namespace grouphead::nn {

/// All steps of a run, from p [S, B, G U], the inputs' products, and the initial states; mask [S,
/// B] (bool) or absent.
///
/// With a small kernel each thread takes rows of the batch through all steps: nobody waits for
/// another, and the kernel stays in its core's cache. Otherwise all threads share each step.
void take_steps(Context& ctx, const RecurrentCell& cell, CellRun& run, const Tensor& p,
                const Tensor& mask);

}  // namespace grouphead::nn
