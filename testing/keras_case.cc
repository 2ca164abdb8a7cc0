#include "testing/keras_case.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <compare>
#include <cstring>

#include "ops/convert.h"
#include "testing/compare.h"
#include "testing/inputs.h"

namespace grouphead::testing {
namespace {

/// f32 and f64 stay; other floating types become f32.
Tensor as_numbers(Context& ctx, const ConstView& x) {
  Tensor numbers = ctx.tensor(x.shape(), x.dtype() == Dtype::f64 ? Dtype::f64 : Dtype::f32);
  ops::convert_rounded(x, numbers.dtype(), numbers);
  return numbers;
}

}  // namespace

void require_known_fields(const ConfigValue& object, std::string_view what,
                          std::initializer_list<std::string_view> known) {
  for (const auto& [key, value] : object.as_object(what)) {
    if (std::find(known.begin(), known.end(), key) == known.end()) {
      throw IoError(fmt::format("[golden] {}: expected no unknown field, got {}", what, key));
    }
  }
}

KerasCase::KerasCase(Context& ctx, const ConfigValue& fields, const std::filesystem::path& folder)
    : ctx_(ctx),
      fields_(fields),
      folder_(folder),
      file_(io::read_safetensors(folder / fields["file"].as_string("file"))) {
  for (const ConfigValue& name : fields["expect"].as_list("expect")) {
    expected_.push_back(name.as_string("expect"));
  }
}

bool KerasCase::expects(const std::string& name) const {
  return std::find(expected_.begin(), expected_.end(), name) != expected_.end();
}

double KerasCase::tolerance_of(const std::string& name) const {
  return fields_["tolerance"][name]["atol"].as_number("tolerance of " + name);
}

void KerasCase::compare(const std::string& name, ConstView got) {
  if (!expects(name)) return;
  compare_with(name, got, tensor(name));
}

void KerasCase::compare_with(const std::string& name, ConstView got, ConstView want) {
  compared_.insert(name);
  if (!got.has_value()) return fail(name, "expected a result, got nothing");
  if (!ops::is_floating(got.dtype())) return fail(name, "expected numbers");
  try {
    const Comparison result =
        testing::compare(name, as_numbers(ctx_, got), as_numbers(ctx_, want), tolerance_of(name));
    if (!result.ok()) failures_.push_back(result.to_string());
    if (result.worst >= 0 && result.error > worst_ratio_ * result.bound) {
      worst_ratio_ = result.error / result.bound;
      worst_name_ = name;
    }
  } catch (const Error& error) {
    failures_.emplace_back(error.what());
  }
}

void KerasCase::compare(const std::string& name, double got) {
  compare(name, ConstView(&got, Shape{}));
}

void KerasCase::compare_sorted(const std::string& name, std::vector<double> got) {
  if (!expects(name)) return;
  // A total order: NaN has a place in it too.
  const auto is_less = [](double a, double b) { return std::strong_order(a, b) < 0; };
  std::sort(got.begin(), got.end(), is_less);
  Tensor want = ctx_.tensor(tensor(name).shape(), Dtype::f64);
  ops::convert_rounded(tensor(name), Dtype::f64, want);
  std::sort(want.data<double>(), want.data<double>() + want.size(), is_less);
  compare_with(name, ConstView(got.data(), {static_cast<Index>(got.size())}), want);
}

void KerasCase::compare_parameters(const ConstParameterList& parameters,
                                   const std::vector<std::string>& names) {
  if (parameters.size() != names.size()) {
    return fail("weights", fmt::format("expected {}, got {}", names.size(), parameters.size()));
  }
  for (std::size_t i = 0; i < names.size(); ++i) {
    const ConstView got = parameters[i].parameter->value();
    const Tensor& want = tensor(names[i]);
    if (got.dtype() != want.dtype() || got.shape() != want.shape() ||
        std::memcmp(got.raw(), want.view().raw(), static_cast<std::size_t>(got.bytes())) != 0) {
      fail(names[i], "differs from " + parameters[i].path);
    }
  }
}

void KerasCase::expect_equal(const std::string& name, bool is_equal) {
  compared_.insert(name);
  if (!is_equal) fail(name, "differs");
}

void KerasCase::fail(const std::string& name, std::string_view problem) {
  compared_.insert(name);
  failures_.push_back(fmt::format("{}: {}", name, problem));
}

GoldenResult KerasCase::result() {
  const std::string& name = fields_["name"].as_string("name");
  for (const std::string& each : expected_) {
    if (!compared_.contains(each)) fail(each, "expected by the case, but nothing computes it");
  }
  if (expected_.empty()) failures_.emplace_back("expect: names no result");
  if (failures_.empty()) {
    return {true,
            fmt::format("{}: {} results, at most {:.3f} of the tolerance{}", name, expected_.size(),
                        worst_ratio_, worst_name_.empty() ? "" : " in " + worst_name_)};
  }
  return {false, fmt::format("{}: {}", name, fmt::join(failures_, "\n       " + name + ": "))};
}

}  // namespace grouphead::testing
