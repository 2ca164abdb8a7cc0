#pragma once

// R's values as the library's, and back. An array of R with dim c(B, T, F) is the tensor [B, T, F]:
// R stores its first axis densely, a tensor its last.

#include <cpp11/protect.hpp>
#include <cpp11/sexp.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "grouphead/core/config_value.h"
#include "grouphead/core/tensor.h"

namespace gr {

namespace gh = grouphead;

/// A configuration of an R value: NULL, TRUE, numbers (whole ones as integers), strings; longer
/// vectors and lists without names as lists, lists with names as objects; layers, initializers and
/// their kind as Keras's envelopes. `what` is the value's name in errors.
gh::ConfigValue to_config(SEXP value, const std::string& what);
SEXP from_config(const gh::ConfigValue& value);

/// The tensor of an array or a vector of R; absent for NULL. Doubles become f32, integers i32,
/// logicals bool, unless `dtype` says otherwise; texts, for `dtype` u8 alone, the tensor of
/// text_tensor(), with one more axis. Errors: ShapeError, for NA in integers, logicals and texts
/// too, which no tensor has.
gh::Tensor to_tensor(SEXP value, const std::string& what, std::optional<gh::Dtype> dtype = {});
/// An array of doubles; of integers for i32; of logicals for bool. One without axes is a number.
SEXP from_tensor(const gh::Tensor& tensor);
/// The tensors of a list of arrays; of one array that alone.
std::vector<gh::Tensor> to_tensors(SEXP value, const std::string& what,
                                   const std::vector<std::optional<gh::Dtype>>& dtypes);
/// A list of arrays, or where there is one only that.
SEXP from_tensors(const std::vector<gh::Tensor>& tensors);

/// For an input of `rank` axes: of texts without axes, one in each row.
gh::Tensor text_rows(gh::Tensor tensor, int rank);

/// Sizes, where NA or NULL stand for unknown ones (-1).
std::vector<gh::Index> to_sizes(SEXP value, const std::string& what);
/// NA for unknown ones.
SEXP from_shape(const gh::Shape& shape);

std::string to_text(SEXP value, const std::string& what);
/// A character vector. Errors: ConfigError, for NA too.
std::vector<std::string> to_texts(SEXP value, const std::string& what);
gh::Index to_index(SEXP value, const std::string& what);
bool to_flag(SEXP value, const std::string& what);
double to_number(SEXP value, const std::string& what);
SEXP from_text(std::string_view text);
SEXP from_texts(const std::vector<std::string>& texts);
/// Names of a list's entries, empty ones where it has none.
std::vector<std::string> names_of(SEXP list);
/// The entry of a list with names; NULL where there is none.
SEXP entry(SEXP list, const char* name);
/// A list with names.
class NamedList {
 public:
  void add(const std::string& name, SEXP value);
  SEXP get() const;

 private:
  std::vector<std::string> names_;
  std::vector<cpp11::sexp> values_;
};
SEXP make_list(const std::vector<cpp11::sexp>& values);

/// Errors: ConfigError `[R] what: expected ..., got ...`.
[[noreturn]] void refuse(const std::string& what, const std::string& expected, SEXP got);

}  // namespace gr
