#include "nn/numbers_config.h"

#include <vector>

#include "core/check.h"

namespace grouphead::nn {
namespace {

class Reader {
 public:
  Reader(std::string_view layer, std::string_view key) : layer_(layer), key_(key) {}

  Tensor read(const ConfigValue& value) {
    for (const ConfigValue* first = &value; first->is_list();) {
      const ConfigValue::List& list = first->as_list(key_);
      dims_.push_back(static_cast<Index>(list.size()));
      if (list.empty()) break;
      if (dims_.size() > static_cast<std::size_t>(kMaxRank)) fail(value);
      first = &list.front();
    }
    add(value, 0);
    return Tensor::from(Shape(dims_), std::span<const double>(numbers_));
  }

 private:
  void add(const ConfigValue& value, std::size_t depth) {
    if (depth == dims_.size()) {
      if (!value.is_number()) fail(value);
      numbers_.push_back(value.as_number(key_));
      return;
    }
    if (!value.is_list()) fail(value);
    const ConfigValue::List& list = value.as_list(key_);
    if (static_cast<Index>(list.size()) != dims_[depth]) fail(value);
    for (const ConfigValue& one : list) add(one, depth + 1);
  }

  [[noreturn]] void fail(const ConfigValue& value) const {
    core::throw_config_error(layer_, key_, "a number or an array of numbers", value.to_string());
  }

  std::string_view layer_, key_;
  std::vector<Index> dims_;
  std::vector<double> numbers_;
};

}  // namespace

Tensor numbers_from_config(std::string_view layer, std::string_view key, const ConfigValue& value) {
  const bool is_array = value.is_object() && value["config"].is_object();
  return Reader(layer, key).read(is_array ? value["config"]["value"] : value);
}

}  // namespace grouphead::nn
