#!/usr/bin/env python3
"""Golden vectors of Keras's operations (keras.ops) of several steps, by Keras 3.15.1 on JAX (CPU).

    python generate_operations.py [FAMILY...]    # writes into ../keras_ops, as generate_around.py says

With families only their cases are made anew.

A case with `needs_sizes` is not asked for shapes of unknown sizes: Keras does not tell them either.
"""
import json
import sys

from generate_around import HERE, jnp, keras, np, operation_case, ops, rng_of, save
from safetensors.flax import load_file

RNG = rng_of("keras_ops")


def x(*shape, dtype="float32"):
    return jnp.asarray(RNG.standard_normal(shape).astype(np.float32)).astype(dtype)


def positive(*shape):
    return jnp.abs(x(*shape)) + 0.1


def within(*shape):
    return jnp.tanh(x(*shape)) * 0.9


def integers(low, high, *shape):
    return jnp.asarray(RNG.integers(low, high, shape), "int32")


A, B, IDS = x(2, 3, 4), x(2, 3, 4), integers(0, 4, 2, 5)
FLAGS = IDS > 1
HALF = x(2, 3, 4, dtype="bfloat16")


def products():
    q, k = x(2, 3, 4, 5), x(2, 3, 6, 5)
    yield "matmul", ops.matmul, [x(3, 4), x(4, 5)]
    yield "matmul_weights", lambda s, t: s @ t, [A, x(4, 5)]
    yield "matmul_batch", ops.matmul, [q, ops.transpose(k, (0, 1, 3, 2))]
    yield "matmul_broadcast", ops.matmul, [q, x(3, 5, 2)]
    yield "matmul_broadcast_first", ops.matmul, [x(1, 3, 4), x(2, 4, 2)]
    yield "matmul_shared_left", ops.matmul, [x(3, 4), x(2, 4, 2)]
    yield "matmul_vectors", ops.matmul, [x(4), x(4)]
    yield "matmul_row", ops.matmul, [x(4), x(2, 4, 3)]
    yield "matmul_column", ops.matmul, [A, x(4)]
    yield "matmul_ids", ops.matmul, [IDS, integers(-3, 3, 5, 2)]
    yield "matmul_types", ops.matmul, [IDS, x(5, 2)]
    yield "matmul_bfloat16", ops.matmul, [HALF, x(4, 3, dtype="bfloat16")]
    for i, (text, *shapes) in enumerate([
            ("bhtd,bhsd->bhts", (2, 2, 3, 4), (2, 2, 5, 4)), ("bthd,bshd->bhts", (2, 3, 2, 4), (2, 5, 2, 4)),
            ("ij,jk", (3, 4), (4, 5)), ("ji,jk->ki", (4, 3), (4, 5)), ("...ij,jk->...ik", (2, 3, 4), (4, 5)),
            ("...a,...b->...ab", (2, 3), (2, 4)), ("abc->ca", (2, 3, 4)), ("ii->i", (4, 4)), ("ii", (4, 4)),
            ("ab,bc,cd->ad", (2, 3), (3, 4), (4, 2)), ("ab,ab,ab->b", (2, 3), (2, 3), (2, 3)), ("a,b->", (3,), (2,)),
            ("b...,...->b...", (2, 3, 4), (1, 4)), ("btc,c->bt", (2, 3, 4), (4,)), ("abij,ij->ab", (2, 2, 3, 4), (3, 4)),
            ("aab,bc->ac", (3, 3, 2), (2, 4))]):
        yield f"einsum_{i}", (lambda text: lambda *t: ops.einsum(text, *t))(text), [x(*s) for s in shapes]
    yield "einsum_ids", lambda s, t: ops.einsum("ab,ac->bc", s, t), [IDS, integers(0, 3, 2, 2)]
    yield "einsum_types", lambda s, t: ops.einsum("ab,bc->ac", s, t), [IDS, x(5, 2)]
    for i, (s, t) in enumerate([((3,), (3,)), ((2, 3), (3,)), ((2, 3), (3, 4)), ((2, 3), (5, 3, 4)), ((2, 4, 3), (5, 3, 2))]):
        yield f"dot_{i}", ops.dot, [x(*s), x(*t)]
    yield "dot_number", lambda s: ops.dot(s, 2.0), [A]
    yield "inner", ops.inner, [A, x(5, 4)]
    yield "outer", ops.outer, [x(2, 3), x(4)]
    yield "vdot", ops.vdot, [x(2, 3), x(2, 3)]
    yield "kron", ops.kron, [x(2, 3), x(3, 2)]
    yield "tensordot", ops.tensordot, [A, x(3, 4, 2)]
    yield "tensordot_one", lambda s, t: ops.tensordot(s, t, axes=1), [A, x(4, 2)]
    yield "tensordot_lists", lambda s, t: ops.tensordot(s, t, axes=[[0, 2], [1, 0]]), [A, x(4, 2, 3)]
    yield "tensordot_none", lambda s, t: ops.tensordot(s, t, axes=0), [x(2), x(3)]


