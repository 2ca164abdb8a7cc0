#pragma once

// Which tensor of a folder holds which parameter, and how it lies there: the one table that loading
// and saving go by.

#include <optional>
#include <string>
#include <vector>

#include "grouphead/layers/layer.h"
#include "saved/huggingface/family.h"

namespace grouphead::saved {

/// Columns of a parameter's kernel [K, N], or elements of a vector [N], in a tensor that may hold
/// several parameters: element n lies at first + n / run * stride + n % run, and again `distance`
/// behind it where there are several copies.
struct Places {
  Index first = 0;
  Index run = 1;
  Index stride = 1;
  Index copies = 1;
  Index distance = 0;

  Index of(Index n) const noexcept { return first + n / run * stride + n % run; }
};

/// One parameter in a tensor of a file.
struct WeightRule {
  std::string name;                ///< of the tensor
  std::string path;                ///< of the parameter
  Shape shape;                     ///< of the tensor
  Index outputs = 0;               ///< N
  bool by_output = false;          ///< the tensor is [.., outputs, inputs], the kernel's transpose
  Index begin = 0;                 ///< elements before the expert's part
  Index row = 0;                   ///< outputs of the tensor, all parameters together
  std::optional<Places> places{};  ///< absent: the parameter is the whole tensor
};

/// Every parameter of a model once. Errors: IoError for a parameter that the names do not reach.
std::vector<WeightRule> weight_rules(const TransformerModelConfig& config, const WeightNames& names,
                                     const ConstParameterList& parameters);

/// Whether the copies of all elements in the tensor are the same.
bool are_copies_alike(const WeightRule& rule, ConstView tensor);

/// The parameter's elements in the tensor, where they lie there as a matrix that Parameter::share()
/// takes: all but heads of keys and values between others, and gates and ups in turn.
std::optional<ConstView> shared_weight(const WeightRule& rule, ConstView tensor,
                                       const Shape& parameter);

/// The parameter's elements out of the tensor (any floating type, the rule's shape) and into it
/// (the parameter's type).
void take_weight(const WeightRule& rule, ConstView tensor, View parameter);
void put_weight(const WeightRule& rule, ConstView parameter, View tensor);

}  // namespace grouphead::saved
