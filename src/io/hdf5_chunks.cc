#include "io/hdf5_chunks.h"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "io/limits.h"

namespace grouphead::io {
namespace {

using Sizes = std::array<hsize_t, kMaxRank>;
constexpr std::size_t kLeastOfPiece = 32;  // bytes of its place alone

class ChunkReader {
 public:
  ChunkReader(hid_t dataset, const Shape& shape, Index element_bytes, const std::string& damaged)
      : dataset_(dataset),
        shape_(shape),
        width_(static_cast<std::size_t>(element_bytes)),
        damaged_(damaged) {
    const Hdf5Id creation(H5Dget_create_plist(dataset), H5Pclose, damaged);
    const int rank = H5Pget_chunk(creation.get(), kMaxRank, chunk_.data());
    require(rank == shape.rank() && rank > 0);
    bytes_ = width_;
    for (int axis = 0; axis < rank; ++axis) bytes_ *= chunk_[index(axis)];
    read_filters(creation.get());
  }

  void read(std::size_t image_bytes, std::byte* to) {
    hsize_t count = 1;
    for (int axis = 0; axis < shape_.rank(); ++axis) {
      const auto size = static_cast<hsize_t>(shape_[axis]);
      count *= (size + chunk_[index(axis)] - 1) / chunk_[index(axis)];
      require(count <= image_bytes / kLeastOfPiece);
    }
    Sizes offset{};
    for (hsize_t i = 0; i < count; ++i) {
      read_piece(offset);
      copy_rows(offset, to);
      for (int axis = shape_.rank() - 1; axis >= 0; --axis) {
        offset[index(axis)] += chunk_[index(axis)];
        if (offset[index(axis)] < static_cast<hsize_t>(shape_[axis])) break;
        offset[index(axis)] = 0;
      }
    }
  }

 private:
  static std::size_t index(int axis) noexcept { return static_cast<std::size_t>(axis); }

  void require(bool holds) const {
    if (!holds) throw IoError(damaged_);
  }

  void read_filters(hid_t creation) {
    const int count = H5Pget_nfilters(creation);
    for (int i = 0; i < count; ++i) {
      unsigned flags = 0;
      unsigned config = 0;
      std::size_t num_values = 0;
      filters_.push_back(H5Pget_filter2(creation, static_cast<unsigned>(i), &flags, &num_values,
                                        nullptr, 0, nullptr, &config));
    }
    require(std::count(filters_.begin(), filters_.end(), H5Z_FILTER_DEFLATE) <= 1);
  }

  void read_piece(const Sizes& offset) {
    hsize_t stored = 0;
    require(H5Dget_chunk_storage_size(dataset_, offset.data(), &stored) >= 0 && stored > 0);
    require(stored <= 2 * bytes_ + 1024);  // nothing that deflate makes is longer
    require(!expands_too_far(static_cast<Index>(bytes_), static_cast<Index>(stored)));
    raw_.resize(stored);
    std::uint32_t skipped = 0;
    require(H5Dread_chunk(dataset_, H5P_DEFAULT, offset.data(), &skipped, raw_.data()) >= 0);
    for (std::size_t i = filters_.size(); i-- > 0;) {
      if ((skipped >> i & 1U) != 0) continue;
      filters_[i] == H5Z_FILTER_DEFLATE ? inflate_raw() : unshuffle_raw();
    }
    require(raw_.size() == bytes_);
    piece_.swap(raw_);
  }

  void inflate_raw() {
    auto size = static_cast<uLongf>(bytes_);
    sorted_.resize(bytes_);
    const int status =
        uncompress(reinterpret_cast<Bytef*>(sorted_.data()), &size,
                   reinterpret_cast<const Bytef*>(raw_.data()), static_cast<uLong>(raw_.size()));
    require(status == Z_OK && size == bytes_);
    raw_.swap(sorted_);
  }

  // The first bytes of all elements stand first, then the second ones, ...
  void unshuffle_raw() {
    require(raw_.size() == bytes_);
    sorted_.resize(bytes_);
    const std::size_t count = bytes_ / width_;
    for (std::size_t i = 0; i < count; ++i) {
      for (std::size_t b = 0; b < width_; ++b) sorted_[i * width_ + b] = raw_[b * count + i];
    }
    raw_.swap(sorted_);
  }

  /// The rows of the piece that lie inside the array.
  void copy_rows(const Sizes& offset, std::byte* to) const {
    const int last = shape_.rank() - 1;
    const hsize_t row =
        std::min(chunk_[index(last)], static_cast<hsize_t>(shape_[last]) - offset[index(last)]);
    const std::size_t rows = bytes_ / width_ / chunk_[index(last)];
    for (std::size_t r = 0; r < rows; ++r) {
      std::size_t rest = r;
      hsize_t target = 0;
      hsize_t stride = static_cast<hsize_t>(shape_[last]);
      bool is_inside = true;
      for (int axis = last - 1; axis >= 0; --axis) {
        const hsize_t at = offset[index(axis)] + rest % chunk_[index(axis)];
        rest /= chunk_[index(axis)];
        is_inside = is_inside && at < static_cast<hsize_t>(shape_[axis]);
        target += at * stride;
        stride *= static_cast<hsize_t>(shape_[axis]);
      }
      if (!is_inside) continue;
      std::memcpy(to + (target + offset[index(last)]) * width_,
                  piece_.data() + r * chunk_[index(last)] * width_, row * width_);
    }
  }

  hid_t dataset_;
  const Shape& shape_;
  std::size_t width_;
  const std::string& damaged_;
  Sizes chunk_{};
  std::size_t bytes_ = 0;  // of a piece
  std::vector<H5Z_filter_t> filters_;
  std::vector<std::byte> raw_;
  std::vector<std::byte> sorted_;
  std::vector<std::byte> piece_;
};

}  // namespace

void read_chunks(hid_t dataset, const Shape& shape, Index element_bytes, std::size_t image_bytes,
                 const std::string& damaged, std::byte* to) {
  ChunkReader(dataset, shape, element_bytes, damaged).read(image_bytes, to);
}

}  // namespace grouphead::io