def arranging():
    for name, given, axis in [("split", 2, -1), ("split_list", [1, 3], -1), ("split_time", 3, 1)]:
        yield name, (lambda g, a: lambda t: ops.split(t, g, axis=a))(given, axis), [A]
    yield "split_ids", lambda t: ops.split(t, [2], axis=1), [IDS]
    yield "array_split", lambda t: ops.array_split(t, 3, axis=2), [A]
    yield "hsplit", lambda t: ops.hsplit(t, 3), [A]
    yield "vsplit", lambda t: ops.vsplit(t, 2), [A], "needs_sizes"
    yield "dsplit", lambda t: ops.dsplit(t, 2), [A]
    yield "unstack", lambda t: ops.unstack(t, axis=1), [A]
    yield "unstack_first", lambda t: ops.unstack(t), [A], "needs_sizes"
    yield "flip", lambda t: ops.flip(t, axis=1), [A]
    yield "flip_all", ops.flip, [A]
    yield "flip_two", lambda t: ops.flip(t, axis=(0, 2)), [IDS[:, :, None] * A[0, :1]]
    yield "fliplr", ops.fliplr, [A]
    yield "flipud", ops.flipud, [A]
    yield "roll", lambda t: ops.roll(t, 2, axis=1), [A]
    yield "roll_back", lambda t: ops.roll(t, -5, axis=-1), [A]
    yield "roll_flat", lambda t: ops.roll(t, 3), [A]
    yield "roll_two", lambda t: ops.roll(t, (1, 2), axis=(1, 2)), [A]
    for k in range(4):
        yield f"rot90_{k}", (lambda k: lambda t: ops.rot90(t, k=k, axes=(1, 2)))(k), [A]
    yield "repeat", lambda t: ops.repeat(t, 2, axis=1), [A]
    yield "repeat_flat", lambda t: ops.repeat(t, 3), [x(2, 2)]
    yield "tile", lambda t: ops.tile(t, (1, 2, 3)), [A]
    yield "tile_short", lambda t: ops.tile(t, (2,)), [A]
    yield "tile_long", lambda t: ops.tile(t, (2, 1, 3)), [IDS]
    yield "pad", lambda t: ops.pad(t, ((0, 0), (1, 2), (0, 1))), [A]
    yield "pad_all", lambda t: ops.pad(t, 1), [x(2, 3)]
    yield "pad_value", lambda t: ops.pad(t, ((0, 0), (2, 0)), constant_values=7), [IDS]
    for mode in ("reflect", "symmetric", "edge", "wrap"):
        yield f"pad_{mode}", (lambda m: lambda t: ops.pad(t, ((0, 0), (2, 1), (5, 4)), mode=m))(mode), [A]
    yield "moveaxis", lambda t: ops.moveaxis(t, 0, -1), [A]
    yield "moveaxis_two", lambda t: ops.moveaxis(t, (0, 1), (2, 0)), [A]
    yield "ravel", ops.ravel, [A]
    for k in (-1, 0, 2):
        yield f"tril_{k}", (lambda k: lambda t: ops.tril(t, k=k))(k), [A]
        yield f"triu_{k}", (lambda k: lambda t: ops.triu(t, k=k))(k), [A]
        yield f"diagonal_{k}", (lambda k: lambda t: ops.diagonal(t, offset=k, axis1=1, axis2=2))(k), [A]
        yield f"trace_{k}", (lambda k: lambda t: ops.trace(t, offset=k, axis1=2, axis2=1))(k), [A]
        yield f"diag_{k}", (lambda k: lambda t: ops.diag(t, k=k))(k), [x(3)]
        yield f"diag_matrix_{k}", (lambda k: lambda t: ops.diag(t, k=k))(k), [x(3, 4)]
    yield "diagflat", ops.diagflat, [x(2, 2)]
    yield "tril_ids", ops.tril, [IDS]
    yield "hstack", lambda s, t: ops.hstack([s, t]), [A, x(2, 1, 4)]
    yield "vstack", lambda s, t: ops.vstack([s, t]), [x(4), x(4)]
    yield "vstack_types", lambda s, t: ops.vstack([s, t]), [IDS, x(1, 5)], "needs_sizes"
    yield "dstack", lambda s, t: ops.dstack([s, t]), [x(2, 3), x(2, 3)]
    yield "append", lambda s, t: ops.append(s, t, axis=1), [A, x(2, 1, 4)]
    yield "append_flat", ops.append, [x(2, 3), x(2)]
    yield "meshgrid", lambda s, t: ops.meshgrid(s, t), [x(3), x(2)], "needs_sizes"
    yield "meshgrid_ij", lambda s, t, u: ops.meshgrid(s, t, u, indexing="ij"), [x(3), x(2), x(2)], "needs_sizes"
    yield "slice", lambda t: ops.slice(t, (0, 1, 2), (2, 2, 2)), [A]
    yield "slice_rest", lambda t: ops.slice(t, (0, 1, 0), (2, -1, 3)), [A], "needs_sizes"
    yield "slice_update", lambda t, u: ops.slice_update(t, (0, 1, 1), u), [A, x(1, 2, 2)]
    yield "get_item_many", lambda t: t[1, ..., ::-2, None], [A]
    yield "get_item_bounds", lambda t: t[:, -2:99, 3:0:-1], [A]
    yield "squeeze_two", lambda t: ops.squeeze(t, (1, 3)), [x(2, 1, 4, 1)]
    yield "reshape_copy", lambda t: ops.reshape(t, (2, 2, -1, 3)), [A]
    for form in ("channels_last", "channels_first"):
        yield f"depth_to_space_{form}", (lambda f: lambda t: ops.nn.depth_to_space(t, 2, data_format=f))(form), [x(1, 4, 4, 8) if form[9] == "l" else x(1, 8, 2, 3)]
        yield f"space_to_depth_{form}", (lambda f: lambda t: ops.nn.space_to_depth(t, 2, data_format=f))(form), [x(1, 4, 6, 2) if form[9] == "l" else x(1, 2, 4, 6)]


