#pragma once

#include "nn/recurrent/cell.h"

namespace grouphead::nn {

/// One run of a cell through a sequence: what it made, and what the way back needs. Steps stand in
/// the order in which they are taken.
struct CellRun {
  StepMasks masks{};
  Tensor x{};       // [S, B, F], times the one mask for all gates where there is one
  Tensor h{}, c{};  // [S + 1, B, U], the initial states first; c of LSTM only
  Tensor z{}, a{};  // [S, G, B, U]; in inference of one step, [1, G, B, U]
  Tensor extra{};   // [S, B, U], likewise
};

/// A cell's way through x [S, B, F] from the initial states h0 and c0 [B, U]. `mask` [S, B] (bool)
/// or absent: where it is false states stay. With `keeps` the run can go back.
CellRun run_cell(Context& ctx, const RecurrentCell& cell, const Tensor& x, const Tensor& mask,
                 const Tensor& h0, const Tensor& c0, StepMasks masks, bool keeps);

/// The way back. d_steps [S, B, U] or absent: gradients of each step's h. d_h and d_c: those of the
/// last states, which become those of the first. d_x [S, B, F]: replaced, unless absent.
void run_cell_back(Context& ctx, const RecurrentCell& cell, const CellRun& run, const Tensor& mask,
                   ConstView d_steps, View d_h, View d_c, View d_x, Grads& grads);

}  // namespace grouphead::nn
