#pragma once

// What the core's forward keeps for its backward.

#include "nn/attention/core.h"

namespace grouphead::nn {

struct AttentionCore::Heads {
  Tensor q;              // [B, T, Hq, D], rotated
  Tensor k;              // [B, S, Hkv, D], rotated
  Tensor v;              // [B, S, Hkv, Dv]
  Tensor gate_argument;  // [B, T, Hq, Dv]: query W_g + b_g, or absent
  Tensor gate;           // sigmoid(gate_argument), or absent
};

struct AttentionCore::SavedState final : Saved {
  AttentionCall call;
  Communicator* sequence = nullptr;  // those that have the other positions; null: nobody
  AttentionOptions options;          // views of the call's masks
  Heads heads;
  ops::GridAttention attention;
  Tensor out;         // [B, T, Hq, Dv], of attention itself
  Tensor gated;       // what the output projection read: out rounded, times the gate
  Tensor statistics;  // [2, B, Hq, T]
  bool is_penalised = false;
  Tensor y;                                     // where penalised
  Tensor plain_q, plain_k;                      // where penalised and rotated: before the rotation
  std::unique_ptr<Saved> query_norm, key_norm;  // where normalised

  /// Keras divides penalties by the batch, and adds 0 for an empty one.
  double penalty_scale() const noexcept {
    return call.batch > 0 ? 1 / static_cast<double>(call.batch) : 0;
  }
};

}  // namespace grouphead::nn