def choosing():
    yield "take", lambda t, i: ops.take(t, i, axis=1), [A, integers(0, 3, 2, 2)]
    yield "take_back", lambda t, i: ops.take(t, i, axis=-1), [A, integers(-4, 4, 5)]
    yield "take_flat", ops.take, [A, integers(0, 24, 3)]
    yield "take_list", lambda t: ops.take(t, [0, 2, 2], axis=1), [A]
    yield "take_one", lambda t: ops.take(t, 1, axis=1), [A]
    yield "take_ids", lambda t, i: ops.take(t, i, axis=1), [IDS, integers(0, 5, 3)]
    yield "take_along", lambda t, i: ops.take_along_axis(t, i, axis=1), [A, integers(0, 3, 2, 2, 4)]
    yield "take_along_last", lambda t, i: ops.take_along_axis(t, i, axis=-1), [A, integers(-4, 4, 2, 3, 6)]
    yield "take_along_flat", lambda t, i: ops.take_along_axis(t, i, axis=None), [A, integers(0, 24, 5)]
    yield "take_along_broadcast", lambda t, i: ops.take_along_axis(t, i, axis=1), [A, integers(0, 3, 1, 2, 1)]
    yield "one_hot", lambda t: ops.one_hot(t, 4), [IDS]
    yield "one_hot_axis", lambda t: ops.one_hot(t, 3, axis=1, dtype="bool"), [IDS]
    yield "one_hot_outside", lambda t: ops.one_hot(t, 3, axis=0, dtype="int32"), [IDS - 1]
    yield "multi_hot", lambda t: ops.multi_hot(t, 4), [IDS]
    yield "multi_hot_one", lambda t: ops.multi_hot(t, 6), [integers(0, 6, 3)]
    yield "scatter", lambda i, v: ops.scatter(i, v, (4, 3)), [integers(0, 4, 5, 1), x(5, 3)]
    yield "scatter_points", lambda i, v: ops.scatter(i, v, (3, 3)), [integers(0, 3, 6, 2), x(6)]
    yield "scatter_ids", lambda i, v: ops.scatter(i, v, (4,)), [integers(0, 4, 5, 1), integers(0, 9, 5)]
    spread = jnp.asarray([[0, 1], [1, 2]], "int32")
    yield "scatter_update", lambda t, u: ops.scatter_update(t, [[0, 1], [1, 2]], u), [A, x(2, 4)]
    yield "scatter_update_add", lambda t, i, u: ops.scatter_update(t, i, u, reduction="add"), [A, spread, x(2, 4)]
    yield "scatter_update_tensors", ops.scatter_update, [A, spread, x(2, 4)]
    yield "segment_sum", lambda d, i: ops.segment_sum(d, i, num_segments=3), [x(5, 2), integers(0, 3, 5)]
    yield "full_like", lambda t: ops.full_like(t, 2), [A]
    yield "full_like_tensor", lambda t, v: ops.full_like(t, v), [A, x(4)]
    yield "full_like_type", lambda t: ops.full_like(t, 1, dtype="int32"), [A]
    yield "ones_like_type", lambda t: ops.ones_like(t, dtype="bool"), [A]
    yield "zeros_like_ids", ops.zeros_like, [IDS]
    yield "isin", lambda t: ops.isin(t, [1, 3]), [IDS]
    yield "isin_inverted", lambda t, u: ops.isin(t, u, invert=True), [IDS, integers(0, 3, 2)]


