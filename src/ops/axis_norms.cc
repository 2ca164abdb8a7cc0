#include "ops/axis_norms.h"

#include <array>
#include <cmath>
#include <vector>

#include "ops/rowwise.h"

namespace grouphead::ops {
namespace {

constexpr std::string_view kName = "constraint";
constexpr double kEpsilon = 1e-7;    // keras.config.epsilon()
constexpr Index kNormsPerUnit = 64;  // neighbours, so that a row of memory is read once

using AxisFlags = std::array<bool, kMaxRank>;

AxisFlags flags_of(std::span<const Index> axes, int rank) {
  AxisFlags flags{};
  for (const Index axis : axes) {
    const Index place = axis < 0 ? axis + rank : axis;
    if (place < 0 || place >= rank || flags[static_cast<std::size_t>(place)]) {
      core::throw_shape_error(kName, "axis", "different axes of rank " + std::to_string(rank),
                              std::to_string(axis));
    }
    flags[static_cast<std::size_t>(place)] = true;
  }
  return flags;
}

/// Offsets of all places along the axes whose flag is `wanted`, ascending.
std::vector<Index> offsets(const ConstView& w, const AxisFlags& flags, bool wanted) {
  std::vector<Index> places = {0};
  for (int axis = 0; axis < w.rank(); ++axis) {
    if (flags[static_cast<std::size_t>(axis)] != wanted) continue;
    std::vector<Index> finer;
    finer.reserve(places.size() * static_cast<std::size_t>(w.dim(axis)));
    for (const Index place : places) {
      for (Index i = 0; i < w.dim(axis); ++i) finer.push_back(place + i * w.stride(axis));
    }
    places = std::move(finer);
  }
  return places;
}

}  // namespace

void rescale_norms(Context& ctx, std::span<const Index> axes,
                   const std::function<double(double norm)>& wanted, View w) {
  const AxisFlags flags = flags_of(axes, w.rank());
  with_float_type(kName, "w", w, [&](auto zero) {
    using F = decltype(zero);
    require_elements(kName, "w", w, w.size(), kDtypeOf<F>);
    const std::vector<Index> kept = offsets(w, flags, false);
    const std::vector<Index> summed = offsets(w, flags, true);
    F* values = w.data<F>();
    for_blocks(ctx, static_cast<Index>(kept.size()), kNormsPerUnit, [&](Index begin, Index end) {
      const std::span own(kept.data() + begin, static_cast<std::size_t>(end - begin));
      std::array<double, kNormsPerUnit> squares{};
      for (const Index row : summed) {
        for (std::size_t k = 0; k < own.size(); ++k) {
          const double value = values[row + own[k]];
          squares[k] += value * value;
        }
      }
      std::array<F, kNormsPerUnit> factors{};
      for (std::size_t k = 0; k < own.size(); ++k) {
        const auto norm = static_cast<F>(std::sqrt(squares[k]));
        factors[k] = static_cast<F>(wanted(norm)) / (static_cast<F>(kEpsilon) + norm);
      }
      for (const Index row : summed) {
        for (std::size_t k = 0; k < own.size(); ++k) values[row + own[k]] *= factors[k];
      }
    });
  });
}

void clip_negative(Context& ctx, View w) {
  with_float_type(kName, "w", w, [&](auto zero) {
    using F = decltype(zero);
    require_elements(kName, "w", w, w.size(), kDtypeOf<F>);
    F* values = w.data<F>();
    for_blocks(ctx, w.size(), kBlockElements, [&](Index begin, Index end) {
      for (Index i = begin; i < end; ++i) {
        if (values[i] <= 0) values[i] = 0;
      }
    });
  });
}

}  // namespace grouphead::ops
