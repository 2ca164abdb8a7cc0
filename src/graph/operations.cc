#include <algorithm>

#include "graph/names.h"
#include "grouphead/layers/serialization.h"
#include "grouphead/models/symbol_operations.h"
#include "nn/operations/modules.h"

namespace grouphead {

Symbol operation(std::string_view class_name, const std::vector<Term>& operands,
                 const ConfigValue::Object& options) {
  std::vector<Operand> tensors;
  ConfigValue::List numbers;
  bool has_f64 = false;
  for (const Term& term : operands) {
    tensors.push_back(term.operand());
    numbers.push_back(term.number());
    const Symbol* symbol = term.operand().symbol();
    has_f64 = has_f64 || (symbol != nullptr && symbol->dtype() == Dtype::f64);
  }
  ConfigValue config = ConfigValue::Object{{"name", graph::default_name(class_name)}};
  for (const auto& [key, value] : options) config.set(key, value);
  if (has_f64) config.set("dtype_policy", "float64");  // of gradients
  Keywords keywords;
  const bool has_numbers = std::any_of(numbers.begin(), numbers.end(),
                                       [](const ConfigValue& number) { return !number.is_null(); });
  if (has_numbers) keywords.add({"args", ConfigValue(std::move(numbers))});
  return connect(make_operation(nn::module_of_operation(class_name), class_name, config), tensors,
                 keywords);
}

}  // namespace grouphead
