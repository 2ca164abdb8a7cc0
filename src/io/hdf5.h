#pragma once

// HDF5 files in memory, as far as models need them: groups, texts as attributes, arrays. The only
// part that knows the HDF5 library, whose calls are made one at a time, its error printing off.

#include <cstddef>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "grouphead/core/tensor.h"

namespace grouphead::io {

/// An array of a file.
struct Hdf5Dataset {
  Shape shape{};
  Dtype dtype = Dtype::f32;  ///< of what read() gives
  bool is_int8 = false;      ///< stored in 8 bits with a sign, read as i32
  bool is_chunked = false;   ///< stored in pieces, which may be compressed
  /// The elements, where the file has them in one piece and in `dtype`.
  std::span<const std::byte> elements{};
  std::string problem{};  ///< why it cannot be read; none: empty
};

/// A group's attributes that are texts; a list of them, or one.
using Hdf5Texts = std::map<std::string, std::vector<std::string>>;

/// A file that is there in memory, read without a copy of it. Paths are `layers/dense/vars/0`, the
/// root's is empty. Threads: safe.
class Hdf5File {
 public:
  /// Reads all of the structure and checks every size against the image, which `owner` keeps
  /// alive. `name` is for messages. Errors: IoError for what is not HDF5 or damaged, for links to
  /// other places, and for more than a model can have: groups in a circle, names beyond 1024 bytes.
  Hdf5File(std::span<const std::byte> image, std::shared_ptr<const void> owner, std::string name);
  ~Hdf5File();
  Hdf5File(const Hdf5File&) = delete;
  Hdf5File& operator=(const Hdf5File&) = delete;

  const std::string& name() const noexcept { return name_; }
  const std::map<std::string, Hdf5Texts>& groups() const noexcept { return groups_; }
  const std::map<std::string, Hdf5Dataset>& datasets() const noexcept { return datasets_; }
  /// Errors: IoError for a dataset that is missing, of another type than the ones above, or
  /// damaged.
  const Hdf5Dataset& dataset(const std::string& path) const;
  /// The numbers, copied. Errors: IoError.
  Tensor read(const std::string& path) const;

 private:
  friend class Hdf5Walk;
  struct Handle;

  std::span<const std::byte> image_;
  std::shared_ptr<const void> owner_;
  std::string name_;
  std::unique_ptr<Handle> file_;
  std::map<std::string, Hdf5Texts> groups_;
  std::map<std::string, Hdf5Dataset> datasets_;
};

/// Makes a file in memory, in the form that h5py gives Keras's files: the oldest version of the
/// format, arrays in one piece, no times.
class Hdf5Writer {
 public:
  /// `expected_bytes` of arrays, about: memory is taken for these at once. Errors: IoError.
  explicit Hdf5Writer(Index expected_bytes);
  ~Hdf5Writer();
  Hdf5Writer(const Hdf5Writer&) = delete;
  Hdf5Writer& operator=(const Hdf5Writer&) = delete;

  /// Makes a group and those around it. Errors: IoError.
  void group(const std::string& path);
  /// An attribute of a group that is there: one text, or a list.
  void text(const std::string& group, const std::string& name, std::string_view value);
  void texts(const std::string& group, const std::string& name,
             const std::vector<std::string>& values);
  /// An array and the groups around it; bf16 as Keras marks it.
  void dataset(const std::string& path, const ConstView& numbers);
  /// Bytes (u8) as what their bits are with a sign.
  void int8_dataset(const std::string& path, const ConstView& bytes);

  /// The file; nothing can be added after it. Lives as long as this.
  std::string_view finish();

 private:
  struct File;
  void write(const std::string& path, const ConstView& numbers, bool is_int8);

  std::unique_ptr<File> file_;
};

}  // namespace grouphead::io
