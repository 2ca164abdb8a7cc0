"""What the live tests draw: for every layer its options, as JSON can hold them.

An option set to NEUTRAL's value is as good as not there; smaller() tries exactly that.
"""
NUM_ATTENTION = 60
NUM_OTHERS = 10
REFUSAL_MARGIN = 2  # Keras refuses some combinations: more are drawn than are wanted

POLICIES = ["float32"] * 8 + ["mixed_bfloat16", "mixed_float16", "bfloat16", "float16"]
MASKS = ["2", "2t1", "3", "3b1", "3t1", "3s1", "4", "4h1", "4b1", "4t1", "4b1t1"]
NEUTRAL = {
    "mask": None, "mask_dtype": "bool", "full_row": False, "qmask": None, "vmask": None, "kmask": None,
    "prefix_mask": False, "causal": False, "window": None, "gate": False, "use_bias": False, "scores": False,
    "key": False, "Dv": False, "Dk": False, "cross": False, "regs": [], "losses": False, "dropout": False,
    "training": False, "policy": "float32", "vd": None, "oshape": None, "axes": None, "constraint": False,
    "mode": "dot", "use_scale": False, "implicit": False, "masked": [], "group": 1, "kv": 1, "H": 1,
}
REQUIRED = {"units", "input_dim", "output_dim", "equation", "output_shape", "rate", "dims", "target_shape", "n",
            "axes", "activation", "factor", "size"}


def shape_pool(r):
    """Two dozen (B, T, S, D), so that few shapes must be compiled."""
    sizes = [(r.i(1, 4), r.i(1, 9), r.i(1, 11), r.i(3, 16)) for _ in range(22)]
    return sizes + [(1, 1, 1, 4), (2, 17, 33, 8)]


def regularizer(r):
    return r.c([{"class_name": "L1", "config": {"l1": r.u(0.001, 0.02)}},
                {"class_name": "L2", "config": {"l2": r.u(0.001, 0.02)}},
                {"class_name": "L1L2", "config": {"l1": r.u(0.001, 0.02), "l2": r.u(0.001, 0.02)}}])


def regularized(r):
    return [k for k in ("kernel", "bias", "activity") if r.b(0.2)]


def sequence_masks(r, key, with_rank4):
    """Masks of the scores and of the sequences; Keras cannot combine rank 4 with the latter."""
    mask = r.c([None, None] + MASKS) if with_rank4 else r.c([None, None] + MASKS[:6])
    each = [None, None, "explicit", "implicit"]
    free = not (mask or "").startswith("4")
    return {"mask": mask, "mask_dtype": r.c(["bool", "bool", "uint8"]), "full_row": bool(mask) and r.b(0.15),
            "qmask": r.c(each) if free else None, "vmask": r.c(each) if free else None,
            "kmask": r.c(each) if free and key else None, "prefix_mask": r.b(0.3)}


def common(r):
    return {"use_bias": r.b(0.75), "gate": r.b(0.25), "scores": r.b(0.35), "causal": r.b(0.3),
            "window": r.c([None, None, None, 1, 2, 3]), "policy": r.c(POLICIES), "regs": regularized(r),
            "losses": r.b(), "dropout": r.b(0.2), "training": r.b(0.4)}


def group_query_attention(r, pool):
    B, T, S, D = r.c(pool)
    cross, key = r.b(0.6), r.b(0.4)
    cross = cross or key
    o = {"B": B, "T": T, "D": D, "hd": r.c([2, 3, 4, 8, 16, 20]), "kv": r.i(1, 3), "group": r.i(1, 4),
         "self": not cross, "cross": cross, "key": key, "Dv": cross and r.b(0.3), "Dk": key and r.b(0.3),
         "constraint": r.b(0.05), **common(r), **sequence_masks(r, key, True)}
    return {**o, "S": S} if cross else o


