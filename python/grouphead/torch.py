"""Attention for PyTorch on the CPU: with gradients, under torch.compile and torch.func.vmap.

`scaled_dot_product_attention` has PyTorch's signature, and `enable()` puts it in the place of
PyTorch's own. `attention` and `varlen_attention` have all options of grouphead.attention.
"""

import functools
import math

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from . import _core

__all__ = [
    "attention",
    "disable",
    "enable",
    "scaled_dot_product_attention",
    "varlen_attention",
]

# The operator's arguments behind q, k and v: tensors by position, all else by keyword.
_TENSORS = _core._array_options
_DIFFERENTIABLE = {0: "q", 1: "k", 2: "v", 3 + _TENSORS.index("bias"): "bias"}
_DIFFERENTIABLE[3 + _TENSORS.index("sinks")] = "sinks"
_ARGUMENTS = (
    "Tensor q, Tensor k, Tensor v, "
    + ", ".join(f"Tensor? {name}" for name in _TENSORS)
    + ", *, str layout='BTHD', str? out_layout=None, float? scale=None, bool causal=False, "
    "int causal_offset=0, int? window_left=None, int? window_right=None, float? softcap=None, "
    "str masked_rows='zeros', float dropout_rate=0.0"
)
torch.library.define("grouphead::attention", f"({_ARGUMENTS}) -> (Tensor, Tensor)")
torch.library.define(
    "grouphead::attention_backward",
    f"(Tensor d_out, Tensor out, Tensor statistics, str[] needs, {_ARGUMENTS}) -> Tensor[]",
)


def _options(tensors, rest):
    options = {name: x for name, x in zip(_TENSORS, tensors) if x is not None}
    if "draw" in options:
        options["draw"] = int(options["draw"])
    return {**options, **rest}


def _forward(q, k, v, *tensors, **rest):
    return _core.attention(q, k, v, return_statistics=True, **_options(tensors, rest))


def _backward(d_out, out, statistics, needs, q, k, v, *tensors, **rest):
    gradients = _core.attention_backward(
        q, k, v, d_out, out=out, statistics=statistics, needs=needs, **_options(tensors, rest)
    )
    return [gradient for gradient in gradients if gradient is not None]


torch.library.impl("grouphead::attention", "cpu", _forward)
torch.library.impl("grouphead::attention_backward", "cpu", _backward)


@torch.library.register_fake("grouphead::attention")
def _forward_fake(q, k, v, *tensors, layout="BTHD", out_layout=None, **rest):
    batch, *_ = q.shape
    heads, rows = (q.shape[1], q.shape[2]) if layout == "BHTD" else (q.shape[2], q.shape[1])
    inner = (heads, rows) if (out_layout or layout) == "BHTD" else (rows, heads)
    wide = torch.float64 if q.dtype == torch.float64 else torch.float32
    return (
        q.new_empty((batch, *inner, v.shape[3])),
        q.new_empty((2, batch, heads, rows), dtype=wide),
    )


@torch.library.register_fake("grouphead::attention_backward")
def _backward_fake(d_out, out, statistics, needs, *inputs, **rest):
    return [
        torch.empty_like(inputs[i], memory_format=torch.contiguous_format)
        for i, name in _DIFFERENTIABLE.items()
        if name in needs
    ]


def _setup_context(ctx, inputs, keyword_only_inputs, output):
    ctx.save_for_backward(*inputs, *output)
    ctx.rest = keyword_only_inputs


def _input_gradients(ctx, d_out, needed, backward):
    *inputs, out, statistics = ctx.saved_tensors
    needs = {i: name for i, name in _DIFFERENTIABLE.items() if needed[i]}
    gradients = backward(d_out, out, statistics, list(needs.values()), *inputs, **ctx.rest)
    result = [None] * len(inputs)
    for i, gradient in zip(needs, gradients):
        result[i] = gradient
    return tuple(result)


def _gradients(ctx, d_out, d_statistics):
    return _input_gradients(
        ctx, d_out, ctx.needs_input_grad, torch.ops.grouphead.attention_backward
    )


torch.library.register_autograd(
    "grouphead::attention", _gradients, setup_context=_setup_context
)


@torch.library.register_vmap("grouphead::attention")
def _vmap(info, in_dims, q, k, v, *tensors, **rest):
    """The mapped axis joins the batch; what is not mapped is repeated by a stride of 0."""
    size = info.batch_size
    batch = (q if in_dims[0] is None else q.movedim(in_dims[0], 0)[0]).shape[0]

    def joined(x, dim, name):
        if x is None or (dim is None and name in ("alibi_slopes", "sinks", "draw")):
            return x
        if name in ("alibi_slopes", "sinks", "draw", "segments", "key_segments"):
            raise NotImplementedError(
                f"[attention] {name}: expected what vmap can map, without segments and with one "
                "tensor of sinks, slopes and draws for all"
            )
        x = x.expand(size, *x.shape) if dim is None else x.movedim(dim, 0)
        if name in ("mask", "bias"):
            x = x[(slice(None), *[None] * (5 - x.dim()))]
            if x.shape[1] == 1 and batch > 1:
                x = x.expand(size, batch, *x.shape[2:])
        return x.flatten(0, 1)

    named = zip(("q", "k", "v", *_TENSORS), (q, k, v, *tensors), in_dims)
    out, statistics = torch.ops.grouphead.attention(
        *(joined(x, dim, name) for name, x, dim in named), **rest
    )
    return (
        (out.unflatten(0, (size, batch)), statistics.unflatten(1, (size, batch))),
        (0, 1),
    )


