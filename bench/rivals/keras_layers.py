"""Keras's GroupQueryAttention and MultiHeadAttention with the numbers of a problem."""
import os

import numpy as np

from case import CannotDo, PROJECTIONS


def make_layer(case, backend):
    if not case.operation.startswith("layer."):
        raise CannotDo(case.operation)
    case.require_dtype("f32")
    os.environ["KERAS_BACKEND"] = backend
    import keras
    if backend == "torch":
        keras.src.backend.common.global_state.set_global_attribute("torch_device", "cpu")
    hq, d = case.size("hq", "d")
    if case.operation.startswith("layer.gqa"):
        layer = keras.layers.GroupQueryAttention(d, hq, case.sizes["hkv"])
    else:
        layer = keras.layers.MultiHeadAttention(hq, d)
    x = case["x"]
    values = case.tensors.get("value", x)
    layer.build(x.shape, values.shape)
    paths = [name + part for name in PROJECTIONS for part in ("/kernel", "/bias")]
    by_path = {"/".join(v.path.split("/")[-2:]): v for v in layer.trainable_variables}
    for path in paths:
        by_path[path].assign(case[path].reshape(by_path[path].shape))
    return keras.__version__, layer, np.ascontiguousarray(x), values
