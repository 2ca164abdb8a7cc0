#pragma once

// One case of a golden folder in Keras's format, and what its results are compared with.

#include <filesystem>
#include <initializer_list>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "grouphead/core/config_value.h"
#include "grouphead/layers/layer.h"
#include "io/safetensors.h"
#include "testing/golden.h"

namespace grouphead::testing {

/// Errors: IoError that names `what` and the first key of `object` that is not in `known`.
void require_known_fields(const ConfigValue& object, std::string_view what,
                          std::initializer_list<std::string_view> known);

/// The fields and tensors of a case, and the comparisons made so far.
class KerasCase {
 public:
  /// Reads the tensors. Errors: IoError.
  KerasCase(Context& ctx, const ConfigValue& fields, const std::filesystem::path& folder);

  Context& ctx() noexcept { return ctx_; }
  const ConfigValue& operator[](std::string_view field) const { return fields_[field]; }
  const ConfigValue& fields() const noexcept { return fields_; }
  const Tensor& tensor(const std::string& name) const { return file_.at(name); }
  const std::filesystem::path& folder() const noexcept { return folder_; }
  const io::Safetensors& file() const noexcept { return file_; }
  /// What must be compared, in the order of `expect`.
  const std::vector<std::string>& expected() const noexcept { return expected_; }
  bool expects(const std::string& name) const;

  /// Compares numbers of any floating type with the expected tensor `name`, by its tolerance; a
  /// result that the case does not expect is left alone.
  void compare(const std::string& name, ConstView got);
  void compare(const std::string& name, double got);
  /// The same for lists (f64) whose order says nothing.
  void compare_sorted(const std::string& name, std::vector<double> got);
  /// Records whether the parameters are, in their order and to the bit, the tensors of these names.
  void compare_parameters(const ConstParameterList& parameters,
                          const std::vector<std::string>& names);
  /// Records whether something else than numbers is as expected.
  void expect_equal(const std::string& name, bool is_equal);
  /// Records that `name` is not as it should be.
  void fail(const std::string& name, std::string_view problem);

  /// One line of success, or one per failure. What was expected and never compared is a failure.
  GoldenResult result();

 private:
  void compare_with(const std::string& name, ConstView got, ConstView want);
  double tolerance_of(const std::string& name) const;

  Context& ctx_;
  const ConfigValue& fields_;
  std::filesystem::path folder_;
  io::Safetensors file_;
  std::vector<std::string> expected_;
  std::set<std::string> compared_;
  std::vector<std::string> failures_;
  double worst_ratio_ = 0;  // largest error in terms of its tolerance
  std::string worst_name_;
};

// What runs the cases of each kind. Errors: Error, for a case that cannot be run.
void run_layer_case(KerasCase& each);
void run_constraint_case(KerasCase& each);
void run_regularizer_case(KerasCase& each);
void run_model_case(KerasCase& each);
void run_training_case(KerasCase& each);

/// An entry of initializers.json: class, configuration, fans, range and spread of the numbers.
/// Errors: Error, with what is wrong.
void check_initializer(const ConfigValue& entry);
/// An entry of errors.json: arguments and calls that Keras refuses or accepts. Errors: IoError,
/// with what is wrong.
void check_refusal(Context& ctx, const ConfigValue& entry);

}  // namespace grouphead::testing
