// attention(), attention_backward() and attention_scores() on Python's arrays.

#include "grouphead/attention.h"

#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "contexts.h"
#include "module.h"
#include "options.h"

namespace grouphead::python {
namespace {

Dtype wide(Dtype dtype) { return dtype == Dtype::f64 ? Dtype::f64 : Dtype::f32; }

nb::object attend(nb::handle q, nb::handle k, nb::handle v, const std::string& layout_name,
                  const std::optional<std::string>& out_layout_name, nb::handle out,
                  bool return_lse, bool return_statistics, const nb::kwargs& arguments) {
  constexpr std::string_view kName = "attention";
  const Layout layout = layout_of(kName, layout_name);
  const Layout out_layout = layout_of(kName, out_layout_name.value_or(layout_name));
  const Heads queries = Heads::read_floating(q, {kName, "q"}, layout);
  const Heads keys = Heads::read(k, {kName, "k"}, layout);
  const Heads values = Heads::read(v, {kName, "v"}, layout);
  const Options options(kName, arguments, queries->dtype());
  HeadsResult result(out, {kName, "out"}, out_layout, q, result_shape(*queries, *values),
                     queries->dtype());
  for (const ConstView& operand : {*queries, *keys, *values, options->mask, options->bias}) {
    result.require_apart({kName, "out"}, operand);
  }
  const Shape rows = {queries->dim(0), queries->dim(2), queries->dim(1)};
  std::optional<NewArray> lse;
  std::optional<NewArray> statistics;
  SoftmaxOutputs softmax;
  if (return_lse) softmax.lse = lse.emplace(q, rows, wide(queries->dtype())).view();
  if (return_statistics) {
    const Shape two_rows = {2, rows[0], rows[1], rows[2]};
    softmax.statistics = statistics.emplace(q, two_rows, wide(queries->dtype())).view();
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

nb::object scores_of(nb::handle q, nb::handle k, nb::handle statistics,
                     const std::string& layout_name, const nb::kwargs& arguments) {
  constexpr std::string_view kName = "attention_scores";
  const Layout layout = layout_of(kName, layout_name);
  const Heads queries = Heads::read_floating(q, {kName, "q"}, layout);
  const Heads keys = Heads::read(k, {kName, "k"}, layout);
  const Array rows = Array::read(statistics, {kName, "statistics"});
  const Options options(kName, arguments, queries->dtype());
  NewArray scores(q, {queries->dim(0), queries->dim(2), queries->dim(1), keys->dim(1)},
                  wide(queries->dtype()));
  {
    const ContextLease ctx;
    const nb::gil_scoped_release unlocked;
    attention_scores(*ctx, *queries, *keys, *options, rows.view(), scores.view());
  }
  return scores.take();
}

// Which gradients are wanted, by their operands' names; absent: all.
class Needs {
 public:
  explicit Needs(const std::optional<std::vector<std::string>>& names) : names_(names) {
    if (!names_) return;
    for (const std::string& name : *names_) {
      if (std::find(kOperands.begin(), kOperands.end(), name) == kOperands.end()) {
        throw ConfigError("[attention_backward] needs: expected q, k, v, bias and sinks, got " +
                          name);
      }
    }
  }
  bool operator[](std::string_view name) const {
    return !names_ || std::find(names_->begin(), names_->end(), name) != names_->end();
  }

 private:
  static constexpr std::array<std::string_view, 5> kOperands = {"q", "k", "v", "bias", "sinks"};
  const std::optional<std::vector<std::string>>& names_;
};

nb::object gradients_of(nb::handle q, nb::handle k, nb::handle v, nb::handle d_out, nb::handle out,
                        nb::handle statistics, const std::string& layout_name,
                        const std::optional<std::string>& out_layout_name, nb::handle d_scores,
                        const std::optional<std::vector<std::string>>& names,
                        const nb::kwargs& arguments) {
  constexpr std::string_view kName = "attention_backward";
  const Layout layout = layout_of(kName, layout_name);
  const Layout out_layout = layout_of(kName, out_layout_name.value_or(layout_name));
  const Needs needs(names);
  const Heads queries = Heads::read_floating(q, {kName, "q"}, layout);
  const Heads keys = Heads::read(k, {kName, "k"}, layout);
  const Heads values = Heads::read(v, {kName, "v"}, layout);
  const Heads result = Heads::read(out, {kName, "out"}, out_layout);
  const Heads d_result = Heads::read(d_out, {kName, "d_out"}, out_layout);
  const Array rows = Array::read(statistics, {kName, "statistics"});
  const Array d_probs = Array::read(d_scores, {kName, "d_scores"});
  const Options options(kName, arguments, queries->dtype());

  AttentionGradients g{.d_out = *d_result, .d_scores = d_probs.view()};
  std::optional<HeadsResult> d_heads[3];
  const auto want = [&](int i, const char* name, nb::handle like, ConstView x) {
    if (!needs[name]) return View();
    return d_heads[i]
        .emplace(nb::none(), Place{kName, name}, layout, like, x.shape(), x.dtype())
        .view();
  };
  g.d_q = want(0, "q", q, *queries);
  g.d_k = want(1, "k", k, *keys);
  g.d_v = want(2, "v", v, *values);
  std::optional<NewArray> d_bias;
  std::optional<NewArray> d_sinks;
  if (options->bias.has_value() && needs["bias"]) {
    d_bias.emplace(arguments["bias"], options.bias_shape(), options->bias.dtype());
    g.d_bias = d_bias->view().reshaped(options->bias.shape());
  }
  if (options->sinks.has_value() && needs["sinks"]) {
    d_sinks.emplace(arguments["sinks"], options->sinks.shape(), options->sinks.dtype());
    g.d_sinks = d_sinks->view();
  }
  {
    const ContextLease ctx;
    const nb::gil_scoped_release unlocked;
    attention_backward(*ctx, *queries, *keys, *values, *options, *result, rows.view(), g);
  }
  const auto take = [](auto& made) { return made ? made->take() : nb::object(nb::none()); };
  static const nb::handle kind =
      nb::object(nb::module_::import_("grouphead._results").attr("AttentionGradients")).release();
  return kind(take(d_heads[0]), take(d_heads[1]), take(d_heads[2]), take(d_bias), take(d_sinks));
}

constexpr const char* kAttentionDoc =
    R"(Attention: dropout(softmax(mask(scale q k^T + bias))) v, in O(T + S) memory.

Query head h reads key/value head h // (Hq // Hkv): Hkv = Hq is multi-head attention, fewer
key/value heads are grouped-query attention, one is multi-query attention.

Arrays are NumPy's, PyTorch's, JAX's, or anything else with DLPack in the CPU's memory; the
result is of q's kind. Nothing is copied unless the last axis is strided.

Args:
    q: queries [B, T, Hq, D], float32, float64 or bfloat16.
    k: keys [B, S, Hkv, D], of q's type.
    v: values [B, S, Hkv, Dv], of q's type.
    layout: "BTHD", or "BHTD" for arrays with the heads before the positions.
    out_layout: of the result; None: layout.
    out: where to write the result, [B, T, Hq, Dv]; None: a new array.
    return_lse: also return log(sum(exp(logits))), [B, Hq, T].
    return_statistics: also return [2, B, Hq, T], what attention_backward() and
        attention_scores() read.
    scale: of the products q k; None: 1 / sqrt(D).
    causal: key j is visible to query t if j <= t + causal_offset.
    causal_offset: the position of query 0 among the keys; S - T lets the last query meet the
        last key.
    window_left, window_right: visible keys are those from t + causal_offset - window_left to
        t + causal_offset + window_right; None: no limit.
    mask: bool or uint8, True = visible; [B or 1, Hq or 1, T or 1, S or 1], leading axes may be
        missing.
    key_mask: bool or uint8 [B, S], which keys are real.
    query_mask: bool or uint8 [B, T]; the other queries see no key.
    bias: added to the scaled products, of q's type, shaped as mask; -inf hides a key.
    softcap: c > 0 makes c tanh(x / c) of each scaled product x.
    alibi_slopes: [Hq]; slope |t + causal_offset - j| is subtracted.
    sinks: [Hq]; one more logit for each head in the sum of the softmax, without a value.
    lengths: int32 or int64 [B]; entry b has its first lengths[b] keys, and its queries end
        with them.
    segments, key_segments: int32 or int64 [N + 1] from 0; packed sequences that do not see
        each other, in a batch of 1.
    masked_rows: what a query without a visible key gives: "zeros", or "uniform" for the mean
        of all values.
    dropout_rate: of the probabilities, in [0, 1].
    draw: which ones drop: a seed, or (seed, number of the draw).

Returns:
    The result, or a tuple of the result and what was asked for, in the order above.

Raises:
    ShapeError, ConfigError (both ValueError): operands or options that do not fit.
    TypeError: an argument that is no array, or of another element type.
)";

constexpr const char* kScoresDoc =
    R"(The probabilities of attention() before dropout, [B, Hq, T, S]; of bfloat16 in float32.

Args:
    q, k, layout: as in attention().
    statistics: what attention(..., return_statistics=True) gave for the same operands.
    options: those of the attention() call.

Raises:
    As attention().
)";

constexpr const char* kBackwardDoc =
    R"(The gradients of attention() and attention_scores().

Args:
    q, k, v, layout, out_layout: as in attention().
    d_out: the gradient of the result, [B, T, Hq, Dv].
    out, statistics: what attention(..., return_statistics=True) gave for the same operands.
    d_scores: the gradient of attention_scores(), [B, Hq, T, S]; None: zero.
    needs: names of the operands whose gradients are wanted, of "q", "k", "v", "bias" and
        "sinks"; None: of all that there are.
    options: those of the attention() call.

Returns:
    AttentionGradients(d_q, d_k, d_v, d_bias, d_sinks), each of its operand's shape; None for
    what is not there or not wanted.

Raises:
    As attention().
)";

}  // namespace

