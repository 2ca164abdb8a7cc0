// scaled_dot_product_attention() of PyTorch's tensors, for calls that need no more than the
// kernels, and its gradients: what Python would do before and after takes longer than a small call.

#include <nanobind/nanobind.h>

#include <array>

#include "contexts.h"
#include "grouphead/attention.h"
#include "module.h"
#include "options.h"

namespace grouphead::python {
namespace {

nb::handle torch(const char* module, const char* name) {
  return nb::object(nb::module_::import_(module).attr(name)).release();
}

bool requires_grad(nb::handle x) {
  static const nb::handle name = nb::str("requires_grad").release();
  const auto value = nb::steal(PyObject_GetAttr(x.ptr(), name.ptr()));
  if (!value.is_valid()) nb::raise_python_error();
  return value.is(Py_True);
}

bool is_grad_enabled() {
  static const nb::handle function = torch("torch", "is_grad_enabled");
  return function().is(Py_True);
}

// No subclass but PyTorch's own.
bool is_tensor(nb::handle x) {
  static const nb::handle tensor = torch("torch", "Tensor");
  static const nb::handle parameter = torch("torch.nn", "Parameter");
  return x.type().is(tensor) || x.type().is(parameter);
}

bool is_floating(Dtype dtype) {
  return dtype == Dtype::f32 || dtype == Dtype::f64 || dtype == Dtype::bf16;
}

bool has_dense_rows(const ConstView& x) { return x.dim(3) <= 1 || x.stride(3) == 1; }

// A call whose tensors the kernels take as they are, [B, H, T, D] seen as [B, T, H, D].
struct Call {
  ConstView q;
  ConstView k;
  ConstView v;
  AttentionOptions options;

  // False: it has to be prepared, or refused.
  bool read(nb::handle query, nb::handle key, nb::handle value, nb::handle mask, bool is_causal,
            nb::handle scale) {
    q = tensor_view(query);
    k = tensor_view(key);
    v = tensor_view(value);
    for (const ConstView& x : {q, k, v}) {
      if (!x.has_value() || x.rank() != 4 || !has_dense_rows(x)) return false;
    }
    if (!is_floating(q.dtype())) return false;
    options.causal = is_causal;
    if (!scale.is_none()) {
      options.scale = PyFloat_AsDouble(scale.ptr());
      if (PyErr_Occurred() != nullptr) {
        PyErr_Clear();
        return false;
      }
    }
    q = swapped(q);
    k = swapped(k);
    v = swapped(v);
    return mask.is_none() || read_mask(mask);
  }

  bool read_mask(nb::handle mask) {
    const ConstView seen = tensor_view(mask);
    const bool is_bias = seen.has_value() && seen.dtype() == q.dtype();
    if (options.causal || (!is_bias && (!seen.has_value() || seen.dtype() != Dtype::boolean))) {
      return false;
    }
    (is_bias ? options.bias : options.mask) = as_grid(seen);
    return true;
  }

  // As attend_plain() has read it, in this call or before.
  void read_again(nb::handle query, nb::handle key, nb::handle value, nb::handle mask,
                  bool is_causal, nb::handle scale) {
    if (!read(query, key, value, mask, is_causal, scale)) {
      throw_shape_error({"attention", "operands"}, "those of the call before", "others");
    }
  }

  // In memory [B, T, H, D], as PyTorch's own has it: what joins the heads copies nothing.
  NewTensor new_result(nb::handle query) const {
    const Shape shape = {q.dim(0), q.dim(2), q.dim(1), v.dim(3)};
    return new_heads(query, shape, q.dtype(), true);
  }
};

// None: a call that Python has to prepare, or to refuse. True: one whose gradients are wanted.
nb::object attend_plain(nb::handle query, nb::handle key, nb::handle value, nb::handle mask,
                        bool is_causal, nb::handle scale, bool enable_gqa) {
  bool is_noted = false;
  for (const nb::handle x : {query, key, value, mask}) {
    if (x.is_none()) continue;
    if (!is_tensor(x)) return nb::none();
    is_noted = is_noted || requires_grad(x);
  }
  Call call;
  if (!call.read(query, key, value, mask, is_causal, scale)) return nb::none();
  const ConstView& q = call.q;
  if (q.dim(0) != call.k.dim(0) || q.dim(0) != call.v.dim(0)) return nb::none();
  if (!enable_gqa && (q.dim(2) != call.k.dim(2) || q.dim(2) != call.v.dim(2))) return nb::none();
  if (is_noted && is_grad_enabled()) return nb::borrow(Py_True);
  NewTensor out = call.new_result(query);
  {
    const ContextLease ctx;
    const nb::gil_scoped_release unlocked;
    attention(*ctx, call.q, call.k, call.v, call.options, swapped(out.view));
  }
  return std::move(out.object);
}

// Of a call for which attend_plain() gave True: the result, and the statistics [2, B, Hq, T].
nb::object attend_noting(nb::handle query, nb::handle key, nb::handle value, nb::handle mask,
                         bool is_causal, nb::handle scale) {
  Call call;
  call.read_again(query, key, value, mask, is_causal, scale);
  NewTensor out = call.new_result(query);
  NewTensor statistics = new_heads(query, {2, call.q.dim(0), call.q.dim(2), call.q.dim(1)},
                                   call.q.dtype() == Dtype::f64 ? Dtype::f64 : Dtype::f32, false);
  {
    const ContextLease ctx;
    const nb::gil_scoped_release unlocked;
    attention(*ctx, call.q, call.k, call.v, call.options, swapped(out.view),
              {.statistics = statistics.view});
  }
  return nb::make_tuple(std::move(out.object), std::move(statistics.object));
}

// Entry i of the tuple that `object` has under a name.
class TupleOf {
 public:
  TupleOf(nb::handle object, nb::handle name)
      : tuple_(nb::steal(PyObject_GetAttr(object.ptr(), name.ptr()))) {
    if (!tuple_.is_valid()) nb::raise_python_error();
  }
  nb::handle operator[](Py_ssize_t i) const { return PyTuple_GetItem(tuple_.ptr(), i); }

