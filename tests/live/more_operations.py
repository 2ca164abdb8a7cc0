"""Operations of keras.ops, each as a step of operations.py: from two tensors [B, T, D] to another one."""
import numpy as np
from keras import ops

SMOOTH = ["exp", "expm1", "exp2", "sinh", "cosh", "arcsinh", "negative", "log_sigmoid", "softsign", "squareplus", "celu", "selu",
          "hard_sigmoid", "hard_silu", "hard_tanh", "relu6", "leaky_relu", "tanh_shrink", "hard_shrink", "soft_shrink",
          "sparse_sigmoid", "sparse_plus", "erfc", "sinc", "deg2rad", "rad2deg", "fabs", "absolute", "copy", "nan_to_num", "array"]
WITHIN_ONE = ["arcsin", "arccos", "arctanh", "erfinv", "tan", "cbrt"]  # of numbers from -0.9 to 0.9
POSITIVE = ["log", "log2", "log10", "rsqrt", "reciprocal", "cbrt", "sqrt"]
AT_LEAST_ONE = ["arccosh"]
WITHOUT_GRADIENT = ["floor", "ceil", "trunc", "round", "sign"]
OF_BOOLS = ["isfinite", "isinf", "isnan", "isneginf", "isposinf", "isreal", "signbit"]
OF_TWO = ["arctan2", "fmax", "fmin", "hypot", "logaddexp", "logaddexp2", "divide_no_nan", "subtract", "multiply", "true_divide"]
COMPARED = ["less", "less_equal", "greater_equal", "equal", "isclose", "logical_xor", "logical_or"]
WITH_AXIS = ["max", "amax", "min", "amin", "prod", "median", "ptp", "nansum", "nanmean", "nanvar", "nanstd", "nanmax", "nanmin"]