void define_attention(nb::module_& m) {
  using namespace nb::literals;  // NOLINT(google-build-using-namespace)
  m.def(
      "attention", &attend, "q"_a, "k"_a, "v"_a, nb::kw_only(), "layout"_a = "BTHD",
      "out_layout"_a = nb::none(), "out"_a = nb::none(), "return_lse"_a = false,
      "return_statistics"_a = false, "options"_a,
      nb::sig("def attention(q: Array, k: typing.Any, v: typing.Any, *, layout: str = \"BTHD\", "
              "out_layout: str | None = None, out: Array | None = None, return_lse: bool = False, "
              "return_statistics: bool = False, " GROUPHEAD_OPTION_ARGUMENTS ") -> typing.Any"),
      kAttentionDoc);
  m.def("attention_scores", &scores_of, "q"_a, "k"_a, "statistics"_a, nb::kw_only(),
        "layout"_a = "BTHD", "options"_a,
        nb::sig("def attention_scores(q: Array, k: typing.Any, statistics: typing.Any, *, "
                "layout: str = \"BTHD\", " GROUPHEAD_OPTION_ARGUMENTS ") -> Array"),
        kScoresDoc);
  m.def("attention_backward", &gradients_of, "q"_a, "k"_a, "v"_a, "d_out"_a, nb::kw_only(), "out"_a,
        "statistics"_a, "layout"_a = "BTHD", "out_layout"_a = nb::none(), "d_scores"_a = nb::none(),
        "needs"_a = nb::none(), "options"_a,
        nb::sig("def attention_backward(q: typing.Any, k: typing.Any, v: typing.Any, d_out: "
                "typing.Any, *, out: typing.Any, "
                "statistics: typing.Any, layout: str = \"BTHD\", out_layout: str | None = None, "
                "d_scores: typing.Any = None, "
                "needs: collections.abc.Sequence[str] | None = None, " GROUPHEAD_OPTION_ARGUMENTS
                ") -> tuple"),
        kBackwardDoc);
  m.def("alibi_slopes", &alibi_slopes, "num_heads"_a,
        "The slopes of ALiBi for `num_heads` heads, for the option `alibi_slopes`.\n\n"
        "Source: Press et al. 2022, arXiv:2108.12409. Raises ConfigError below 1.");
}

}  // namespace grouphead::python