 private:
  nb::object tuple_;
};

// The gradients of query, key, value and a floating mask where they are needed, and None for the
// two arguments behind them. `noted`: what the forward saved, (out, query, key, value, mask), and
// its `settings`, (statistics, is_causal, scale).
nb::object gradients_plain(nb::handle noted, nb::handle d_out) {
  static const nb::handle saved_name = nb::str("saved_tensors").release();
  static const nb::handle settings_name = nb::str("settings").release();
  static const nb::handle needs_name = nb::str("needs_input_grad").release();
  const TupleOf saved(noted, saved_name);
  const TupleOf settings(noted, settings_name);
  const TupleOf needs(noted, needs_name);
  const nb::handle out = saved[0], query = saved[1], key = saved[2], value = saved[3];
  const nb::handle mask = saved[4];
  Call call;
  call.read_again(query, key, value, mask, settings[1].is(Py_True), settings[2]);
  const Heads d_result = Heads::read(d_out, {"attention_backward", "d_out"}, Layout::bhtd);
  AttentionGradients gradients{.d_out = *d_result};
  std::array<nb::object, 4> made = {nb::none(), nb::none(), nb::none(), nb::none()};
  const auto is_needed = [&](std::size_t i) {
    return needs[static_cast<Py_ssize_t>(i)].is(Py_True);
  };
  const auto want = [&](std::size_t i, nb::handle like, const ConstView& x) -> View {
    if (!is_needed(i)) return {};
    // In the operand's order in memory: what it was made from takes it as it is.
    NewTensor d_x = new_heads(like, swapped(x).shape(), x.dtype(), x.stride(1) > x.stride(2));
    made[i] = std::move(d_x.object);
    return swapped(d_x.view);
  };
  gradients.d_q = want(0, query, call.q);
  gradients.d_k = want(1, key, call.k);
  gradients.d_v = want(2, value, call.v);
  if (call.options.bias.has_value() && is_needed(3)) {
    NewArray d_bias(mask, tensor_view(mask).shape(), call.q.dtype());
    gradients.d_bias = d_bias.view().reshaped(call.options.bias.shape());
    made[3] = d_bias.take();
  }
  {
    const ContextLease ctx;
    const nb::gil_scoped_release unlocked;
    attention_backward(*ctx, call.q, call.k, call.v, call.options, swapped(tensor_view(out)),
                       tensor_view(settings[0]), gradients);
  }
  return nb::make_tuple(made[0], made[1], made[2], made[3], nb::none(), nb::none());
}

}  // namespace

void define_torch(nb::module_& m) {
#define GROUPHEAD_OPERANDS \
  "query: object, key: object, value: object, mask: object, is_causal: bool, scale: float | None"
  m.def("_attend_plain", &attend_plain, nb::arg().none(), nb::arg().none(), nb::arg().none(),
        nb::arg().none(), nb::arg(), nb::arg().none(), nb::arg(),
        nb::sig("def _attend_plain(" GROUPHEAD_OPERANDS ", enable_gqa: bool) -> object"));
  m.def("_attend_noting", &attend_noting, nb::arg(), nb::arg(), nb::arg(), nb::arg().none(),
        nb::arg(), nb::arg().none(),
        nb::sig("def _attend_noting(" GROUPHEAD_OPERANDS ") -> tuple"));
  m.def("_gradients_plain", &gradients_plain,
        nb::sig("def _gradients_plain(ctx: object, d_out: object) -> tuple"));
#undef GROUPHEAD_OPERANDS
}

}  // namespace grouphead::python
