#include "parallel/batch_blocks.h"

#include <utility>

#include "core/check.h"

namespace grouphead::parallel {
namespace {

bool are_siblings(const TreeSum::Part& left, const TreeSum::Part& right) {
  const Index blocks = Index{1} << left.level;
  return left.level == right.level && left.first % (2 * blocks) == 0 &&
         right.first == left.first + blocks;
}

template <class Body>
void with_float(Dtype dtype, Body&& body) {
  if (dtype == Dtype::f32) {
    body(float{});
  } else if (dtype == Dtype::f64) {
    body(double{});
  } else {
    core::throw_shape_error("sum of blocks", "values", "f32 or f64", name_of(dtype));
  }
}

// to = scale from, or to += scale from, where the product is rounded first.
void scale_into(double scale, ConstView from, bool adds, View to) {
  with_float(from.dtype(), [&](auto zero) {
    using F = decltype(zero);
    const F* in = from.data<F>();
    F* out = to.data<F>();
    const F factor = static_cast<F>(scale);
    const Index count = from.size();
    if (adds) {
      for (Index i = 0; i < count; ++i) out[i] += factor * in[i];
    } else {
      for (Index i = 0; i < count; ++i) out[i] = factor * in[i];
    }
  });
}

}  // namespace

std::vector<BatchBlock> blocks_of(Index samples, Index blocks, int rank, int size) {
  std::vector<BatchBlock> own;
  for (Index b = rank * blocks / size; b < (rank + 1) * blocks / size; ++b) {
    const BatchBlock block{b, b * samples / blocks, (b + 1) * samples / blocks};
    if (block.begin < block.end) own.push_back(block);
  }
  return own;
}

Index default_blocks(Index batch) noexcept {
  Index blocks = 1;
  while (blocks < 8 && batch % (2 * blocks) == 0) blocks *= 2;
  return blocks;
}

Tensor TreeSum::memory(const Shape& shape, Dtype dtype) {
  if (spare_.empty()) return Tensor(shape, dtype);
  Tensor taken = std::move(spare_.back());
  spare_.pop_back();
  return taken;
}

void TreeSum::add(Index number, double scale, ConstView values) {
  // A block that completes a pair needs no memory of its own.
  if (!parts_.empty() && are_siblings(parts_.back(), {number, 0, {}})) {
    scale_into(scale, values, true, parts_.back().sum);
    ++parts_.back().level;
    while (merge()) {
    }
    return;
  }
  Tensor sum = memory(values.shape(), values.dtype());
  scale_into(scale, values, false, sum);
  add({number, 0, std::move(sum)});
}

void TreeSum::add(Part part) {
  parts_.push_back(std::move(part));
  while (merge()) {
  }
}

bool TreeSum::merge() {
  if (parts_.size() < 2 || !are_siblings(parts_[parts_.size() - 2], parts_.back())) return false;
  Tensor right = std::move(parts_.back().sum);
  parts_.pop_back();
  Part& left = parts_.back();
  if (left.sum.has_value()) {
    scale_into(1, right, true, left.sum);
    spare_.push_back(std::move(right));
  }
  ++left.level;
  return true;
}

void TreeSum::finish(View out) {
  if (parts_.empty()) {
    fill_zero(out);
    return;
  }
  while (parts_.size() > 1) {
    Tensor right = std::move(parts_.back().sum);
    parts_.pop_back();
    scale_into(1, right, true, parts_.back().sum);
    spare_.push_back(std::move(right));
  }
  copy(parts_.back().sum, out);
  clear();
}

void TreeSum::clear() {
  for (Part& part : parts_) {
    if (part.sum.has_value()) spare_.push_back(std::move(part.sum));
  }
  parts_.clear();
}

std::vector<TreeSum::Part> parts_of(const std::vector<BatchBlock>& blocks) {
  TreeSum places;
  for (const BatchBlock& block : blocks) places.add({block.number, 0, {}});
  return places.parts();
}

}  // namespace grouphead::parallel