def multi_head_attention(r, pool):
    nd = r.c([1, 1, 2, 2, 3])
    cross, key = r.b(0.6), r.b(0.35)
    cross = cross or key
    B, T, S, D = r.c(pool)
    o = {"B": B, "D": D, "H": r.i(1, 4), "kd": r.c([2, 3, 4, 8]), "nd": nd, "self": not cross, "cross": cross,
         "key": key, "Dv": cross and r.b(0.3), "oshape": r.c([None, None, 5, [2, 3]]), **common(r)}
    o["vd"] = r.c([None, 5]) if o["scores"] or o["dropout"] else None
    if nd == 1:
        o.update({"T": T, **sequence_masks(r, key, True)})
        return {**o, "S": S} if cross else o
    o["axes"] = r.c([[None, 1, [2], [1, 2], [-3, -2]], [None, [1], [2, 3], [1, 3], [2], -2]][nd - 2])
    if o["axes"] not in (1, [1]):  # causal masks and windows are made from the first axis
        o["causal"], o["window"] = False, None
    o["mask"] = r.c([None, "full", "heads", "attn"])
    o["full_row"] = bool(o["mask"]) and r.b(0.2)
    return o


def pairwise(r, pool):
    B, T, S, D = r.c(pool)
    return {"B": B, "T": T, "S": S, "self": r.b(0.2), "key": r.b(0.4), "use_scale": r.b(), "scores": r.b(0.4),
            "causal": r.b(0.3), "qmask": r.b(0.4), "vmask": r.b(0.4), "implicit": r.b(0.4),
            "training": r.b(0.4), "dropout": r.b(0.25), "policy": r.c(POLICIES)}


def attention(r, pool):
    return {**pairwise(r, pool), "mode": r.c(["dot", "concat"])}


def generic(r, shapes, kw, **rest):
    return {"shapes": [list(s) for s in shapes], "kw": kw, "policy": r.c(POLICIES), "training": r.b(0.3),
            "losses": r.b(), **rest}


ACTIVATIONS = [None, "relu", "gelu", "tanh", "sigmoid", "silu", "swish", "softmax", "elu", "linear"]


def weights_kw(r, bias="bias"):
    kw = {}
    for k in ("kernel", bias, "activity"):
        if r.b(0.25):
            kw[k + "_regularizer"] = regularizer(r)
    return kw


def any_shape(r, pool, low=2, high=4):
    B, T, S, D = r.c(pool)
    return [(B, D), (B, T, D), (B, T, 3, D)][r.i(low, high) - 2]


def dense(r, pool):
    return generic(r, [any_shape(r, pool)], {"units": r.i(1, 9), "activation": r.c(ACTIVATIONS), "use_bias": r.b(0.7),
                                             **weights_kw(r)})


def einsum_dense(r, pool):
    B, T, S, D = r.c(pool)
    equation, shape, out, bias = r.c([
        ("abc,cd->abd", (B, T, D), [None, 5], "d"), ("abc,cde->abde", (B, T, D), [None, 2, 3], "de"),
        ("abcd,cde->abe", (B, T, 2, D), [None, 4], "e"), ("ab,bc->ac", (B, D), 3, "c"),
        ("abc,bd->adc", (B, T, D), [4, D], "d"), ("...x,xy->...y", (B, T, D), 6, "y")])
    return generic(r, [shape], {"equation": equation, "output_shape": out, "activation": r.c(ACTIVATIONS),
                                "bias_axes": r.c([None, bias]), **weights_kw(r)})


def embedding(r, pool):
    B, T, S, D = r.c(pool)
    kw = {"input_dim": 11, "output_dim": D, "mask_zero": r.b()}
    if r.b(0.3):
        kw["embeddings_regularizer"] = regularizer(r)
    return generic(r, [(B, T)], kw, tokens=11)


def layer_normalization(r, pool):
    shape = any_shape(r, pool)
    axis = r.c([-1, -1, -1, len(shape) - 1, 1, [1, -1] if len(shape) > 2 else -1])
    return generic(r, [shape], {"axis": axis, "epsilon": r.c([1e-3, 1e-5, 1e-6]), "center": r.b(0.7), "scale": r.b(0.7)})


def rms_normalization(r, pool):
    return generic(r, [any_shape(r, pool)], {"axis": -1, "epsilon": r.c([1e-3, 1e-5, 1e-6])})


def elementwise(kw):
    def draw(r, pool):
        shape = any_shape(r, pool)
        return generic(r, [shape], kw(r), masked=[0] if len(shape) > 2 and r.b() else [])
    return draw