def sorting():
    for name in ("argmax", "argmin"):
        f = getattr(ops, name)
        yield name, (lambda f: lambda t: f(t, axis=-1))(f), [A]
        yield f"{name}_time", (lambda f: lambda t: f(t, axis=1, keepdims=True))(f), [A]
        yield f"{name}_all", f, [A]
        yield f"{name}_ids", (lambda f: lambda t: f(t, axis=1))(f), [IDS]
    yield "sort", ops.sort, [A]
    yield "sort_time", lambda t: ops.sort(t, axis=1), [A]
    yield "sort_ids", ops.sort, [IDS]
    yield "argsort", lambda t: ops.argsort(t, axis=1), [A]
    yield "argsort_ties", ops.argsort, [IDS]
    yield "argsort_flat", lambda t: ops.argsort(t, axis=None), [A]
    yield "top_k", lambda t: ops.top_k(t, 2), [A]
    yield "top_k_ids", lambda t: ops.top_k(t, 3), [IDS]
    yield "in_top_k", lambda i, p: ops.in_top_k(i, p, k=2), [integers(0, 4, 5), x(5, 4)]
    yield "median", ops.median, [A]
    yield "median_odd", lambda t: ops.median(t, axis=1), [A]
    yield "median_even", lambda t: ops.median(t, axis=-1, keepdims=True), [A]
    yield "median_two", lambda t: ops.median(t, axis=(0, 2)), [A]
    yield "searchsorted", lambda s, v: ops.searchsorted(s, v), [jnp.sort(x(5)), x(2, 3)]
    yield "searchsorted_right", lambda s, v: ops.searchsorted(s, v, side="right"), [jnp.asarray([0, 1, 1, 3], "int32"), IDS]
    yield "digitize", ops.digitize, [A, jnp.asarray([-1.0, 0.0, 0.5])]


