#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "grouphead/core/tensor.h"

#pragma GCC visibility push(default)
namespace grouphead {

/// One tensor of a file, before it is read.
struct TensorInfo {
  std::string name{};
  /// `f32`, `bool`, `i16`, ...; the file's own word where the type is not read (`F8_E4M3`, `<U2`)
  std::string dtype{};
  std::vector<Index> shape{};  ///< any number of axes
  std::string problem{};       ///< why it cannot be read; empty where it can
};

/// The tensors of a `.safetensors` or `.npz` file. The list is read at once, a tensor when it is
/// asked for, so one of a type that is not read hurts nobody who does not want it.
///
/// Types    integers that tensors do not have are widened: i8, i16 and u16 to i32, u32 and u64 to
///          i64. Big-endian arrays and Fortran's order are brought into ours.
/// Memory   the file is mapped; tensors that are stored as they are used share the mapping. Writing
///          to one does not change the file.
/// Threads  one at a time; different files at once.
/// Errors   IoError for a file that is missing, damaged or of another kind, for `.npz` in a build
///          without archives.
class TensorFile {
 public:
  explicit TensorFile(const std::filesystem::path& file);
  TensorFile(TensorFile&&) noexcept;
  TensorFile& operator=(TensorFile&&) noexcept;
  ~TensorFile();

  /// By name.
  const std::vector<TensorInfo>& tensors() const noexcept;
  /// The texts beside the tensors in `.safetensors`; empty for `.npz`.
  const std::map<std::string, std::string>& metadata() const noexcept;
  bool contains(std::string_view name) const noexcept;
  /// Errors: IoError for a tensor that is missing, or cannot be read.
  Tensor read(const std::string& name) const;
  /// The same in another type: see cast_exactly().
  Tensor read(const std::string& name, Dtype dtype) const;

 private:
  struct Contents;
  std::unique_ptr<Contents> contents_;
};

/// The tensor in another type. Floating values are rounded to floating types; all else has to stay
/// as it is: whole values as integers, integers that a floating type has (to 2^24 in f32), 0 and 1
/// as bools. Shares the elements where it has the type already.
/// Errors: ShapeError that names the first value which the type does not have.
Tensor cast_exactly(const Tensor& tensor, Dtype dtype);

struct ReadTensorsOptions {
  /// The name of the result for a name in the file; an empty one leaves the tensor out.
  std::function<std::string(const std::string& name)> rename{};
  /// The type of floating tensors; absent: as stored.
  std::optional<Dtype> floating{};
};

/// All tensors of a file that can be read, or those that `rename` gives a name.
/// Errors: IoError as TensorFile, for two tensors of one new name, and for one that is wanted and
/// cannot be read.
std::map<std::string, Tensor> read_tensors(const std::filesystem::path& file,
                                           const ReadTensorsOptions& options = {});

/// Writes a `.safetensors` or `.npz` file at once. Errors: IoError for another name, for bf16 or
/// metadata in `.npz`, and for tensors that are absent; an old file stays.
void write_tensors(const std::filesystem::path& file, const std::map<std::string, Tensor>& tensors,
                   const std::map<std::string, std::string>& metadata = {});

}  // namespace grouphead
#pragma GCC visibility pop
