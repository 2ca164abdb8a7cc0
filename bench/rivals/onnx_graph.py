"""Graphs of ONNX operators, run by ONNX Runtime."""
import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

_TYPES = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.int32): TensorProto.INT32,
          np.dtype(np.int64): TensorProto.INT64, np.dtype(np.int8): TensorProto.INT8,
          np.dtype(np.bool_): TensorProto.BOOL}
_MICROSOFT = {"GroupQueryAttention", "Gelu", "QuickGelu"}


def value_of(array):
    return ort.OrtValue.ortvalue_from_numpy(array)


def lengths(batch, total):
    """What GroupQueryAttention is told of how many positions there are, the new ones included."""
    return {"lengths": np.full(batch, total - 1, np.int32), "total": np.array([total], np.int32)}


def no_past(batch, heads, head_dim, total):
    """For GroupQueryAttention without a cache."""
    shape = batch, heads, 0, head_dim
    past = {name: np.zeros(shape, np.float32) for name in ("past_k", "past_v")}
    return past | lengths(batch, total)


class Graph:
    """Operators on operands. `flexible` has axes of operands that have any length in later runs."""

    def __init__(self, threads, operands, opset=17, flexible={}):
        self.threads, self.operands, self.opset, self.flexible = threads, operands, opset, flexible
        self.nodes, self.constants, self.shared = [], [], []

    def constant(self, name, value):
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(self, kind, inputs, outputs=1, **attributes):
        """The name of its result, or names of its results."""
        names = [f"{kind}_{len(self.nodes)}_{i}" for i in range(outputs)]
        domain = "com.microsoft" if kind in _MICROSOFT else ""
        self.nodes.append(helper.make_node(kind, inputs, names, domain=domain, **attributes))
        return names[0] if outputs == 1 else names

    def share(self, output, operand):
        """The output lies where the operand does."""
        self.shared.append((output, operand))

    def compile(self, result):
        """For a result of 32-bit floats."""
        info, operands = helper.make_tensor_value_info, self.operands

        def shape(name):
            free = self.flexible.get(name, ())
            return [None if axis in free else n for axis, n in enumerate(operands[name].shape)]
        inputs = [info(name, _TYPES[x.dtype], shape(name)) for name, x in operands.items()]
        results = [info(result, TensorProto.FLOAT, None)]
        results += [info(name, _TYPES[operands[of].dtype], shape(of)) for name, of in self.shared]
        model = helper.make_model(
            helper.make_graph(self.nodes, "graph", inputs, results, self.constants), ir_version=10,
            opset_imports=[helper.make_opsetid("", self.opset),
                           helper.make_opsetid("com.microsoft", 1)])
        options = ort.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self.session = ort.InferenceSession(model.SerializeToString(), options,
                                            providers=["CPUExecutionProvider"])
        self.result = result
        return self

    def bind(self, values=None):
        """A call that returns the result, on copies of the operands or on given values."""
        values = values or {name: value_of(x) for name, x in self.operands.items()}
        binding = self.session.io_binding()
        for name, value in values.items():
            binding.bind_ortvalue_input(name, value)
        binding.bind_output(self.result, "cpu")
        for name, of in self.shared:
            binding.bind_ortvalue_output(name, values[of])

        def run():
            self.session.run_with_iobinding(binding)
            return binding.get_outputs()[0]
        run.keep = values
        return run
