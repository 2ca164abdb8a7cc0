// scaled_dot_product_attention() of PyTorch's tensors, for calls that need no more than the
// kernels: what Python would do before and after takes longer than a small call.

#include <nanobind/nanobind.h>

#include "contexts.h"
#include "grouphead/attention.h"
#include "module.h"
#include "options.h"

namespace grouphead::python {
namespace {

nb::handle torch(const char* module, const char* name) {
  return nb::object(nb::module_::import_(module).attr(name)).release();
}

// No subclass, and no gradient to note.
bool is_plain(nb::handle x) {
  static const nb::handle tensor = torch("torch", "Tensor");
  static const nb::handle is_grad_enabled = torch("torch", "is_grad_enabled");
  if (!x.type().is(tensor)) return false;
  return !nb::cast<bool>(x.attr("requires_grad")) || !nb::cast<bool>(is_grad_enabled());
}

bool is_floating(Dtype dtype) {
  return dtype == Dtype::f32 || dtype == Dtype::f64 || dtype == Dtype::bf16;
}

// None: a call that Python has to prepare, or to refuse.
nb::object attend_plain(nb::handle query, nb::handle key, nb::handle value, nb::handle mask,
                        bool is_causal, nb::handle scale, bool enable_gqa) {
  for (const nb::handle x : {query, key, value, mask}) {
    if (!x.is_none() && !is_plain(x)) return nb::none();
  }
  Array q = Array::read(query, {"attention", "q"});
  Array k = Array::read(key, {"attention", "k"});
  Array v = Array::read(value, {"attention", "v"});
  const Array seen = Array::read(mask, {"attention", "mask"});
  const bool has_four_axes = q.view().rank() == 4 && k.view().rank() == 4 && v.view().rank() == 4;
  if (!has_four_axes || !is_floating(q.view().dtype())) return nb::none();
  const auto sizes = [](const Array& x, int axis) { return x.view().dim(axis); };
  if (sizes(q, 0) != sizes(k, 0) || sizes(q, 0) != sizes(v, 0)) return nb::none();
  if (!enable_gqa && (sizes(q, 1) != sizes(k, 1) || sizes(q, 1) != sizes(v, 1))) return nb::none();

  AttentionOptions options{.causal = is_causal};
  if (!scale.is_none()) options.scale = nb::cast<double>(scale);
  if (seen.view().has_value()) {
    const bool is_bias = seen.view().dtype() == q.view().dtype();
    if (!is_bias && seen.view().dtype() != Dtype::boolean) return nb::none();
    (is_bias ? options.bias : options.mask) = as_grid(seen.view());
  }
  const Heads queries = Heads::of(std::move(q), {"attention", "q"}, Layout::bhtd);
  const Heads keys = Heads::of(std::move(k), {"attention", "k"}, Layout::bhtd);
  const Heads values = Heads::of(std::move(v), {"attention", "v"}, Layout::bhtd);
  NewArray out(query, result_shape(*queries, *values), queries->dtype());
  {
    const ContextLease ctx;
    const nb::gil_scoped_release unlocked;
    attention(*ctx, *queries, *keys, *values, options, out.view());
  }
  return out.take().attr("transpose")(1, 2);
}

}  // namespace

void define_torch(nb::module_& m) {
  m.def("_attend_plain", &attend_plain, nb::arg().none(), nb::arg().none(), nb::arg().none(),
        nb::arg().none(), nb::arg(), nb::arg().none(), nb::arg(),
        nb::sig("def _attend_plain(query: object, key: object, value: object, mask: object, "
                "is_causal: bool, scale: float | None, enable_gqa: bool) -> object"));
}

}  // namespace grouphead::python
