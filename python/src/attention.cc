// attention(), attention_backward() and attention_scores() on Python's arrays.

#include "grouphead/attention.h"

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include <array>
#include <string>

#include "contexts.h"
#include "module.h"
#include "options.h"

namespace grouphead::python {
namespace {

Dtype wide(Dtype dtype) { return dtype == Dtype::f64 ? Dtype::f64 : Dtype::f32; }

Shape result_shape(ConstView q, ConstView v) { return {q.dim(0), q.dim(1), q.dim(2), v.dim(3)}; }

void require_floating(Place place, ConstView x) {
  if (x.dtype() == Dtype::f32 || x.dtype() == Dtype::f64 || x.dtype() == Dtype::bf16) return;
  throw_type_error(place, "float32, float64 or bfloat16", name_of(x.dtype()));
}

nb::object attend(nb::handle q, nb::handle k, nb::handle v, const std::string& layout_name,
                  nb::handle out, bool return_lse, bool return_statistics,
                  const nb::kwargs& arguments) {
  constexpr std::string_view kName = "attention";
  const Layout layout = layout_of(kName, layout_name);
  const Heads queries = Heads::read(q, {kName, "q"}, layout);
  const Heads keys = Heads::read(k, {kName, "k"}, layout);
  const Heads values = Heads::read(v, {kName, "v"}, layout);
  require_floating({kName, "q"}, *queries);
  const Options options(kName, arguments);
  HeadsResult result(out, {kName, "out"}, layout, q, result_shape(*queries, *values),
                     queries->dtype());
  for (const ConstView& operand : {*queries, *keys, *values, options->mask, options->bias}) {
    result.require_apart({kName, "out"}, operand);
  }
  const Shape rows = {queries->dim(0), queries->dim(2), queries->dim(1)};
  std::unique_ptr<NewArray> lse;
  std::unique_ptr<NewArray> statistics;
  SoftmaxOutputs softmax;
  if (return_lse) {
    lse = std::make_unique<NewArray>(q, rows, wide(queries->dtype()));
    softmax.lse = lse->view();
  }
  if (return_statistics) {
    statistics =
        std::make_unique<NewArray>(q, Shape{2, rows[0], rows[1], rows[2]}, wide(queries->dtype()));
    softmax.statistics = statistics->view();
  }
  {
    const ContextLease ctx;
    const nb::gil_scoped_release unlocked;
    attention(*ctx, *queries, *keys, *values, *options, result.view(), softmax);
  }
  if (lse && statistics) return nb::make_tuple(result.take(), lse->take(), statistics->take());
  if (lse) return nb::make_tuple(result.take(), lse->take());
  if (statistics) return nb::make_tuple(result.take(), statistics->take());
  return result.take();
}

}  // namespace

void define_attention(nb::module_& m) {
  using namespace nb::literals;  // NOLINT(google-build-using-namespace)
  m.def("attention", &attend, "q"_a, "k"_a, "v"_a, nb::kw_only(), "layout"_a = "BTHD",
        "out"_a = nb::none(), "return_lse"_a = false, "return_statistics"_a = false, "options"_a,
        nb::sig("def attention(q: Array, k: Any, v: Any, *, layout: str = \"BTHD\", "
                "out: Array | None = None, return_lse: bool = False, "
                "return_statistics: bool = False, " GROUPHEAD_OPTION_ARGUMENTS ") -> Any"),
        R"(dropout(softmax(mask(scale q k^T + bias))) v, in O(T + S) memory.)");
}

}  // namespace grouphead::python
