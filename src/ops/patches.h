#pragma once

// The parts of x [B, H, W, M] that windows see, as rows of a matrix, and back.

#include "core/context_impl.h"
#include "ops/rowwise.h"
#include "ops/windows.h"

namespace grouphead::ops {

/// Patches of channels [first_channel, first_channel + channels) of x [B, H, W, width]: row
/// (b H' + i) W' + j has the elements that window (i, j) of entry b sees, [Kh, Kw, channels], zeros
/// where there are none.
template <class F>
class Patches {
 public:
  Patches(const Windows& windows, Index width, Index first_channel, Index channels)
      : rows_(windows.rows),
        columns_(windows.columns),
        width_(width),
        first_channel_(first_channel),
        channels_(channels) {}

  Index depth() const noexcept { return rows_.size * columns_.size * channels_; }

  /// Rows [first, first + count) to `to`.
  void gather(Context& ctx, const F* x, Index first, Index count, F* to) const {
    const Index step = std::max<Index>(1, kBlockElements / std::max<Index>(1, depth()));
    for_blocks(ctx, count, step, [&](Index begin, Index end) {
      gather_rows(x, first + begin, end - begin, to + begin * depth());
    });
  }

  /// d_x += what the gradients `from` of rows [first, first + count) give. The rows are whole
  /// entries, or whole lines of one entry, or part of its one line.
  void add(Context& ctx, const F* from, Index first, Index count, F* d_x) const {
    const Block block = block_of(first, count);
    const Index area = block.height() * block.width();
    const Index step = std::max<Index>(1, kBlockElements / (depth() + 1));
    for_blocks(ctx, block.entries * area, step, [&](Index begin, Index end) {
      for (Index i = begin; i < end; ++i) {
        const Index entry = block.first_entry + i / area;
        const Index row = block.in_rows.first + i % area / block.width();
        const Index column = block.in_columns.first + i % block.width();
        F* const to = d_x + ((entry * rows_.in + row) * columns_.in + column) * width_;
        add_position(from, block, first, entry, row, column, to + first_channel_);
      }
    });
  }

 private:
  using Range = std::pair<Index, Index>;
  /// The windows of a block of rows, and the elements that they see.
  struct Block {
    Index first_entry, entries;
    Range rows, columns, in_rows, in_columns;
    Index height() const { return in_rows.second - in_rows.first; }
    Index width() const { return in_columns.second - in_columns.first; }
  };

  static Range seen(const WindowAxis& axis, const Range& windows) {
    return {std::clamp<Index>(axis.first(windows.first), 0, axis.in),
            std::clamp<Index>(axis.first(windows.second - 1) + axis.extent(), 0, axis.in)};
  }

  Block block_of(Index first, Index count) const {
    const Index outputs = rows_.out * columns_.out;
    Block block{first / outputs,
                (count + outputs - 1) / outputs,
                {0, rows_.out},
                {0, columns_.out},
                {},
                {}};
    const Index at = first % outputs;
    if (count < outputs && rows_.out > 1) {
      block.rows = {at / columns_.out, (at + count) / columns_.out};
    } else if (count < outputs) {
      block.columns = {at, at + count};
    }
    block.in_rows = seen(rows_, block.rows);
    block.in_columns = seen(columns_, block.columns);
    return block;
  }

  void add_position(const F* from, const Block& block, Index first, Index entry, Index row,
                    Index column, F* to) const {
    for (Index r = 0; r < rows_.size; ++r) {
      const Index i = rows_.window_with(row, r);
      if (i < block.rows.first || i >= block.rows.second) continue;
      for (Index c = 0; c < columns_.size; ++c) {
        const Index j = columns_.window_with(column, c);
        if (j < block.columns.first || j >= block.columns.second) continue;
        const Index patch = (entry * rows_.out + i) * columns_.out + j - first;
        const F* const part = from + patch * depth() + (r * columns_.size + c) * channels_;
        for (Index m = 0; m < channels_; ++m) to[m] += part[m];
      }
    }
  }

  void gather_rows(const F* x, Index first, Index count, F* to) const {
    Index j = first % columns_.out;
    Index i = first / columns_.out % rows_.out;
    Index entry = first / columns_.out / rows_.out;
    for (Index n = 0; n < count; ++n, to += depth()) {
      gather_one(x + entry * rows_.in * columns_.in * width_ + first_channel_, i, j, to);
      if (++j < columns_.out) continue;
      j = 0;
      if (++i < rows_.out) continue;
      i = 0;
      ++entry;
    }
  }

  void gather_one(const F* image, Index i, Index j, F* to) const {
    const auto [low, high] = columns_.taps(j);
    const Index line = columns_.size * channels_;
    for (Index r = 0; r < rows_.size; ++r, to += line) {
      const Index row = rows_.first(i) + r * rows_.dilation;
      if (!rows_.has(row)) {
        std::fill_n(to, line, F{0});
        continue;
      }
      std::fill_n(to, low * channels_, F{0});
      const Index start = row * columns_.in + columns_.first(j);
      if (columns_.dilation == 1 && channels_ == width_) {
        std::copy_n(image + (start + low) * width_, (high - low) * channels_, to + low * channels_);
      } else {
        for (Index c = low; c < high; ++c) {
          std::copy_n(image + (start + c * columns_.dilation) * width_, channels_,
                      to + c * channels_);
        }
      }
      std::fill_n(to + high * channels_, (columns_.size - high) * channels_, F{0});
    }
  }

  WindowAxis rows_, columns_;
  Index width_, first_channel_, channels_;
};

}  // namespace grouphead::ops