def statistics():
    for name in ("std", "var", "logsumexp", "prod", "amax", "amin", "ptp"):
        f = getattr(ops, name) if hasattr(ops, name) else getattr(ops.numpy, name)
        yield f"{name}_all", f, [A]
        yield f"{name}_last", (lambda f: lambda t: f(t, axis=-1, keepdims=True))(f), [A]
        yield f"{name}_two", (lambda f: lambda t: f(t, axis=(0, 2)))(f), [A]
    for name in ("std", "var", "prod", "ptp"):
        f = getattr(ops, name) if hasattr(ops, name) else getattr(ops.numpy, name)
        yield f"{name}_ids", (lambda f: lambda t: f(t, axis=1))(f), [IDS]
    for name in ("std", "var"):
        yield f"{name}_bfloat16", (lambda f: lambda t: f(t, axis=1))(getattr(ops, name)), [HALF]
    yield "prod_zero", lambda t: ops.prod(t, axis=1), [jnp.asarray([[0.0, 2.0, 3.0], [0.0, 0.0, 2.0]])]
    yield "prod_bools", lambda t: ops.prod(t, axis=1), [FLAGS]
    yield "max_initial", lambda t: ops.max(t, axis=1, initial=0.3), [A]
    yield "min_initial", lambda t: ops.min(t, axis=(0, 1), initial=-0.1, keepdims=True), [A]
    yield "average", lambda t: ops.average(t, axis=1), [A]
    yield "average_weights", lambda t, w: ops.average(t, axis=1, weights=w), [A, positive(3)]
    yield "average_all", lambda t, w: ops.average(t, weights=w), [A, positive(2, 3, 4)]
    yield "count_nonzero", lambda t: ops.count_nonzero(t, axis=1), [IDS]
    yield "count_nonzero_all", ops.count_nonzero, [jnp.round(A)]
    for name in ("cumsum", "cumprod"):
        f = getattr(ops, name)
        yield name, (lambda f: lambda t: f(t, axis=1))(f), [A]
        yield f"{name}_flat", f, [A]
        yield f"{name}_ids", (lambda f: lambda t: f(t, axis=-1))(f), [IDS]
        yield f"{name}_bools", (lambda f: lambda t: f(t, axis=1))(f), [FLAGS]
        yield f"{name}_type", (lambda f: lambda t: f(t, axis=1, dtype="float32"))(f), [IDS]
    yield "cumprod_zero", lambda t: ops.cumprod(t, axis=1), [jnp.asarray([[1.5, 0.0, 3.0, -2.0], [0.0, 2.0, 0.0, 4.0]])]
    yield "diff", lambda t: ops.diff(t, axis=1), [A]
    yield "diff_two", lambda t: ops.diff(t, n=2), [A]
    yield "logsumexp_large", lambda t: ops.logsumexp(t, axis=1), [100 * A]
    yield "norm", ops.norm, [A]
    yield "norm_last", lambda t: ops.norm(t, axis=-1, keepdims=True), [A]
    for order in (1, 2, 3, 0, float("inf"), float("-inf"), -1):
        yield f"norm_{order}", (lambda o: lambda t: ops.norm(t, ord=o, axis=1))(order), [A]
    for order in (1, -1, float("inf"), float("-inf"), "fro"):
        yield f"norm_matrix_{order}", (lambda o: lambda t: ops.norm(t, ord=o, axis=(1, 2)))(order), [A]
    yield "norm_matrix_turned", lambda t: ops.norm(t, ord=1, axis=(2, 1), keepdims=True), [A]
    yield "norm_ids", lambda t: ops.norm(t, axis=1), [IDS]
    yield "moments", lambda t: ops.moments(t, axes=[1]), [A]
    yield "moments_two", lambda t: ops.moments(t, axes=(0, 2), keepdims=True), [A]
    yield "moments_bfloat16", lambda t: ops.moments(t, axes=(1,)), [HALF]
    for order in (1, 2, 3):
        yield f"normalize_{order}", (lambda o: lambda t: ops.normalize(t, axis=1, order=o))(order), [A]
    yield "normalize_last", ops.normalize, [A]
    yield "rms_normalization", lambda t: ops.rms_normalization(t), [A]
    yield "rms_normalization_scale", lambda t, s: ops.rms_normalization(t, scale=s, axis=-1, epsilon=0.01), [A, x(4)]
    yield "rms_normalization_bfloat16", lambda t: ops.rms_normalization(t), [HALF]
    yield "layer_normalization", lambda t: ops.layer_normalization(t), [A]
    yield "layer_normalization_all", lambda t, g, b: ops.layer_normalization(t, g, b, epsilon=0.01), [A, x(4), x(4)]
    yield "layer_normalization_two", lambda t, g, b: ops.layer_normalization(t, g, b, axis=[1, 2]), [A, x(3, 4), x(3, 4)]
    yield "layer_normalization_time", lambda t, g: ops.layer_normalization(t, gamma=g, axis=1), [A, x(3)]
    yield "layer_normalization_beta", lambda t, b: ops.layer_normalization(t, beta=b), [A, x(4)]
    yield "layer_normalization_rms", lambda t, g: ops.layer_normalization(t, gamma=g, rms_scaling=True), [A, x(4)]
    yield "batch_normalization", lambda t, m, v: ops.batch_normalization(t, m, v, axis=-1), [A, x(4), positive(4)]
    yield "batch_normalization_all", lambda t, m, v, o, s: ops.batch_normalization(t, m, v, axis=1, offset=o, scale=s, epsilon=0.1), [A, x(3), positive(3), x(3), x(3)]


