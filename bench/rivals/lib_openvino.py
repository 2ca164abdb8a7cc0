"""OpenVINO: ScaledDotProductAttention and MatMul in fp32 or bf16, and layers of them."""
import numpy as np
import openvino as ov
from openvino import opset13 as op

from case import CannotDo, Rotation


def compiled(case, outputs, parameters, precision):
    options = {"INFERENCE_NUM_THREADS": case.threads, "INFERENCE_PRECISION_HINT": precision,
               "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY"}
    return ov.Core().compile_model(ov.Model(outputs, parameters), "CPU", options)


def bind(model, operands):
    request = model.create_infer_request()
    for i, x in enumerate(operands):
        request.set_input_tensor(i, x if isinstance(x, ov.Tensor) else
                                 ov.Tensor(x, shared_memory=True))

    def run():
        request.infer()
        return request
    run.keep = operands
    return run


def output_of(request):
    return {"out": np.asarray(request.get_output_tensor(0).data,
                              dtype=np.float32).transpose(0, 2, 1, 3)}


def repeat_heads(x, shape, groups):
    """The usual subgraph: [B, Hkv, S, D] for Hq heads."""
    b, hkv, s, d = shape
    wide = op.broadcast(op.unsqueeze(x, np.int64(2)), np.array([b, hkv, groups, s, d], np.int64))
    return op.reshape(wide, np.array([b, hkv * groups, s, d], np.int64), False)


def sdpa_model(case, arrays, precision, cache_type=ov.Type.f32):
    q, k, v = arrays[:3]
    parameters = [op.parameter(list(q.shape), ov.Type.f32)]
    parameters += [op.parameter(list(x.shape), cache_type) for x in (k, v)]
    operands = list(parameters)
    if cache_type != ov.Type.f32:
        operands[0] = op.convert(operands[0], cache_type.to_string())
    groups = q.shape[1] // k.shape[1]
    if groups > 1:
        operands[1:] = [repeat_heads(x, a.shape, groups) for x, a in zip(operands[1:], (k, v))]
    if len(arrays) > 3:
        parameters.append(op.parameter(list(arrays[3].shape), ov.Type.boolean))
        operands.append(parameters[-1])
    causal = case.causal and case.is_plain() and "t" in case.sizes
    out = op.scaled_dot_product_attention(*operands, causal=causal)
    if cache_type != ov.Type.f32:
        out = op.convert(out, "f32")
    return compiled(case, [out], parameters, precision)


def attention(case):
    if case.operation != "attention.fwd":
        raise CannotDo("no gradients")
    case.require_dtype("f32", "bf16")
    case.require_options()
    arrays = [case.heads_first(name) for name in "qkv"]
    if not case.is_plain():
        b, t, s = case.size("b", "t", "s")
        arrays.append(np.array(np.broadcast_to(case.mask(), (b, 1, t, s))))
    return {"SDPA " + case.dtype:
            lambda: (bind(sdpa_model(case, arrays, case.dtype), arrays), output_of)}


def decode(case):
    if case.cache not in ("f32", "bf16"):
        raise CannotDo("cache=" + case.cache)
    arrays = [case.heads_first(name) for name in "qkv"]

    def tensor(x):
        if case.cache == "f32":
            return ov.Tensor(x.copy(), shared_memory=False)
        stored = ov.Tensor(ov.Type.bf16, ov.Shape(x.shape))
        stored.data.view(np.uint16)[:] = (x.view(np.uint32) >> 16).astype(np.uint16)
        return stored

    def make():
        kind = ov.Type.f32 if case.cache == "f32" else ov.Type.bf16
        model = sdpa_model(case, arrays, case.cache, kind)
        sets = case.num_caches(4 if case.cache == "f32" else 2)
        calls = [bind(model, [arrays[0], tensor(arrays[1]), tensor(arrays[2])])
                 for _ in range(sets)]
        return Rotation(calls), output_of
    return {"SDPA " + case.cache: make}


def layer(case):
    case.require_dtype("f32")
    hq, d = case.size("hq", "d")
    hkv = case.sizes.get("hkv", hq)
    arrays = [case[name] for name in ("x", "value") if name in case.tensors]

    def dense(path, x):
        bias = case[path + "/bias"].ravel()
        kernel = op.constant(case[path + "/kernel"].reshape(-1, bias.size))
        return op.add(op.matmul(x, kernel, False, False), op.constant(bias))

    def heads(path, x, count):
        split = op.reshape(dense(path, x), np.array([0, 0, count, d]), True)
        return op.transpose(split, np.array([0, 2, 1, 3]))

    def make():
        parameters = [op.parameter(list(x.shape), ov.Type.f32) for x in arrays]
        x, values = parameters[0], parameters[-1]
        q, k, v = heads("query", x, hq), heads("key", values, hkv), heads("value", values, hkv)
        if hq > hkv:
            b, s = arrays[-1].shape[:2]
            k, v = (repeat_heads(y, (b, hkv, s, d), hq // hkv) for y in (k, v))
        out = op.scaled_dot_product_attention(q, k, v, causal=case.causal)
        out = op.reshape(op.transpose(out, np.array([0, 2, 1, 3])), np.array([0, 0, hq * d]), True)
        model = compiled(case, [dense("attention_output", out)], parameters, "f32")
        return bind(model, arrays), lambda r: {"y": np.array(r.get_output_tensor(0).data)}
    return {"layer with SDPA f32": make}


def gemm(case):
    case.require_dtype("f32", "bf16")
    arrays = [case["a"], case["b"]]

    def make():
        parameters = [op.parameter(list(x.shape), ov.Type.f32) for x in arrays]
        model = compiled(case, [op.matmul(*parameters, False, False)], parameters, case.dtype)
        return bind(model, arrays), lambda r: {"c": np.array(r.get_output_tensor(0).data)}
    return {"MatMul": make}


def ways(case):
    makers = {"attention.fwd": attention, "attention.fwdbwd": attention, "decode": decode,
              "gemm": gemm, "layer.gqa.fwd": layer, "layer.mha.fwd": layer}
    if case.operation not in makers:
        raise CannotDo(case.operation)
    return ov.__version__.split("-")[0], makers[case.operation](case)
