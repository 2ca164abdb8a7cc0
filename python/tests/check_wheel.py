"""Run by scripts/wheel.sh in a bare virtual environment: what an installed wheel must hold.

It computes, reads a file of Keras, imports within 0.2 seconds, and loads no library of the system but libc's and those
that every Python has.
"""

import pathlib
import subprocess
import sys
import time

import numpy as np

start = time.perf_counter()
import grouphead  # noqa: E402

print(f"import after NumPy: {time.perf_counter() - start:.3f} s")

ALLOWED = ("ld-linux", "libc.", "libm.", "libdl.", "librt.", "libpthread.", "libstdc++.", "libgcc_s.")
ALLOWED += ("libz.", "libutil.", "libpython", "libcrypt.", "libffi.", "libbz2.so", "liblzma.so")

x = np.ones((1, 3, 4, 8), np.float32)
assert (grouphead.attention(x, x, x) == x).all()
keras_files = pathlib.Path(__file__).parents[2] / "tests" / "golden" / "keras_files"
grouphead.load_model(keras_files / "trained.keras")
try:  # no HDF5 file: the library's own errors go to no stream
    grouphead.load_model(pathlib.Path(__file__).with_suffix(".h5"))
except OSError:
    pass

loaded = {line.split()[-1] for line in open("/proc/self/maps") if ".so" in line}
inside = sys.prefix
outside = [pathlib.Path(path).name for path in loaded if not path.startswith((inside, sys.base_prefix))]
strangers = sorted(name for name in outside if not name.startswith(ALLOWED))
assert not strangers, f"libraries of this system: {strangers}"

times = []
for _ in range(5):
    code = "import numpy, time; t = time.perf_counter(); import grouphead; print(time.perf_counter() - t)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    times.append(float(run.stdout))
print(f"import, best of {len(times)}: {min(times):.3f} s")
assert min(times) < 0.2
