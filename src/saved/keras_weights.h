#pragma once

// From files to parameters and back.

#include <filesystem>

#include "grouphead/files/weights.h"
#include "grouphead/train/optimizers.h"
#include "saved/keras_objects.h"
#include "saved/keras_quantized.h"
#include "saved/keras_store.h"

namespace grouphead::saved {

/// What goes where. First everything is compared, then read, and changed only when nothing is left
/// that could fail.
class WeightsToLoad {
 public:
  /// `where` starts messages.
  explicit WeightsToLoad(std::string where) : where_(std::move(where)) {}

  /// Every variable of these objects.
  void add(const KerasStore& store, const std::vector<KerasObject>& objects);
  /// The optimizer's state; nothing where the file has none, or that of one that never was built.
  void add(const KerasStore& store, Optimizer& optimizer);
  /// These arrays, in their order, for these parameters; `object` is for messages.
  void add(const std::string& object, const std::vector<KerasArray>& arrays,
           const std::vector<Parameter*>& parameters);
  void add(const std::string& object, const std::vector<KerasArray>& arrays, Optimizer& optimizer);
  /// Errors: IoError that lists all that does not fit; nothing is changed then.
  void load();

 private:
  struct Entry {
    KerasArray array;
    QuantizedArrays quantized{};   // of int8 numbers
    const Layer* layer = nullptr;  // that has them
    bool is_called_inside = false;
    Parameter* parameter = nullptr;  // null: `state`
    Tensor state{};
    std::unique_ptr<nn::QuantizedNumbers> made{};
    Tensor converted{};  // in the target's type; absent where the file's elements are copied

    // Not of value(): quantized numbers would be widened for it.
    const Shape& shape() const { return parameter != nullptr ? parameter->shape() : state.shape(); }
    Dtype dtype() const { return parameter != nullptr ? parameter->dtype() : state.dtype(); }
  };

  void add_object(const KerasObject& object, const std::map<std::string, KerasArray>* arrays);
  void add_entry(const std::string& what, Entry entry);
  void add_quantized(const std::string& what, const KerasObject& object,
                     const QuantizedArrays& arrays);
  void convert(Entry& entry) const;

  std::string where_;
  std::vector<Entry> entries_;
  std::vector<nn::LowRank*> changes_;  // that the file has merged
  std::vector<std::string> problems_;
};

/// A weights file of the objects, and of the optimizer unless it is null or not built.
std::unique_ptr<io::Hdf5Writer> weights_file(const std::vector<KerasObject>& objects,
                                             const Optimizer* optimizer);
/// A `.weights.json` and its files. Each file is written at once, the list last.
void save_sharded(const std::vector<KerasObject>& objects, const Optimizer* optimizer,
                  const std::filesystem::path& list, Index largest_shard);

}  // namespace grouphead::saved