class _Plain(torch.autograd.Function):
    """What `_core._attend_plain` would compute, with gradients."""

    @staticmethod
    def forward(ctx, query, key, value, attn_mask, is_causal, scale):
        out, statistics = _core._attend_noting(query, key, value, attn_mask, is_causal, scale)
        ctx.save_for_backward(out, query, key, value, attn_mask)
        # `statistics` is no tensor of the call: it lives as long as the graph does.
        ctx.settings = statistics, is_causal, scale
        return out

    @staticmethod
    def backward(ctx, d_out):
        gradients = _gradients_once if torch.is_grad_enabled() else _core._gradients_plain
        return gradients(ctx, d_out)


_gradients_once = once_differentiable(_core._gradients_plain)
# Without Python's way there, which is for what _is_traced() tells apart.
_apply_plain = super(torch.autograd.Function, _Plain).apply


class _Eager(torch.autograd.Function):
    """The operator without its dispatch, which takes longer than a small call."""

    @staticmethod
    def forward(ctx, rest, *inputs):
        out, statistics = _forward(*inputs, **rest)
        ctx.save_for_backward(*inputs, out, statistics)
        ctx.rest = rest
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, d_out):
        return (None, *_input_gradients(ctx, d_out, ctx.needs_input_grad[1:], _backward))


def _is_traced():
    """Whether something else than autograd follows the calls: a compiler, vmap, a mode."""
    return (
        torch.compiler.is_compiling()
        or torch._C._are_functorch_transforms_active()
        or torch._C._len_torch_dispatch_stack() > 0
    )


def _route(tensors):
    """How to call: "directly", with "gradients", or by the "operator", which can be traced."""
    if _is_traced():
        return "operator"
    route = "directly"
    is_noting = torch.is_grad_enabled()
    for x in tensors:
        if type(x) is Tensor or type(x) is torch.nn.Parameter:
            if is_noting and x.requires_grad:
                route = "gradients"
        elif isinstance(x, Tensor):
            return "operator"
    return route


def attention(q, k, v, **options):
    """grouphead.attention() on tensors, with gradients for q, k, v, bias and sinks.

    Args:
        q, k, v: [B, T, Hq, D], [B, S, Hkv, D], [B, S, Hkv, Dv] in the CPU's memory, float32,
            float64 or bfloat16; with layout="BHTD" the heads before the positions.
        options: those of grouphead.attention() but out, return_lse and return_statistics. Tensors
            for the arrays. draw=None takes a seed from PyTorch's generator.

    Returns:
        [B, T, Hq, Dv], or as out_layout says.

    Raises:
        ShapeError, ConfigError (both ValueError), TypeError: as grouphead.attention().
    """
    if options.get("dropout_rate") and options.get("draw") is None:
        options["draw"] = torch.randint(2**62, ())
    route = _route((q, k, v, *options.values()))
    if route == "directly":
        if isinstance(options.get("draw"), Tensor):
            options["draw"] = int(options["draw"])
        return _core.attention(q, k, v, **options)
    if isinstance(options.get("draw"), int):
        options["draw"] = torch.tensor(options["draw"])
    inputs = (q, k, v, *(options.pop(name, None) for name in _TENSORS))
    if route == "gradients":
        return _Eager.apply(options, *inputs)
    return torch.ops.grouphead.attention(*inputs, **options)[0]


def varlen_attention(q, k, v, cu_seqlens_q, cu_seqlens_k=None, **options):
    """Attention of packed sequences, which do not see each other.

    Args:
        q, k, v: [T, Hq, D], [S, Hkv, D], [S, Hkv, Dv]: all sequences, one behind the other.
        cu_seqlens_q: int32 or int64 [N + 1]: sequence n has the queries cu_seqlens_q[n] to
            cu_seqlens_q[n + 1] - 1.
        cu_seqlens_k: the same of keys; None: as the queries.
        options: as attention(); positions count within each sequence.

    Returns:
        [T, Hq, Dv].

    Raises:
        As attention().
    """
    options.update(segments=cu_seqlens_q, key_segments=cu_seqlens_k)
    return attention(q[None], k[None], v[None], **options)[0]