def numeric():
    for name in ("arcsinh", "arctan", "cbrt", "ceil", "cosh", "deg2rad", "exp2", "expm1", "floor", "isfinite", "isinf",
                 "isnan", "isneginf", "isposinf", "rad2deg", "round", "sign", "signbit", "sinc", "sinh", "tan", "trunc",
                 "erf", "erfc", "fabs"):
        f = getattr(ops, name) if hasattr(ops, name) else getattr(ops.numpy, name)
        yield name, f, [A * 2]
        if name not in ("erf", "erfc"):
            yield f"{name}_ids", f, [IDS]
    for name in ("log10", "log1p", "log2"):
        yield name, getattr(ops, name), [positive(2, 3)]
        yield f"{name}_ids", getattr(ops, name), [IDS + 1]
    for name in ("arccos", "arcsin", "arctanh", "erfinv"):
        yield name, getattr(ops, name), [within(2, 3)]
    yield "arccosh", ops.arccosh, [positive(2, 3) + 1]
    for decimals in (1, 2, -1):
        yield f"round_{decimals}", (lambda d: lambda t: ops.round(t, decimals=d))(decimals), [A * 20]
    for name in ("arctan2", "logaddexp", "logaddexp2", "hypot", "heaviside", "fmod", "fmax", "fmin"):
        f = getattr(ops, name) if hasattr(ops, name) else getattr(ops.numpy, name)
        yield name, f, [A, B]
        yield f"{name}_broadcast", f, [A, x(3, 1)]
        if name not in ("heaviside",):
            yield f"{name}_types", f, [IDS, x(2, 5)]
    yield "fmod_ids", lambda t: ops.numpy.fmod(t, 3), [IDS - 2]
    yield "logaddexp_ties", ops.logaddexp, [A, A]
    yield "divide_no_nan", ops.divide_no_nan, [x(2, 5), IDS.astype("float32")]
    rough = jnp.asarray([0.5, float("nan"), float("inf"), float("-inf"), -2.0])
    yield "nan_to_num", ops.nan_to_num, [rough]
    yield "nan_to_num_values", lambda t: ops.nan_to_num(t, nan=1.0, posinf=9.0, neginf=-9.0), [rough]
    yield "isclose", ops.isclose, [A, A + 1e-6 * B]
    yield "isclose_wide", lambda s, t: ops.isclose(s, t, 0.1, 0.5), [A, B]
    yield "isclose_rough", lambda s, t: ops.isclose(s, t, equal_nan=True), [rough, rough]
    yield "saturate_cast", lambda t: ops.saturate_cast(t, "uint8"), [100 * A]
    yield "saturate_cast_ids", lambda t: ops.saturate_cast(t, "uint8"), [integers(-300, 300, 4)]
    yield "array", lambda t: ops.array(t, dtype="int32"), [3 * A]
    yield "copy", ops.copy, [A]
    yield "convert_to_tensor", lambda t: ops.convert_to_tensor(t, dtype="float32"), [IDS]
    yield "clip_types", lambda t: ops.clip(t, 0.5, 2.5), [IDS]
    yield "where_types", lambda c, t: ops.where(c, t, 0.5), [FLAGS, IDS]