def steps(drawn, a, b):
    """The steps by name; `drawn` has the sizes and the random numbers."""
    r, t, d = drawn.r, drawn.t, drawn.d
    one = lambda names: getattr(ops, str(r.choice(names)))
    number = lambda x: ops.cast(x, "float32")
    square = lambda s: ops.matmul(s, ops.transpose(s, (0, 2, 1))) / d
    spread = lambda s: a + ops.broadcast_to(s, (1, t, d)) * 0.1
    table = lambda: ops.mean(b, axis=0)  # [T, D], so that an operation is one of the model
    axis = int(r.integers(1, 3))
    n = int(r.integers(1, t))
    half = d // 2
    kernel = lambda *shape: np.linspace(-0.5, 0.7, int(np.prod(shape)), dtype="f4").reshape(shape)
    return {
        "convolved": lambda: ops.depthwise_conv(a, kernel(3, d, 1), padding="same") + ops.conv(b, kernel(2, d, d), padding="same") / d,
        "separated": lambda: ops.separable_conv(a, kernel(3, d, 1), kernel(1, d, d), padding="same") / d,
        "normed": lambda: ops.batch_normalization(a, table()[0], ops.abs(table()[1]) + 0.5, axis=-1),
        "vertical": lambda: spread(ops.vstack(ops.vsplit(table(), [n])[::-1])),
        "vdot": lambda: a + ops.vdot(table(), table()) * 0.01,
        "depth": lambda: ops.space_to_depth(ops.depth_to_space(ops.stack([a, b, a * b, b], axis=-1), 2), 2)[..., 1] + b,
        "converted": lambda: ops.convert_to_tensor(a * 2.0) + ops.empty_like(b) * 0.0 + number(ops.allclose(a, b)),
        "smooth": lambda: one(SMOOTH)(a * 0.5),
        "threshold": lambda: ops.threshold(a, 0.2, -0.1) + b,
        "within_one": lambda: one(WITHIN_ONE)(0.9 * ops.tanh(a)),
        "positive": lambda: one(POSITIVE)(ops.abs(a) + 0.5),
        "at_least_one": lambda: one(AT_LEAST_ONE)(ops.abs(a) + 1.1),
        "stairs": lambda: one(WITHOUT_GRADIENT)(a * 3.0) + b,
        "bools": lambda: a * number(one(OF_BOOLS)(b)) + b,
        "of_two": lambda: one(OF_TWO)(a, ops.abs(b) + 0.3),
        "power": lambda: ops.power(ops.abs(a) + 0.5, b * 0.5),
        "remainder": lambda: ops.mod(a, ops.abs(b) + 0.5) + ops.floor_divide(a, 0.7) * 0.1 + ops.fmod(a, 1.3),
        "compared": lambda: ops.where(one(COMPARED)(a > 0.1, b > 0.0), a, b),
        "compared_numbers": lambda: ops.where(one(COMPARED[:4])(a, b), a, b * 0.5),
        "heaviside": lambda: ops.heaviside(a, b) * b,
        "not": lambda: ops.where(ops.logical_not(a > 0), a, ops.ones_like(b)),
        "isin": lambda: b + number(ops.expand_dims(ops.isin(drawn.ids, [1, 3, 5]), -1)),
        "with_axis": lambda: a - one(WITH_AXIS)(b, axis=axis, keepdims=True),
        "cumulated": lambda: ops.nancumsum(a, axis=1) / t + ops.nancumprod(ops.tanh(b), axis=-1),
        "average": lambda: a + ops.expand_dims(ops.average(b, axis=axis, weights=np.arange(1.0, (t, d)[axis - 1] + 1, dtype="f4")), axis),
        "all": lambda: a * number(ops.any(b > 1.0, axis=axis, keepdims=True)) + number(ops.all(b > -1.0, axis=axis, keepdims=True)),
        "filled": lambda: a + ops.full_like(b, 0.3) * ops.zeros_like(a) + number(ops.saturate_cast(b * 90.0, "uint8")) * 0.01,
        "tensordot": lambda: ops.tensordot(a, np.linspace(-1, 1, d * d, dtype="f4").reshape(d, d), axes=[[2], [0]]) / d,
        "outer": lambda: spread(ops.outer(table()[:, 0], table()[0])),
        "kron": lambda: spread(ops.kron(table()[:, :1], table()[:1, :])),
        "squeezed": lambda: ops.squeeze(ops.expand_dims(a, 1), 1) + ops.squeeze(b[:, :1], 1)[:, None],
        "slices": lambda: spread(ops.pad(ops.slice(table(), (0, 0), (n, d)), ((0, t - n), (0, 0)), mode="edge")),
        "updated": lambda: spread(ops.slice_update(table(), (t - n, 0), ops.exp(table()[:n, :]))),
        "array_split": lambda: ops.concatenate(ops.array_split(a, 2, axis=1)[::-1], axis=1),
        "splits": lambda: ops.hstack(ops.hsplit(a, [n])[::-1]) + ops.dstack(ops.dsplit(b, 2)[::-1]),
        "appended": lambda: ops.append(a[:, n:], a[:, :n], axis=1),
        "flipped": lambda: spread(ops.flipud(table())) + ops.fliplr(b),
        "triangles": lambda: ops.matmul(ops.triu(square(a), k=1), b),
        "diagonal": lambda: a + ops.expand_dims(ops.diagonal(square(b), axis1=1, axis2=2), -1),
        "trace": lambda: a + ops.trace(square(b), axis1=1, axis2=2)[:, None, None],
        "diag": lambda: ops.matmul(a, ops.diag(table()[0])) + ops.matmul(b, ops.diagflat(table()[:1, :])),
        "hot": lambda: ops.cast(ops.multi_hot(drawn.ids, d), "float32")[:, None] + a,
        "least": lambda: ops.one_hot(ops.argmin(a, axis=-1), d) + b,
        "scattered": lambda: spread(ops.scatter(np.array([[0], [t - 1]]), table()[:2, :], (t, d))),
        "scatter_update": lambda: spread(ops.scatter_update(table(), [[0], [t - 1]], ops.sin(table()[:2, :]))),
        "segments": lambda: spread(ops.segment_sum(table(), np.arange(t, dtype="i4") // 2, num_segments=t)),
        "in_top_k": lambda: a + number(ops.in_top_k(drawn.ids[:, 0] % d, b[:, 0], k=half + 1))[:, None, None],
        "digits": lambda: a + ops.cast(ops.digitize(b, np.array([-1.0, 0.0, 1.0], "f4")), "float32"),
        "searched": lambda: a + ops.cast(ops.searchsorted(np.array([-1.0, 0.0, 1.0], "f4"), b[0, 0]), "float32"),
        "difference": lambda: ops.pad(ops.diff(a, axis=1), ((0, 0), (1, 0), (0, 0))) + b,
        "glu": lambda: ops.glu(ops.concatenate([a, b], axis=-1), axis=-1),
        "sparsemax": lambda: ops.sparsemax(a, axis=-1),
        "distances": lambda: ops.matmul(ops.cdist(a, b), b) * 0.1,
        "windows": lambda: ops.max_pool(a, 2, 1, "same") + ops.average_pool(b, 3, 1, "same"),
        "grid": lambda: a + ops.expand_dims(ops.stack(ops.meshgrid(table()[0], table()[:, 0]), 0)[1], 0) * 0.1,
        "ravelled": lambda: ops.reshape(ops.ravel(a), (-1, t, d)) * ops.mean(b),
        "loss": lambda: a + ops.expand_dims(ops.categorical_crossentropy(ops.softmax(a), ops.softmax(b)), -1),
        "binary": lambda: ops.binary_crossentropy(ops.sigmoid(a), ops.sigmoid(b)),
        "sparse": lambda: a + ops.expand_dims(ops.sparse_categorical_crossentropy(drawn.ids % d, b, from_logits=True), -1),
    }