def merge(count, kw=lambda r: {}):
    def draw(r, pool):
        n = r.i(*count)
        shape = any_shape(r, pool)
        masked = [i for i in range(n) if r.b(0.4)] if len(shape) > 2 else []
        return generic(r, [shape] * n, kw(r), list=True, masked=masked)
    return draw


def concatenate(r, pool):
    B, T, S, D = r.c(pool)
    axis = r.c([-1, 1, 2])
    n = r.i(2, 3)
    shapes = [(B, r.i(1, 5), D) if axis == 1 else (B, T, r.i(1, 5)) for _ in range(n)]
    return generic(r, shapes, {"axis": axis}, list=True, masked=[i for i in range(n) if r.b(0.4)])


def pooling(r, pool):
    B, T, S, D = r.c(pool)
    return generic(r, [(B, T, D)], {"keepdims": r.b()}, masked=[0] if r.b() else [])


def steps(kw=lambda r: {}, **rest):
    def draw(r, pool):
        B, T, S, D = r.c(pool)
        return generic(r, [(B, T, D)], kw(r), **rest)
    return draw


DROPOUT = lambda r: {"rate": r.c([0.1, 0.3, 0.5]), "seed": r.i(1, 1000)}  # noqa: E731
DRAWS = {
    "GroupQueryAttention": group_query_attention, "MultiHeadAttention": multi_head_attention,
    "Attention": attention, "AdditiveAttention": pairwise,
    "Dense": dense, "EinsumDense": einsum_dense, "Embedding": embedding,
    "LayerNormalization": layer_normalization, "RMSNormalization": rms_normalization,
    "Activation": elementwise(lambda r: {"activation": r.c(ACTIVATIONS[1:])}),
    "Dropout": elementwise(DROPOUT), "Identity": elementwise(lambda r: {}),
    "ReLU": elementwise(lambda r: {"max_value": r.c([None, 1.0]), "negative_slope": r.c([0.0, 0.2])}),
    "LeakyReLU": elementwise(lambda r: {"negative_slope": 0.2}), "ELU": elementwise(lambda r: {"alpha": 0.7}),
    "Softmax": elementwise(lambda r: {"axis": r.c([-1, 1])}),
    "Rescaling": elementwise(lambda r: {"scale": 0.5, "offset": r.c([0.0, 0.3])}),
    "UnitNormalization": elementwise(lambda r: {"axis": r.c([-1, 1])}),
    "Add": merge((2, 4)), "Multiply": merge((2, 3)), "Average": merge((2, 4)), "Maximum": merge((2, 3)),
    "Minimum": merge((2, 3)), "Subtract": merge((2, 2)), "Concatenate": concatenate,
    "GlobalAveragePooling1D": pooling, "GlobalMaxPooling1D": pooling,
    "Masking": steps(lambda r: {"mask_value": r.c([0.0, 1.5])}, zero_steps=True),
    "Flatten": steps(), "Reshape": steps(lambda r: {"target_shape": r.c([[-1], [1, -1]])}),
    "Permute": steps(lambda r: {"dims": [2, 1]}),
    "SpatialDropout1D": steps(DROPOUT),
}


def wanted(kind):
    return NUM_ATTENTION if kind.endswith("Attention") else NUM_OTHERS


def plan(r, layers):
    """[[name, class, options]] for each of the classes, from which the first wanted() that Keras can make are taken.
    Errors: KeyError for a class without a drawing."""
    pool = shape_pool(r)
    out = []
    for kind in layers:
        cases = [DRAWS[kind](r, pool) for _ in range(wanted(kind) * REFUSAL_MARGIN)]
        if kind.endswith("Attention"):
            cases[0].update(dropout=True, training=True)  # whatever else is drawn, this is there
        out += [["%s_%02d" % (kind, i), kind, o] for i, o in enumerate(cases)]
    return out


def smaller(o):
    """The same options with one of them neutral, each in turn."""
    for key, value in o.items():
        if key in NEUTRAL and value != NEUTRAL[key]:
            yield key, {**o, key: NEUTRAL[key]}
    for key in o.get("kw", {}):
        if key not in REQUIRED:
            yield key, {**o, "kw": {k: v for k, v in o["kw"].items() if k != key}}