def activations():
    for axis in (-1, 1, (1, 2)):
        name = "_".join(map(str, axis if isinstance(axis, tuple) else (axis,)))
        yield f"softmax_{name}", (lambda a: lambda t: ops.softmax(t, axis=a))(axis), [A]
        yield f"log_softmax_{name}", (lambda a: lambda t: ops.log_softmax(t, axis=a))(axis), [3 * A]
    yield "softmax_bfloat16", ops.softmax, [HALF]


    yield "relu_ids", ops.relu, [IDS - 1]
    for name in ("relu6", "softplus", "softsign", "squareplus", "log_sigmoid", "leaky_relu", "hard_sigmoid", "hard_silu",
                 "elu", "selu", "celu", "glu", "hard_tanh", "hard_shrink", "soft_shrink", "tanh_shrink", "sparse_plus",
                 "sparse_sigmoid", "sparsemax"):
        yield name, getattr(ops, name), [A * 3]
    yield "leaky_relu_slope", lambda t: ops.leaky_relu(t, negative_slope=0.3), [A]
    yield "elu_alpha", lambda t: ops.elu(t, alpha=0.5), [A]
    yield "celu_alpha", lambda t: ops.celu(t, alpha=0.5), [A]
    yield "hard_shrink_half", lambda t: ops.hard_shrink(t, 0.2), [A]
    yield "soft_shrink_half", lambda t: ops.soft_shrink(t, 0.2), [A]
    yield "squareplus_b", lambda t: ops.squareplus(t, b=2), [A]
    yield "threshold", lambda t: ops.threshold(t, 0.2, -1.0), [A]
    yield "glu_axis", lambda t: ops.glu(t, axis=0), [A]
    yield "sparsemax_axis", lambda t: ops.sparsemax(t, axis=1), [A]


def windowing():
    wide, image = x(2, 9, 4), x(2, 6, 5, 4)
    for name, options in [("", {}), ("_same", {"padding": "same", "strides": 2}), ("_dilated", {"dilation_rate": 2})]:
        yield f"conv_1d{name}", (lambda o: lambda t, w: ops.conv(t, w, **o))(options), [wide, x(3, 4, 6)], "needs_sizes"
        yield f"conv_2d{name}", (lambda o: lambda t, w: ops.conv(t, w, **o))(options), [image, x(2, 3, 4, 3)], "needs_sizes"
    yield "conv_first", lambda t, w: ops.conv(t, w, data_format="channels_first"), [x(2, 4, 9), x(3, 4, 2)], "needs_sizes"
    yield "depthwise_conv", lambda t, w: ops.depthwise_conv(t, w, padding="same"), [wide, x(3, 4, 2)], "needs_sizes"
    yield "depthwise_conv_2d", lambda t, w: ops.depthwise_conv(t, w, strides=2), [image, x(2, 2, 4, 1)], "needs_sizes"
    yield "separable_conv", lambda t, w, p: ops.separable_conv(t, w, p), [wide, x(3, 4, 2), x(1, 8, 3)], "needs_sizes"
    yield "separable_conv_2d", lambda t, w, p: ops.separable_conv(t, w, p, padding="same"), [image, x(2, 2, 4, 1), x(1, 1, 4, 3)], "needs_sizes"
    for name in ("max_pool", "average_pool"):
        f = getattr(ops, name)
        yield name, (lambda f: lambda t: f(t, 2, strides=2))(f), [wide]
        yield f"{name}_same", (lambda f: lambda t: f(t, 3, strides=2, padding="same"))(f), [wide]
        yield f"{name}_2d", (lambda f: lambda t: f(t, (2, 3), strides=1))(f), [image]
        yield f"{name}_first", (lambda f: lambda t: f(t, 2, strides=1, data_format="channels_first"))(f), [x(2, 3, 6, 4)]


def without_nan():
    holes = A.at[0, 1, 2].set(float("nan")).at[1, :, 3].set(float("nan"))
    for name in ("nansum", "nanmean", "nanvar", "nanstd", "nanmax", "nanmin"):
        f = getattr(ops.numpy, name)
        yield name, (lambda f: lambda t: f(t, axis=2))(f), [holes]
        yield f"{name}_all", (lambda f: lambda t: f(t, keepdims=True))(f), [holes]
    yield "nancumsum", lambda t: ops.numpy.nancumsum(t, axis=1), [holes]
    yield "nancumprod", lambda t: ops.numpy.nancumprod(t, axis=2), [holes]


