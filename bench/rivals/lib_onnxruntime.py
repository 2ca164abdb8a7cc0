"""ONNX Runtime: its GroupQueryAttention operator, ONNX's Attention operator, MatMul, graphs."""
import numpy as np
import onnxruntime as ort

import onnx_models
from case import CannotDo, Rotation
from onnx_graph import Graph, lengths, no_past


def output(out):
    return {"out": out.numpy()}


def attention(case):
    case.require_dtype("f32")
    b, t, s, hq, hkv, d = case.size("b", "t", "s", "hq", "hkv", "d")
    if case.operation != "attention.fwd":
        raise CannotDo("no gradients")
    q, k, v = (case[name].reshape(b, case[name].shape[1], -1) for name in "qkv")

    def group_query():
        if not case.causal or {"mask", "bias", "offset", "lengths", "packed"} & case.options.keys():
            raise CannotDo("causal self-attention only")
        operands = {"q": q, "k": k, "v": v, **no_past(b, hkv, d, s)}
        names = list(operands) + [""] * 5  # rotation, positions, bias, sinks
        attributes = {"softcap": case.softcap} if case.softcap else {}
        if case.window:
            attributes["local_window_size"] = case.window
        for place, name, value in ((10, "added", case.bias()),
                                   (11, "sinks", case.tensors.get("sinks"))):
            if value is not None:
                operands[name], names[place] = np.ascontiguousarray(value), name
        graph = Graph(case.threads, operands)
        out, _, _ = graph.node("GroupQueryAttention", names, 3, num_heads=hq, kv_num_heads=hkv,
                               **attributes)
        return graph.compile(out).bind(), output

    def standard():
        case.require_options("softcap")
        operands = {"q": q, "k": k, "v": v}
        attributes = {"softcap": case.softcap} if case.softcap else {}
        is_masked = bool(case.options.keys() - {"causal", "softcap"})
        if is_masked:
            operands["mask"] = np.array(np.broadcast_to(case.mask(), (b, 1, t, s)))
        graph = Graph(case.threads, operands, 24)
        out = graph.node("Attention", list(operands), q_num_heads=hq, kv_num_heads=hkv,
                         is_causal=int(case.causal and not is_masked), **attributes)
        return graph.compile(out).bind(), output
    return {"GroupQueryAttention": group_query, "Attention": standard}


def decode(case):
    b, s, hq, hkv, d, dv = case.size("b", "s", "hq", "hkv", "d", "dv")
    k, v = case.heads_first("k"), case.heads_first("v")
    q = case["q"].reshape(b, 1, hq * d)

    def group_query(k, v, scales):
        """The last position is given as new; past and present share memory."""
        last = lambda name: np.ascontiguousarray(case[name][:, -1:]).reshape(b, 1, -1)
        operands = {"q": q, "k": last("k"), "v": last("v"), "past_k": k, "past_v": v,
                    **lengths(b, s)}
        names, attributes = list(operands), {}
        if scales:
            operands |= {"k_scale": scales[0], "v_scale": scales[1]}
            names += [""] * 5 + ["k_scale", "v_scale"]
            attributes = dict(k_quant_type="PER_TENSOR", v_quant_type="PER_TENSOR",
                              kv_cache_bit_width=8)
        graph = Graph(case.threads, operands)
        out, new_k, new_v = graph.node("GroupQueryAttention", names, 3, num_heads=hq,
                                       kv_num_heads=hkv, **attributes)
        graph.share(new_k, "past_k")
        graph.share(new_v, "past_v")
        graph.compile(out)
        return Rotation([graph.bind() for _ in range(case.num_caches(k.dtype.itemsize))]), output

    def standard():
        operands = {"q": case.heads_first("q"), "k": k, "v": v}
        graph = Graph(case.threads, operands, 24)
        graph.compile(graph.node("Attention", list(operands)))
        return Rotation([graph.bind() for _ in range(case.num_caches(4))]), output

    def int8():
        scales = [np.array([float(np.abs(x).max()) / 127], np.float32) for x in (k, v)]
        low = [np.round(x / scale).astype(np.int8) for x, scale in zip((k, v), scales)]
        return group_query(*low, scales)
    if case.cache == "int8":
        return {"GroupQueryAttention int8": int8}
    if case.cache != "f32":
        raise CannotDo("cache=" + case.cache)
    return {"GroupQueryAttention": lambda: group_query(k, v, None), "Attention": standard}


def gemm(case):
    case.require_dtype("f32")

    def matmul():
        graph = Graph(case.threads, {"a": case["a"], "b": case["b"]})
        run = graph.compile(graph.node("MatMul", ["a", "b"])).bind()
        return run, lambda c: {"c": c.numpy()}
    return {"MatMul": matmul}


def ways(case):
    makers = {"attention.fwd": attention, "attention.fwdbwd": attention, "decode": decode,
              "gemm": gemm, "layer.gqa.fwd": onnx_models.layer,
              "layer.mha.fwd": onnx_models.layer, "lm.generate": onnx_models.lm_generate}
    if case.operation not in makers:
        raise CannotDo(case.operation)
    return ort.__version__, makers[case.operation](case)
