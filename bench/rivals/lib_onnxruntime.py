"""ONNX Runtime: its GroupQueryAttention operator, ONNX's Attention operator, MatMul."""
import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper

from case import CannotDo, Rotation

_FLOAT, _INT32, _INT8 = TensorProto.FLOAT, TensorProto.INT32, TensorProto.INT8
_TYPES = {np.dtype(np.float32): _FLOAT, np.dtype(np.int32): _INT32, np.dtype(np.int8): _INT8,
          np.dtype(np.bool_): TensorProto.BOOL}


class Graph:
    """One operator with its operands bound; `shared` outputs lie where inputs do."""

    def __init__(self, case, node, operands, opset, shared=()):
        info = helper.make_tensor_value_info
        inputs = [info(name, _TYPES[x.dtype], x.shape) for name, x in operands.items()]
        outputs = [info(name, _FLOAT, None) for name in node.output if name not in dict(shared)]
        outputs += [info(name, _TYPES[operands[of].dtype], operands[of].shape)
                    for name, of in shared]
        model = helper.make_model(
            helper.make_graph([node], "graph", inputs, outputs), ir_version=10,
            opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)])
        options = ort.SessionOptions()
        options.intra_op_num_threads = case.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self.session = ort.InferenceSession(model.SerializeToString(), options,
                                            providers=["CPUExecutionProvider"])
        self.outputs = [name for name in node.output if name not in dict(shared)]
        self.shared = shared

    def bind(self, operands):
        binding = self.session.io_binding()
        values = {name: ort.OrtValue.ortvalue_from_numpy(x) for name, x in operands.items()}
        for name, value in values.items():
            binding.bind_ortvalue_input(name, value)
        for name in self.outputs:
            binding.bind_output(name, "cpu")
        for name, of in self.shared:
            binding.bind_ortvalue_output(name, values[of])

        def run():
            self.session.run_with_iobinding(binding)
            return binding
        run.keep = values
        return run


def first_output(binding):
    return {"out": binding.get_outputs()[0].numpy()}


def attention(case):
    case.require_dtype("f32")
    b, t, s, hq, hkv, d = case.size("b", "t", "s", "hq", "hkv", "d")
    if case.operation != "attention.fwd":
        raise CannotDo("no gradients")
    q, k, v = (case[name].reshape(b, case[name].shape[1], -1) for name in "qkv")

    def group_query():
        if not (case.causal and case.is_plain() and t == s):
            raise CannotDo("causal self-attention only")
        empty = np.zeros((b, hkv, 0, d), np.float32)
        operands = {"q": q, "k": k, "v": v, "past_k": empty, "past_v": empty.copy(),
                    "lengths": np.full(b, s - 1, np.int32), "total": np.array([s], np.int32)}
        node = helper.make_node("GroupQueryAttention", list(operands), ["out", "new_k", "new_v"],
                                domain="com.microsoft", num_heads=hq, kv_num_heads=hkv)
        return Graph(case, node, operands, 17).bind(operands), first_output

    def standard():
        operands = {"q": q, "k": k, "v": v}
        causal = int(case.causal and case.is_plain())
        if not case.is_plain():
            if "bias" in case.tensors:
                raise CannotDo("a bias is not tried")
            operands["mask"] = np.array(np.broadcast_to(case.mask(), (b, 1, t, s)))
        node = helper.make_node("Attention", list(operands), ["out"], q_num_heads=hq,
                                kv_num_heads=hkv, is_causal=causal)
        return Graph(case, node, operands, 24).bind(operands), first_output
    return {"GroupQueryAttention": group_query, "Attention": standard}


def decode(case):
    b, s, hq, hkv, d, dv = case.size("b", "s", "hq", "hkv", "d", "dv")
    k, v = case.heads_first("k"), case.heads_first("v")
    q = case["q"].reshape(b, 1, hq * d)

    def group_query(k, v, scales):
        """The last position is given as new; past and present share memory."""
        last = lambda name: np.ascontiguousarray(case[name][:, -1:]).reshape(b, 1, -1)
        operands = {"q": q, "k": last("k"), "v": last("v"), "past_k": k, "past_v": v,
                    "lengths": np.full(b, s - 1, np.int32), "total": np.array([s], np.int32)}
        names, attributes = list(operands), {}
        if scales:
            operands |= {"k_scale": scales[0], "v_scale": scales[1]}
            names += [""] * 5 + ["k_scale", "v_scale"]
            attributes = dict(k_quant_type="PER_TENSOR", v_quant_type="PER_TENSOR",
                              kv_cache_bit_width=8)
        node = helper.make_node("GroupQueryAttention", names, ["out", "new_k", "new_v"],
                                domain="com.microsoft", num_heads=hq, kv_num_heads=hkv,
                                **attributes)
        graph = Graph(case, node, operands, 17, [("new_k", "past_k"), ("new_v", "past_v")])
        sets = case.num_caches(k.dtype.itemsize)
        return Rotation([graph.bind(operands) for _ in range(sets)]), first_output

    def standard():
        operands = {"q": case.heads_first("q"), "k": k, "v": v}
        node = helper.make_node("Attention", list(operands), ["out"])
        graph = Graph(case, node, operands, 24)
        calls = [graph.bind(operands) for _ in range(case.num_caches(4))]
        return Rotation(calls), first_output

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
        operands = {"a": case["a"], "b": case["b"]}
        node = helper.make_node("MatMul", list(operands), ["c"])
        return (Graph(case, node, operands, 17).bind(operands),
                lambda binding: {"c": binding.get_outputs()[0].numpy()})
    return {"MatMul": matmul}


def ways(case):
    makers = {"attention.fwd": attention, "attention.fwdbwd": attention, "decode": decode,
              "gemm": gemm}
    if case.operation not in makers:
        raise CannotDo(case.operation)
    return ort.__version__, makers[case.operation](case)