def crossentropies():
    p = jnp.clip(jnp.abs(x(3, 4)), 0.05, 0.9)
    yield "binary_crossentropy", ops.binary_crossentropy, [jnp.asarray(RNG.integers(0, 2, (3, 4)), "float32"), p]
    yield "binary_crossentropy_logits", lambda t, o: ops.binary_crossentropy(t, o, from_logits=True), [p, 4 * x(3, 4)]
    yield "categorical_crossentropy", ops.categorical_crossentropy, [p, positive(3, 4)]
    yield "categorical_crossentropy_logits", lambda t, o: ops.categorical_crossentropy(t, o, from_logits=True, axis=0), [p, x(3, 4)]
    yield "sparse_categorical_crossentropy", ops.sparse_categorical_crossentropy, [integers(0, 4, 3), positive(3, 4)]
    yield "sparse_categorical_crossentropy_logits", lambda t, o: ops.sparse_categorical_crossentropy(t, o, from_logits=True), [integers(-1, 5, 2, 3), A]


def attending():
    q, k, v = x(2, 3, 4, 5), x(2, 6, 4, 5), x(2, 6, 4, 5)
    few = x(2, 6, 2, 5)
    mask = jnp.asarray(RNG.integers(0, 2, (2, 1, 3, 6)), "bool").at[0, 0, 1].set(False)
    attend = ops.dot_product_attention
    yield "attention", attend, [q, k, v]
    yield "attention_groups", attend, [q, few, few * 0.5]
    yield "attention_causal", lambda a, b, c: attend(a, b, c, is_causal=True, scale=0.3), [q, k, v]
    yield "attention_mask", lambda a, b, c, m: attend(a, b, c, mask=m), [q, k, v, mask]
    yield "attention_bias", lambda a, b, c, m: attend(a, b, c, bias=m), [q, k, v, x(2, 4, 3, 6)]
    yield "attention_shared_bias", lambda a, b, c, m: attend(a, b, c, bias=m, is_causal=True), [q, k, v, x(1, 4, 3, 6)]
    yield "attention_bias_and_mask", lambda a, b, c, s, m: attend(a, b, c, bias=s, mask=m), [q, k, v, x(1, 1, 3, 6), mask]
    half = [jnp.asarray(t, "bfloat16") for t in (q, k, v)]
    yield "attention_bfloat16", attend, half


FAMILIES = (products, arranging, choosing, sorting, statistics, numeric, activations, windowing, without_nan,
            crossentropies, attending)


def main():
    global RNG
    folder = HERE.parent / "keras_ops"
    wanted = sys.argv[1:] or [family.__name__ for family in FAMILIES]
    documents, tensors = [], {}
    if sys.argv[1:]:
        documents = json.loads((folder / "cases.json").read_text())["cases"]
        tensors = load_file(folder / "tensors.safetensors")
    for family in FAMILIES:
        if family.__name__ not in wanted:
            continue
        RNG = rng_of("keras_ops " + family.__name__)
        for name, function, operands, *notes in family():
            try:
                document, made = operation_case(name, function, operands)
            except Exception as error:  # names what Keras itself cannot do
                print(f"{name}: {type(error).__name__}: {str(error)[:150]}")
                continue
            document |= {note: True for note in notes}
            del document["expect"]
            for bound in document["tolerance"].values():
                del bound["max_abs_value"]
            documents = [old for old in documents if old["name"] != name] + [document]
            tensors = {k: v for k, v in tensors.items() if not k.startswith(name + "/")} | made
    folder.mkdir(exist_ok=True)
    rows = ",\n ".join(json.dumps(document) for document in documents)
    (folder / "cases.json").write_text(f'{{"keras": "{keras.__version__}", "backend": "jax", "cases": [\n {rows}\n]}}\n')
    save(folder / "tensors.safetensors", tensors)
    print(len(documents), "cases")


if __name__ == "__main__":
    main()
