#pragma once

// Numbers of Keras's losses, metrics, optimizers and fit: tests/golden/keras_training and
// its sisters.

#include <cmath>
#include <limits>
#include <set>
#include <string>
#include <vector>

#include "io/file.h"
#include "io/json.h"
#include "io/safetensors.h"
#include "model_support.h"

namespace grouphead::testing_support {

/// One case: its entry of cases.json, and its tensors without the case's name.
class KerasCase {
 public:
  KerasCase(const ConfigValue& entry, const io::Safetensors& tensors)
      : entry_(entry), tensors_(tensors), name_(entry["name"].as_string("name")) {}

  const std::string& name() const { return name_; }
  const ConfigValue& operator[](std::string_view key) const { return entry_[key]; }
  bool has(const std::string& tensor) const {
    return tensors_.tensors.contains(name_ + "." + tensor);
  }
  Tensor tensor(const std::string& tensor) const { return tensors_.at(name_ + "." + tensor); }
  /// Absent where the case has no such tensor.
  ConstView optional(const std::string& tensor) const {
    return has(tensor) ? tensors_.at(name_ + "." + tensor).view() : ConstView();
  }

 private:
  const ConfigValue& entry_;
  const io::Safetensors& tensors_;
  std::string name_;
};

/// A folder of cases.
struct KerasCases {
  explicit KerasCases(const std::string& name) {
    const std::string folder = std::string(GROUPHEAD_SOURCE_DIR) + "/tests/golden/" + name + "/";
    cases = io::parse_json(io::read_file(folder + "cases.json"), "cases.json");
    tensors = io::read_safetensors(folder + "tensors.safetensors");
  }
  ConfigValue cases;
  io::Safetensors tensors;
};

/// The cases of one kind, of all folders.
inline std::vector<KerasCase> keras_cases(const std::string& kind) {
  static const KerasCases folders[] = {
      KerasCases("keras_training"), KerasCases("keras_training_more"),
      KerasCases("keras_training_metrics"), KerasCases("keras_training_sets")};
  std::vector<KerasCase> found;
  for (const KerasCases& folder : folders) {
    for (const ConfigValue& entry : folder.cases["cases"].as_list("cases")) {
      if (entry["kind"] == ConfigValue(kind)) found.emplace_back(entry, folder.tensors);
    }
  }
  return found;
}

/// The largest difference of two tensors' elements, each relative to 1 or to the wanted one; NaN
/// and other sizes count as infinite.
inline double distance(ConstView got, ConstView want) {
  if (got.size() != want.size()) return std::numeric_limits<double>::infinity();
  double worst = 0;
  for (Index i = 0; i < want.size(); ++i) {
    const double wanted = element(want, i);
    const double apart = std::abs(element(got, i) - wanted) / std::max(1.0, std::abs(wanted));
    if (!(apart <= worst))
      worst = std::isnan(apart) ? std::numeric_limits<double>::infinity() : apart;
  }
  return worst;
}

}  // namespace grouphead::testing_support
