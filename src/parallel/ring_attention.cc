#include "grouphead/parallel/ring_attention.h"

#include <array>

#include "core/check.h"
#include "ops/attention_parts.h"
#include "ops/attention_problem.h"
#include "parallel/background.h"
#include "parallel/ring_plan.h"
#include "parallel/watch.h"

namespace grouphead {
namespace {

using parallel::Background;
using parallel::RingCall;
using parallel::RingPlan;
using parallel::Watch;
using parallel::watched;
using parallel::WatchScope;

constexpr std::size_t kHalves = 2;

Index at(std::size_t half, Index block) { return static_cast<Index>(half) * block; }

template <class V>
V block_of(const V& x, std::size_t half, Index block) {
  return x.slice(1, at(half, block), at(half + 1, block));
}

/// The keys and values of a process's two blocks, or their gradients: one block behind the other,
/// so that any of them are one message.
class KeyBlocks {
 public:
  KeyBlocks(Context& ctx, const ConstView& k, const ConstView& v)
      : k_{k.dim(0), k.dim(1) / 2, k.dim(2), k.dim(3)},
        v_{v.dim(0), v.dim(1) / 2, v.dim(2), v.dim(3)},
        memory_(ctx.tensor({2, k_.size() + v_.size()}, k.dtype())) {}

  View keys(std::size_t half) { return {start(half, 0), memory_.dtype(), k_}; }
  View values(std::size_t half) { return {start(half, k_.size()), memory_.dtype(), v_}; }
  /// The blocks that are wanted.
  std::span<std::byte> bytes(const std::array<bool, 2>& wanted) {
    const std::span<std::byte> all = writable_bytes_of(memory_);
    const std::size_t block = all.size() / 2;
    const std::size_t first = wanted[0] ? 0 : block;
    const std::size_t end = wanted[1] ? all.size() : block;
    return all.subspan(first, end - first);
  }
  void clear() { fill_zero(memory_); }

 private:
  std::byte* start(std::size_t half, Index skipped) {
    return writable_bytes_of(memory_).data() +
           (at(half, k_.size() + v_.size()) + skipped) * size_of(memory_.dtype());
  }

  Shape k_, v_;
  Tensor memory_;
};

/// Who sends what to whom in a call. In step s a process has the visitor rank - s.
class Ring {
 public:
  Ring(Communicator& job, const AttentionOptions& options, const ConstView& q)
      : job_(job), plan_(options, q, q.dim(1) / 2, job.size()) {}

  int steps() const noexcept { return job_.size(); }
  int visitor(int step) const noexcept { return (job_.rank() - step + job_.size()) % job_.size(); }
  int host(int step) const noexcept { return (job_.rank() + step) % job_.size(); }
  std::string visitor_text(int step) const { return "process " + std::to_string(visitor(step)); }

  /// Keys and values of `own` that a host of this step sees, for those of the visitor.
  void exchange_keys(int step, KeyBlocks& own, KeyBlocks& visiting) {
    job_.exchange(own.bytes(plan_.seen(host(step), job_.rank())), host(step),
                  visiting.bytes(plan_.seen(job_.rank(), visitor(step))), visitor(step));
  }
  /// Gradients of the visitor, for those of its own that a host computed.
  void return_gradients(int step, KeyBlocks& of_visitor, KeyBlocks& own) {
    job_.exchange(of_visitor.bytes(plan_.seen(job_.rank(), visitor(step))), visitor(step),
                  own.bytes(plan_.seen(host(step), job_.rank())), host(step));
  }
  /// Which of its own blocks the host of this step computed gradients for.
  std::array<bool, 2> returned(int step) const { return plan_.seen(host(step), job_.rank()); }

  /// body(half of the own queries, half of the visitor's keys, the call) of a step.
  template <class Body>
  void for_calls(int step, const Body& body) const {
    const auto own = plan_.blocks_of(job_.rank());
    const auto visiting = plan_.blocks_of(visitor(step));
    for (std::size_t query = 0; query < kHalves; ++query) {
      for (std::size_t key = 0; key < kHalves; ++key) {
        if (const auto call = plan_.call(own[query], visiting[key])) body(query, key, *call);
      }
    }
  }

