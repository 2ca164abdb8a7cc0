"""ggml, of the sources of llama-cpp-python: its flash attention and its product.

Keys and values in f32 or bf16 as the problem has them, beside bf16 in f16 too, which llama.cpp
keeps by default; caches in 8 bits are q8_0. The calls go through ctypes into ggml's C functions.
"""
import ctypes
import pathlib
import sys

import numpy as np

from case import CannotDo, Rotation

_F32, _F16, _Q8_0, _BF16 = 0, 1, 8, 30  # enum ggml_type
_TYPES = {"f32": _F32, "f16": _F16, "bf16": _BF16, "int8": _Q8_0}
_FOLDER = pathlib.Path(sys.prefix) / "ggml"
_NODE_BYTES = 64 << 20  # for a graph and its work


class _Settings(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("memory", ctypes.c_void_p),
                ("no_alloc", ctypes.c_bool)]


def _library():
    """libggml and the processor's part of it, with the types of what is called."""
    folder = _FOLDER / "lib"
    base, cpu = (ctypes.CDLL(str(folder / f"lib{name}.so"), mode=ctypes.RTLD_GLOBAL)
                 for name in ("ggml-base", "ggml-cpu"))
    pointer, number, real = ctypes.c_void_p, ctypes.c_int64, ctypes.c_float
    for library, name, result, arguments in (
            (base, "ggml_init", pointer, [_Settings]),
            (base, "ggml_new_tensor_4d", pointer, [pointer, ctypes.c_int] + [number] * 4),
            (base, "ggml_get_data", pointer, [pointer]),
            (base, "ggml_nbytes", ctypes.c_size_t, [pointer]),
            (base, "ggml_flash_attn_ext", pointer, [pointer] * 5 + [real] * 3),
            (base, "ggml_flash_attn_ext_add_sinks", None, [pointer] * 2),
            (base, "ggml_mul_mat", pointer, [pointer] * 3),
            (base, "ggml_new_graph", pointer, [pointer]),
            (base, "ggml_build_forward_expand", None, [pointer] * 2),
            (base, "ggml_quantize_chunk", ctypes.c_size_t,
             [ctypes.c_int, pointer, pointer, number, number, number, pointer]),
            (cpu, "ggml_backend_cpu_init", pointer, []),
            (cpu, "ggml_backend_cpu_set_n_threads", None, [pointer, ctypes.c_int]),
            (base, "ggml_backend_graph_compute", ctypes.c_int, [pointer] * 2)):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return base, cpu


class _Session:
    """Tensors in one block of memory, and graphs that threads compute."""

    def __init__(self, size, threads):
        self.base, cpu = _library()
        self.context = self.base.ggml_init(_Settings(size + _NODE_BYTES, None, False))
        self.backend = cpu.ggml_backend_cpu_init()
        cpu.ggml_backend_cpu_set_n_threads(self.backend, threads)

    def tensor(self, values, kind=_F32):
        """A tensor with the values of an array, whose last axis is ggml's first."""
        values = np.ascontiguousarray(values, np.float32)
        shape = (list(values.shape[::-1]) + [1] * 4)[:4]
        made = self.base.ggml_new_tensor_4d(self.context, kind, *shape)
        at = self.base.ggml_get_data(made)
        if kind == _F32:
            ctypes.memmove(at, values.ctypes.data, values.nbytes)
        elif kind == _F16:
            half = values.astype(np.float16)
            ctypes.memmove(at, half.ctypes.data, half.nbytes)
        else:
            self.base.ggml_quantize_chunk(kind, values.ctypes.data, at, 0,
                                          values.size // values.shape[-1], values.shape[-1], None)
        return made

    def call(self, result):
        """What computes a tensor; it returns where the result lies."""
        graph = self.base.ggml_new_graph(self.context)
        self.base.ggml_build_forward_expand(graph, result)

        def run():
            if self.base.ggml_backend_graph_compute(self.backend, graph) != 0:
                raise CannotDo("ggml_backend_graph_compute failed")
            return result
        return run

    def read(self, tensor, shape):
        """An f32 tensor as an array."""
        count = self.base.ggml_nbytes(tensor) // 4
        data = (ctypes.c_float * count).from_address(self.base.ggml_get_data(tensor))
        return np.frombuffer(data, np.float32).reshape(shape)


def _mask(case):
    """What ggml adds to the logits, [B or 1, 1, T, S]; None: nothing."""
    if case.operation == "decode":
        return None
    seen, bias = case.mask(), case.bias()
    if bias is not None:
        raise CannotDo("biases that differ between heads")
    if seen is None:
        return None
    return np.where(seen, np.float32(0), np.float32(-np.inf))


def _attend(case, session, kind, k, v, mask):
    operands = [session.tensor(case.heads_first("q")), session.tensor(k, kind),
                session.tensor(v, kind)]
    result = session.base.ggml_flash_attn_ext(session.context, *operands, mask,
                                              case["q"].shape[-1]**-0.5, 0.0, case.softcap)
    if "sinks" in case.tensors:
        session.base.ggml_flash_attn_ext_add_sinks(result, session.tensor(case["sinks"]))
    return result


def attention(case, names, copies=1):
    """Ways whose keys and values are of the types `names`."""
    case.require_options("softcap", "sinks")
    k, v = case.heads_first("k"), case.heads_first("v")
    b, t, hq, _ = case["q"].shape
    dv = v.shape[-1]

    def maker(name):
        def made():
            size = 8 * (case["q"].nbytes + copies * (k.nbytes + v.nbytes))
            mask = _mask(case)
            size += 4 * (mask.nbytes if mask is not None else 0)
            session = _Session(size, case.threads)
            held = None if mask is None else session.tensor(mask, _F16)
            calls = [session.call(_attend(case, session, _TYPES[name], k, v, held))
                     for _ in range(copies)]
            return Rotation(calls), lambda out: {"out": session.read(out, (b, t, hq, dv))}
        return made
    return {f"flash_attn_ext {name}": maker(name) for name in names}


def forward(case):
    case.require_dtype("f32", "bf16")
    return attention(case, ["f32"] if case.dtype == "f32" else ["bf16", "f16"])


def decode(case):
    if case.cache not in _TYPES:
        raise CannotDo("cache=" + case.cache)
    widths = {"f32": 4, "int8": 1.0625}
    return attention(case, [case.cache], case.num_caches(widths.get(case.cache, 2)))


def gemm(case):
    case.require_dtype("f32", "bf16")

    def mul_mat():
        session = _Session(8 * (case["a"].nbytes + case["b"].nbytes), case.threads)
        weights = session.tensor(case["b"].T, _TYPES[case.dtype])
        result = session.base.ggml_mul_mat(session.context, weights, session.tensor(case["a"]))
        shape = (case["a"].shape[0], case["b"].shape[1])
        return session.call(result), lambda c: {"c": session.read(c, shape)}
    return {"mul_mat": mul_mat}


def ways(case):
    makers = {"attention.fwd": forward, "decode": decode, "gemm": gemm}
    if case.operation not in makers:
        raise CannotDo(case.operation)
    version = _FOLDER / "version"  # which is written last
    if not version.exists():
        raise CannotDo("ggml is not installed")
    return version.read_text().strip(), makers[case.operation](case)
