"""OpenBLAS: cblas_sgemm."""
import ctypes
import ctypes.util

import numpy as np

from case import CannotDo

_ROW_MAJOR, _NO_TRANSPOSE = 101, 111


def ways(case):
    if case.operation != "gemm" or case.dtype != "f32":
        raise CannotDo(case.operation + " " + case.dtype)
    name = ctypes.util.find_library("openblas")
    if name is None:
        raise CannotDo("Debian's libopenblas0 is not installed")
    library = ctypes.CDLL(name)
    library.openblas_get_config.restype = ctypes.c_char_p
    library.openblas_set_num_threads(case.threads)
    version = library.openblas_get_config().decode().split()[1]
    m, n, k = case.size("m", "n", "k")
    a, b, c = case["a"], case["b"], np.empty((m, n), np.float32)
    pointer = lambda x: ctypes.c_void_p(x.ctypes.data)
    arguments = (_ROW_MAJOR, _NO_TRANSPOSE, _NO_TRANSPOSE, m, n, k, ctypes.c_float(1), pointer(a),
                 k, pointer(b), n, ctypes.c_float(0), pointer(c), n)

    def sgemm():
        def run():
            library.cblas_sgemm(*arguments)
            return c
        return run, lambda c: {"c": c}
    return version, {"sgemm": sgemm}
