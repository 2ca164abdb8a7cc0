#pragma once

// Where a file, or several of them, has the variables of objects.

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "io/hdf5.h"

namespace grouphead::saved {

/// One array of one of the files.
struct KerasArray {
  const io::Hdf5File* file = nullptr;
  std::string path{};

  const io::Hdf5Dataset& dataset() const { return file->dataset(path); }
};

class KerasStore {
 public:
  explicit KerasStore(std::shared_ptr<io::Hdf5File> file) { add(std::move(file)); }
  /// The files that a `.weights.json` lists. Errors: IoError, also for lists that lead out of its
  /// folder and for an array that two files have.
  static KerasStore sharded(const std::filesystem::path& list);

  /// An object's arrays by their numbers' texts; null where it has none.
  const std::map<std::string, KerasArray>* arrays_of(const std::string& object) const;
  /// Elements of all arrays that parameters can be of: see parameter_elements().
  Index num_elements() const noexcept { return num_elements_; }

 private:
  KerasStore() = default;
  void add(std::shared_ptr<io::Hdf5File> file);

  std::vector<std::shared_ptr<io::Hdf5File>> files_;
  std::map<std::string, std::map<std::string, KerasArray>> objects_;
  Index num_elements_ = 0;
};

/// Elements of an array that a parameter may have: of floating values, of int8 ones with scales, or
/// a counter.
Index parameter_elements(const io::Hdf5Dataset& dataset);

/// A file that is mapped to memory. Errors: IoError.
std::shared_ptr<io::Hdf5File> open_hdf5(const std::filesystem::path& path);

}  // namespace grouphead::saved