def scaled_dot_product_attention(
    query,
    key,
    value,
    attn_mask=None,
    dropout_p=0.0,
    is_causal=False,
    *,
    scale=None,
    enable_gqa=False,
):
    """torch.nn.functional.scaled_dot_product_attention on these kernels, with its arguments.

    Args:
        query: [..., Hq, L, E], float32, float64 or bfloat16 in the CPU's memory.
        key: [..., H, S, E].
        value: [..., H, S, Ev].
        attn_mask: bool (True = visible) or floating (added), broadcasts to [..., Hq, L, S].
        dropout_p: rate of the probabilities that are dropped, always; a seed comes from PyTorch's
            generator.
        is_causal: query i sees the keys up to i; not with attn_mask.
        scale: of the products; None: 1 / sqrt(E).
        enable_gqa: key and value may have fewer heads, of which each serves Hq / H query heads.

    Returns:
        [..., Hq, L, Ev]. A query that sees no key gives zeros.

    Raises:
        ShapeError, ConfigError (both ValueError), TypeError.
    """
    out = _attend_plain(query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa)
    if out is not None:
        return out
    return _attend_prepared(
        query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa
    )


def _attend_plain(query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa):
    """The call where it takes no more than the kernels; None where it does."""
    if dropout_p != 0 or _is_traced():
        return None
    out = _core._attend_plain(query, key, value, attn_mask, is_causal, scale, enable_gqa)
    if out is True:
        return _apply_plain(query, key, value, attn_mask, is_causal, scale)
    return out


def _attend_prepared(query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa):
    if attn_mask is not None and is_causal:
        raise _core.ConfigError(
            "[scaled_dot_product_attention] is_causal: expected False, as there is attn_mask"
        )
    if (
        query.dim() == key.dim() == value.dim() == 4
        and query.shape[0] == key.shape[0] == value.shape[0]
        and (enable_gqa or query.shape[1] == key.shape[1] == value.shape[1])
    ):
        return _four_axes(query, key, value, attn_mask, dropout_p, is_causal, scale)
    return _broadcast(
        query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa=enable_gqa
    )


def _broadcast(query, key, value, attn_mask, *rest, enable_gqa):
    """Tensors of other numbers of axes, and such that broadcast, brought to [B, H, L, E]."""
    tensors = (query, key, value)
    has_heads = max(x.dim() for x in tensors) > 2
    try:
        tensors = [x[None] if x.dim() == 2 else x for x in tensors]
        batch = torch.broadcast_shapes(*(x.shape[:-3] for x in tensors))
        heads = [x.shape[-3] for x in tensors]
        if not enable_gqa:
            heads = 3 * torch.broadcast_shapes(*((h,) for h in heads))
        size = math.prod(batch)
        tensors = [
            x.expand(*batch, h, *x.shape[-2:]).reshape(size, h, *x.shape[-2:])
            for x, h in zip(tensors, heads)
        ]
        if attn_mask is not None and attn_mask.dim() > 3:
            kept = attn_mask.shape[-3:]
            attn_mask = attn_mask.expand(*batch, *kept).reshape(size, *kept)
    except (RuntimeError, IndexError) as error:
        shapes = ", ".join(str(list(x.shape)) for x in (query, key, value))
        raise _core.ShapeError(
            "[scaled_dot_product_attention] query, key, value: expected [..., H, L, E] that "
            f"broadcast, got {shapes}"
        ) from error
    out = _four_axes(*tensors, attn_mask, *rest)
    return out.reshape(*batch, *out.shape[1 if has_heads else 2 :])


def _four_axes(query, key, value, attn_mask, dropout_p, is_causal, scale):
    options = {"layout": "BHTD", "out_layout": "BTHD"}
    if attn_mask is not None:
        if attn_mask.dtype == torch.bool:
            options["mask"] = attn_mask
        else:
            options["bias"] = attn_mask.to(query.dtype)
    if dropout_p:
        options["dropout_rate"] = dropout_p
    if is_causal:
        options["causal"] = True
    if scale is not None:
        options["scale"] = scale
    # In memory [B, L, H, E], as PyTorch's own has it: what joins the heads copies nothing.
    return attention(query, key, value, **options).transpose(1, 2)


class _Enabled:
    """What enable() returns: leaving its `with` block undoes it."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        disable()


_pytorch = torch.nn.functional.scaled_dot_product_attention
_DTYPES = (torch.float32, torch.float64, torch.bfloat16)


def takes(query):
    """Whether there are kernels for such queries: their device, type and form."""
    return (
        query.device.type == "cpu"
        and query.dtype in _DTYPES
        and query.layout is torch.strided
        and not query.is_nested
    )


@functools.wraps(_pytorch)
def _rerouted(
    query,
    key,
    value,
    attn_mask=None,
    dropout_p=0.0,
    is_causal=False,
    *,
    scale=None,
    enable_gqa=False,
):
    out = _attend_plain(query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa)
    if out is not None:
        return out
    if takes(query):
        return _attend_prepared(
            query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa
        )
    return _pytorch(
        query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
    )


def enable():
    """Makes torch.nn.functional.scaled_dot_product_attention run on these kernels.

    For tensors in the CPU's memory of float32, float64 and bfloat16; others go to PyTorch's own.
    As a switch, until disable(); or `with grouphead.torch.enable():`.
    """
    torch.nn.functional.scaled_dot_product_attention = _rerouted
    return _Enabled()


def disable():
    """Undoes enable()."""
    torch.nn.functional.scaled_dot_product_attention = _pytorch
