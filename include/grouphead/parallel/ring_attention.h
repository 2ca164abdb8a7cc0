#pragma once

// Attention over a sequence that several processes hold parts of.

#include "grouphead/attention.h"
#include "grouphead/parallel/communicator.h"

#pragma GCC visibility push(default)
namespace grouphead {

/// Which positions of a sequence a process holds: of 2 N equal blocks the ones r and 2 N - 1 - r,
/// in this order. So with causality every process has the same work.
struct RingShare {
  Index block = 0;   ///< positions of a block; a process holds two
  Index first = 0;   ///< the first position of block r
  Index second = 0;  ///< ... and of block 2 N - 1 - r

  Index positions() const noexcept { return 2 * block; }
  friend bool operator==(const RingShare&, const RingShare&) = default;
};

/// Of process `rank` among `size`. Errors: ShapeError unless 2 size divides the positions.
RingShare ring_share(Index positions, int rank, int size);

/// The parts of q, k and v, along axis `axis`, that a process holds of a whole sequence: a copy.
/// Errors: ShapeError.
Tensor ring_part(ConstView whole, int axis, const RingShare& share);

/// attention() of a sequence whose T = S positions the processes of `job` share out as ring_share()
/// says: each gives its own q [B, T / N, Hq, D], k [B, T / N, Hkv, D] and v [B, T / N, Hkv, Dv],
/// and gets its own out [B, T / N, Hq, Dv] and SoftmaxOutputs. All call it with the same shapes and
/// options, whose positions are those of the whole sequence.
///
/// In step s a process computes with the keys and values of the process s before it, while those of
/// the next step arrive; results are merged by what the softmax of each noted. Blocks that no
/// query of a process sees are neither sent to it nor computed.
///
/// Options  scale, causal, causal_offset, windows, softcap, alibi_slopes and segments, which count
///          positions of the whole sequence; not the others
/// Types    f32 or f64
/// Results  those of attention() but for rounding; bitwise the same in every run and for any number
///          of threads
/// Memory   three copies of a process's keys and values, and a block of `out`, from the Context:
///          nothing grows with T
/// Threads  the Context's, and one that sends: nobody else uses `job` meanwhile. An error while
///          blocks are under way cancels the job in this process; end the others with
///          Communicator::abort()
/// Errors   ShapeError, ConfigError: `[ring_attention] operand: expected ..., got ...`; Error where
///          another process is gone
/// Source   Liu et al. 2023, arXiv:2310.01889; Brandon et al. 2023, arXiv:2311.09431
void ring_attention(Context& ctx, Communicator& job, ConstView q, ConstView k, ConstView v,
                    const AttentionOptions& options, View out, const SoftmaxOutputs& softmax = {});

/// attention_backward() of the same: from the operands, `out` and `statistics` of ring_attention()
/// and d_out, the gradients d_q, d_k and d_v of this process's own positions, all three of which
/// are wanted; d_scores, d_bias and d_sinks are not there.
///
/// Keys and values visit as before. What a process makes of the gradients of a visitor is sent to
/// its owner during the next step, and added there in the order of the steps.
///
/// Memory   seven copies of a process's keys and values, and a block of d_q, from the Context
/// Options, types, results, threads, errors and source as ring_attention()
void ring_attention_backward(Context& ctx, Communicator& job, ConstView q, ConstView k, ConstView v,
                             const AttentionOptions& options, ConstView out, ConstView statistics,
                             const AttentionGradients& gradients);

}  // namespace grouphead
#pragma GCC visibility pop
