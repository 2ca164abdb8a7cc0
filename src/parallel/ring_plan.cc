#include "parallel/ring_plan.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "ops/attention_sequences.h"

namespace grouphead::parallel {
namespace {

// What is left of [begin, end) in a block, counted from the block's begin.
std::pair<Index, Index> clipped(Index begin, Index end, Index block, Index number) {
  const Index at = number * block;
  return {std::clamp<Index>(begin - at, 0, block), std::clamp<Index>(end - at, 0, block)};
}

}  // namespace

RingPlan::RingPlan(const AttentionOptions& options, const ConstView& q, Index block, int size)
    : options_(options), block_(block), size_(size) {
  const ConstView whole(q.raw(), q.dtype(), {q.dim(0), 2 * size * block, q.dim(2), q.dim(3)});
  for (Index n = 0; n < ops::num_sequences(options, whole); ++n) {
    bounds_.push_back(ops::sequence_of(options, whole, whole.dim(1), n).end_query);
  }
}

// Query t has the keys from t + low to t + high, so all queries have those from low to T + high
// without a gap.
bool RingPlan::sees(const RingCall& call) const noexcept {
  const AttentionOptions& o = call.options;
  const Index offset = ops::clamped_offset(o.causal_offset);
  Index low = -call.queries();
  Index high = call.end_key - call.first_key;
  if (o.window_left) low = offset - ops::clamped_offset(*o.window_left);
  if (o.causal) high = offset;
  if (o.window_right) high = std::min(high, offset + ops::clamped_offset(*o.window_right));
  return call.queries() > 0 && low <= high && low < call.end_key - call.first_key &&
         call.queries() - 1 + high >= 0;
}

// All sequences that begin, end or go on in the block.
RingCall RingPlan::within_block(Index block) const {
  RingCall call{.end_query = block_, .end_key = block_, .options = options_};
  if (!options_.segments.has_value()) return call;
  const Index at = block * block_;
  std::vector<Index> bounds = {0};
  for (auto end = std::ranges::upper_bound(bounds_, at);
       end != bounds_.end() && bounds.back() < block_; ++end) {
    const Index here = std::min(*end - at, block_);
    if (here > bounds.back()) bounds.push_back(here);
  }
  call.segments = Tensor::from({static_cast<Index>(bounds.size())}, std::span<const Index>(bounds));
  call.options.segments = call.segments;
  call.end_query = call.end_key = bounds.back();
  return call;
}

// At most one sequence has positions in both of two blocks: that of the later one's first position.
std::optional<RingCall> RingPlan::within_sequence(Index queries, Index keys) const {
  const auto end = std::ranges::upper_bound(bounds_, std::max(queries, keys) * block_);
  if (end == bounds_.end()) return {};
  const Index begin = *(end - 1);
  RingCall call{.options = options_};
  call.options.segments = {};
  std::tie(call.first_query, call.end_query) = clipped(begin, *end, block_, queries);
  std::tie(call.first_key, call.end_key) = clipped(begin, *end, block_, keys);
  if (call.queries() == 0 || call.end_key == call.first_key) return {};
  const Index distance = (queries - keys) * block_ + call.first_query - call.first_key;
  call.options.causal_offset = ops::clamped_offset(options_.causal_offset) + distance;
  return call;
}

std::optional<RingCall> RingPlan::call(Index queries, Index keys) const {
  std::optional<RingCall> call =
      queries == keys ? within_block(queries) : within_sequence(queries, keys);
  if (call && !sees(*call)) call.reset();
  return call;
}

std::array<bool, 2> RingPlan::seen(int queries, int keys) const {
  std::array<bool, 2> seen{};
  for (std::size_t half = 0; half < 2; ++half) {
    for (const Index block : blocks_of(queries)) {
      seen[half] = seen[half] || call(block, blocks_of(keys)[half]).has_value();
    }
  }
  return seen;
}

}  // namespace grouphead::parallel