 private:
  Communicator& job_;
  RingPlan plan_;
};

// What a call takes of blocks.
template <class V>
V queries_of(const V& x, std::size_t half, const RingCall& call, int axis = 1) {
  const Index first = at(half, x.dim(axis) / 2);
  return x.slice(axis, first + call.first_query, first + call.end_query);
}
View keys_of(const View& x, const RingCall& call) {
  return x.slice(1, call.first_key, call.end_key);
}

void refuse(std::string_view name, std::string_view option, bool is_given) {
  if (is_given) core::throw_config_error(name, option, "none in a ring of processes", "some");
}

void check(std::string_view name, Communicator& job, const ConstView& q, const ConstView& k,
           const ConstView& v, const AttentionOptions& options) {
  core::require_shape(name, "k", k, {-1, -1, -1, -1});
  ops::check_queries(name, "q", q, k.dim(2), ops::MayBeBf16::no);
  if (q.dim(1) % 2 != 0) {
    core::throw_shape_error(name, "q", "an even number of positions, two blocks of ring_share()",
                            q.shape().to_string());
  }
  ops::check_heads(name, "k", k, q.dim(0), q.dim(1), -1, q.dim(3), q.dtype());
  ops::check_heads(name, "v", v, q.dim(0), q.dim(1), k.dim(2), -1, q.dtype());
  if (v.dim(3) < 1) core::throw_shape_error(name, "v", "a head dim of 1 or more", "0");
  refuse(name, "mask", options.mask.has_value());
  refuse(name, "key_mask", options.key_mask.has_value());
  refuse(name, "query_mask", options.query_mask.has_value());
  refuse(name, "bias", options.bias.has_value());
  refuse(name, "sinks", options.sinks.has_value());
  refuse(name, "lengths", options.lengths.has_value());
  refuse(name, "key_segments", options.key_segments.has_value());
  refuse(name, "dropout_rate", options.dropout_rate != 0);
  if (options.masked_rows != MaskedRows::zeros) {
    core::throw_config_error(name, "masked_rows", "zeros in a ring of processes", "others");
  }
  const Index positions = q.dim(1) * job.size();
  const ConstView whole(q.raw(), q.dtype(), {q.dim(0), positions, q.dim(2), q.dim(3)});
  ops::check_options(name, options, whole, positions, ops::Keys::given);
}

KeyBlocks copied(Context& ctx, const ConstView& k, const ConstView& v) {
  KeyBlocks own(ctx, k, v);
  for (std::size_t half = 0; half < kHalves; ++half) {
    copy(block_of(k, half, k.dim(1) / 2), own.keys(half));
    copy(block_of(v, half, k.dim(1) / 2), own.values(half));
  }
  return own;
}

// Own queries against a visitor's keys and values.
void attend(Context& ctx, const Ring& ring, int step, const ConstView& q, KeyBlocks& keys,
            const View& out, const View& statistics) {
  ring.for_calls(step, [&](std::size_t query, std::size_t key, const RingCall& call) {
    const View out_rows = queries_of(out, query, call);
    const View rows = queries_of(statistics, query, call, 3);
    Tensor part = ctx.tensor(out_rows.shape(), out.dtype());
    Tensor part_rows = ctx.tensor(rows.shape(), out.dtype());
    attention(ctx, queries_of(q, query, call), keys_of(keys.keys(key), call),
              keys_of(keys.values(key), call), call.options, part, {.statistics = part_rows});
    ops::merge_attention(ctx, part, part_rows, out_rows, rows);
  });
}

/// What a process reads and writes in a backward.
struct BackwardOperands {
  ConstView q, out, statistics, d_out;
  View d_q;
};

// Adds the gradients of own queries, and of a visitor's keys and values, to d_q and `gradients`.
void add_gradients(Context& ctx, const Ring& ring, int step, const BackwardOperands& x,
                   KeyBlocks& keys, KeyBlocks& gradients) {
  ring.for_calls(step, [&](std::size_t query, std::size_t key, const RingCall& call) {
    const ConstView q = queries_of(x.q, query, call);
    const ConstView k = keys_of(keys.keys(key), call);
    const ConstView v = keys_of(keys.values(key), call);
    const ConstView rows = queries_of(x.statistics, query, call, 3);
    Tensor statistics = ctx.tensor(rows.shape(), q.dtype());
    copy(rows, statistics);
    Tensor d_q = ctx.tensor(q.shape(), q.dtype());
    Tensor d_k = ctx.tensor(k.shape(), q.dtype());
    Tensor d_v = ctx.tensor(v.shape(), q.dtype());
    const auto run =
        q.dtype() == Dtype::f32 ? &ops::backward_wide<float> : &ops::backward_wide<double>;
    run(ctx, q, k, v, call.options, queries_of(x.out, query, call), statistics,
        {.d_out = queries_of(x.d_out, query, call), .d_q = d_q, .d_k = d_k, .d_v = d_v},
        ops::SoftmaxOf::more_keys);
    ops::add_heads(ctx, d_q, queries_of(x.d_q, query, call));
    ops::add_heads(ctx, d_k, keys_of(gradients.keys(key), call));
    ops::add_heads(ctx, d_v, keys_of(gradients.values(key), call));
  });
}

void check_gradients(std::string_view name, const ConstView& q, const ConstView& k,
                     const ConstView& v, const AttentionGradients& g) {
  refuse(name, "d_scores", g.d_scores.has_value());
  refuse(name, "d_bias", g.d_bias.has_value());
  refuse(name, "d_sinks", g.d_sinks.has_value());
  const auto check_like = [&](std::string_view operand, const ConstView& x, const ConstView& like,
                              Index width) {
    ops::check_heads(name, operand, x, like.dim(0), like.dim(1), like.dim(2), width, q.dtype());
  };
  check_like("d_out", g.d_out, q, v.dim(3));
  check_like("d_q", g.d_q, q, q.dim(3));
  check_like("d_k", g.d_k, k, k.dim(3));
  check_like("d_v", g.d_v, v, v.dim(3));
}

}  // namespace

RingShare ring_share(Index positions, int rank, int size) {
  if (positions < 0 || positions % (2 * Index{size}) != 0) {
    core::throw_shape_error("ring_share", "positions",
                            "a multiple of two for each of " + std::to_string(size) + " processes",
                            std::to_string(positions));
  }
  const Index block = positions / (2 * Index{size});
  return {.block = block, .first = rank * block, .second = (2 * Index{size} - 1 - rank) * block};
}

Tensor ring_part(ConstView whole, int axis, const RingShare& share) {
  Shape shape = whole.slice(axis, 0, share.positions()).shape();
  Tensor part(shape, whole.dtype());
  copy(whole.slice(axis, share.first, share.first + share.block),
       part.view().slice(axis, 0, share.block));
  copy(whole.slice(axis, share.second, share.second + share.block),
       part.view().slice(axis, share.block, 2 * share.block));
  return part;
}

void ring_attention(Context& ctx, Communicator& job, ConstView q, ConstView k, ConstView v,
                    const AttentionOptions& options, View out, const SoftmaxOutputs& softmax) {
  constexpr std::string_view kName = "ring_attention";
  check(kName, job, q, k, v, options);
  ops::check_heads(kName, "out", out, q.dim(0), q.dim(1), q.dim(2), v.dim(3), q.dtype());
  const Index B = q.dim(0), T = q.dim(1), Hq = q.dim(2);
  Tensor own_statistics;
  View statistics = softmax.statistics;
  if (!statistics.has_value()) statistics = own_statistics = ctx.tensor({2, B, Hq, T}, q.dtype());
  core::require_dense(kName, "statistics", statistics, {2, B, Hq, T}, q.dtype());
  if (softmax.lse.has_value()) {
    core::require_dense(kName, "lse", softmax.lse, {B, Hq, T}, q.dtype());
  }
  fill_zero(out);
  fill_zero(statistics);

  Ring ring(job, options, q);
  KeyBlocks own = copied(ctx, k, v);
  std::array<KeyBlocks, 2> visitors = {KeyBlocks(ctx, k, v), KeyBlocks(ctx, k, v)};
  const auto visitor = [&](int step) -> KeyBlocks& {
    return visitors[static_cast<unsigned>(step) % 2];
  };
  const Watch* const watch = WatchScope::current();
  Background sending(job);
  for (int step = 0; step < ring.steps(); ++step) {
    const bool is_last = step + 1 == ring.steps();
    if (!is_last) {
      sending.start([&, next = step + 1] {
        watched(watch, "keys of " + ring.visitor_text(next), true,
                [&] { ring.exchange_keys(next, own, visitor(next)); });
      });
    }
    watched(watch, "attention to " + ring.visitor_text(step), false,
            [&] { attend(ctx, ring, step, q, step == 0 ? own : visitor(step), out, statistics); });
    if (!is_last) sending.wait();
  }
  if (softmax.lse.has_value()) ops::write_lse(statistics, softmax.lse);
}

void ring_attention_backward(Context& ctx, Communicator& job, ConstView q, ConstView k, ConstView v,
                             const AttentionOptions& options, ConstView out, ConstView statistics,
                             const AttentionGradients& g) {
  constexpr std::string_view kName = "ring_attention_backward";
  check(kName, job, q, k, v, options);
  ops::check_heads(kName, "out", out, q.dim(0), q.dim(1), q.dim(2), v.dim(3), q.dtype());
  core::require_dense(kName, "statistics", statistics, {2, q.dim(0), q.dim(2), q.dim(1)},
                      q.dtype());
  check_gradients(kName, q, k, v, g);
  for (const View& gradient : {g.d_q, g.d_k, g.d_v}) fill_zero(gradient);

  Ring ring(job, options, q);
  const BackwardOperands operands{q, out, statistics, g.d_out, g.d_q};
  KeyBlocks own = copied(ctx, k, v);
  KeyBlocks returned(ctx, k, v);
  std::array<KeyBlocks, 2> visitors = {KeyBlocks(ctx, k, v), KeyBlocks(ctx, k, v)};
  std::array<KeyBlocks, 2> gradients = {KeyBlocks(ctx, k, v), KeyBlocks(ctx, k, v)};
  const auto in_turns = [](std::array<KeyBlocks, 2>& both, int step) -> KeyBlocks& {
    return both[static_cast<unsigned>(step) % 2];
  };
  const auto add_own = [&](KeyBlocks& from, const std::array<bool, 2>& wanted) {
    for (std::size_t half = 0; half < kHalves; ++half) {
      if (!wanted[half]) continue;
      ops::add_heads(ctx, from.keys(half), block_of(g.d_k, half, k.dim(1) / 2));
      ops::add_heads(ctx, from.values(half), block_of(g.d_v, half, k.dim(1) / 2));
    }
  };
  // While step s is computed, the visitor of s + 1 comes, and the gradients of s - 1 go home.
  const Watch* const watch = WatchScope::current();
  Background sending(job);
  for (int step = 0; step <= ring.steps(); ++step) {
    const bool returns = step >= 2;
    const int next = step + 1;
    sending.start([&, step, next, returns] {
      if (next < ring.steps()) {
        watched(watch, "keys of " + ring.visitor_text(next), true,
                [&] { ring.exchange_keys(next, own, in_turns(visitors, next)); });
      }
      if (!returns) return;
      watched(watch, "gradients to " + ring.visitor_text(step - 1), true,
              [&] { ring.return_gradients(step - 1, in_turns(gradients, step - 1), returned); });
    });
    if (step < ring.steps()) {
      watched(watch, "gradients of attention to " + ring.visitor_text(step), false, [&] {
        KeyBlocks& made = in_turns(gradients, step);
        made.clear();
        add_gradients(ctx, ring, step, operands, step == 0 ? own : in_turns(visitors, step), made);
        if (step == 0) add_own(made, {true, true});
      });
    }
    sending.wait();
    if (returns) add_own(returned, ring.returned(step - 1));
  }
}

}  // namespace grouphead
