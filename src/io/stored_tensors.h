#pragma once

// The tensors of a file that is open, each read when it is asked for.

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "grouphead/core/tensor.h"
#include "io/owned_bytes.h"

namespace grouphead::io {

/// How elements are stored: as one of our types, or as integers that are read into a wider one.
struct StoredType {
  enum class Integer { none, i8, i16, u16, u32, u64 };
  Dtype dtype = Dtype::f32;  ///< of what is read
  Integer integer = Integer::none;

  /// Bytes of an element in the file.
  Index width() const noexcept;
  /// `f32`, `i16`, ...: name_of(dtype), or the narrower integer's name.
  std::string name() const;
};

/// The tensor that these bytes hold: over them where they have its type and are aligned to it, else
/// a copy. `swapped`: big-endian. Errors: IoError that starts with `where` for other bytes than 0
/// and 1 as bools, and for integers of 64 bits without a sign beyond 2^63 - 1.
Tensor read_elements(const OwnedBytes& elements, const StoredType& type, bool swapped,
                     const Shape& shape, const std::string& where);

/// One tensor as its file describes it.
struct StoredTensor {
  std::string dtype{};         ///< `f32`, `i8`, ..., or the file's word for one that is not read
  std::vector<Index> shape{};  ///< of any number of axes
  std::string problem{};       ///< why it cannot be read; none: empty
  std::function<Tensor()> read{};  ///< Errors: IoError
};

/// What a file holds. Threads: one at a time.
class StoredTensors {
 public:
  explicit StoredTensors(std::string file) : file_(std::move(file)) {}

  std::map<std::string, std::string> metadata{};
  std::map<std::string, StoredTensor> tensors{};

  bool contains(const std::string& name) const { return tensors.contains(name); }
  /// Errors: IoError for one that is missing, or cannot be read; the others do not matter.
  Tensor read(const std::string& name) const;
  /// All of them.
  std::map<std::string, Tensor> read_all() const;

 private:
  std::string file_;  // for messages
};

}  // namespace grouphead::io
