"""A problem with its recorded inputs and results, as `grouphead bench --record` writes them."""
import json
import math
import re
import subprocess

import numpy as np

_DTYPES = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": np.uint16,
           "I64": np.int64, "I32": np.int32, "I8": np.int8, "U8": np.uint8, "BOOL": np.bool_}
_MAX_SETS = 64
_MAX_ROTATED = 2 << 30
# Of an attention layer, in the order of their use.
PROJECTIONS = ("query", "key", "value", "attention_output")


class CannotDo(Exception):
    """What a library lacks for a problem."""


def read_safetensors(path):
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        data = file.read()
    metadata = header.pop("__metadata__", {})
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        array = np.frombuffer(data[begin:end], _DTYPES[entry["dtype"]]).reshape(entry["shape"])
        if entry["dtype"] == "BF16":
            array = (array.astype(np.uint32) << 16).view(np.float32)
        tensors[name] = array.copy()
    return metadata, tensors


def last_level_cache_bytes():
    text = subprocess.run(["getconf", "LEVEL3_CACHE_SIZE"], capture_output=True, text=True).stdout
    return int(text.strip() or 0)


def rotation_angles(positions, head_dim):
    """[positions, head_dim / 2]"""
    rates = 10000.0 ** (-2.0 * np.arange(head_dim // 2) / head_dim)
    return np.arange(positions)[:, None] * rates


class Case:
    def __init__(self, path, threads):
        metadata, self.tensors = read_safetensors(path)
        words = metadata["problem"].split()
        self.operation, self.dtype = words[0], words[1]
        self.threads = threads
        self.sizes, self.options = {}, {}
        for word in words[2:]:
            size = re.fullmatch(r"([a-z]+)(\d+)", word)
            if size:
                self.sizes[size[1]] = int(size[2])
            else:
                name, _, value = word.partition("=")
                self.options[name] = value
        if "dropout" in self.options:
            raise CannotDo("random numbers differ")

    def __getitem__(self, name):
        return self.tensors[name]

    def size(self, *names):
        return [self.sizes[name] for name in names]

    @property
    def cache(self):
        return self.options.get("cache", self.dtype)

    @property
    def causal(self):
        return "causal" in self.options

    def require_dtype(self, *known):
        if self.dtype not in known:
            raise CannotDo(self.dtype)

    def is_plain(self):
        """Whether causality from the top left is the only option."""
        return not self.options.keys() - {"causal", "cache", "form", "seed", "isa"}

    def require_options(self, *known):
        """Beside those that mask() has."""
        unknown = self.options.keys() & {"softcap", "alibi", "sinks", "bias"} - set(known)
        if unknown:
            raise CannotDo(", ".join(sorted(unknown)))

    @property
    def softcap(self):
        return float(self.options.get("softcap", 0))

    @property
    def window(self):
        return int(self.options.get("window", 0))

    def distances(self):
        """[T, S]: |i - j|"""
        t, s = self.size("t", "s")
        return np.abs(np.arange(t)[:, None] + int(self.options.get("offset", 0)) - np.arange(s))

    def bias(self):
        """What is added to the logits, [1, Hq, T, S] or broadcast to it: ALiBi and a bias; or
        None."""
        bias = self.tensors.get("bias")
        if "slopes" in self.tensors:
            slopes = -self["slopes"][:, None, None] * self.distances()
            bias = slopes[None] if bias is None else bias + slopes[None]
        return None if bias is None else bias.astype(np.float32)

    def mask(self):
        """[B, 1, T, S] or broadcast to it, true where a query sees a key; None: all."""
        t, s = self.size("t", "s")
        here = np.arange(t)[:, None] + int(self.options.get("offset", 0))
        keys = np.arange(s)[None, :]
        seen = None
        if self.causal:
            seen = keys <= here
        if self.window:
            near = np.abs(here - keys) < self.window
            seen = near if seen is None else seen & near
        if "segments" in self.tensors:
            of = lambda ends, places: np.searchsorted(ends[1:], places, side="right")
            own = of(self["segments"], np.arange(t))[:, None] == of(self["key_segments"],
                                                                   np.arange(s))[None, :]
            seen = own if seen is None else seen & own
        seen = None if seen is None else seen[None, None]
        if "lengths" in self.tensors:
            if self.causal or self.window:
                raise CannotDo("queries in front of the keys")
            seen = (keys < self["lengths"][:, None])[:, None, None, :]
        if "mask" in self.tensors:
            given = self["mask"]
            given = given if given.ndim == 4 else given[:, None, None, :]
            seen = given if seen is None else seen & given
        return seen

    def heads_first(self, name):
        """[B, T, H, D] as [B, H, T, D]."""
        return np.ascontiguousarray(self[name].transpose(0, 2, 1, 3))

    def num_caches(self, element_bytes):
        """Copies of a decode step's cache that exceed the last-level cache, as ours does."""
        b, s, hkv, d, dv = self.size("b", "s", "hkv", "d", "dv")
        one = b * s * hkv * (d + dv) * element_bytes
        wanted = min(1.25 * last_level_cache_bytes(), _MAX_ROTATED)
        return max(2, min(_MAX_SETS, int(wanted / one) + 1))

    def bound(self):
        """Largest error in terms of the largest number."""
        low = {self.dtype, self.cache}
        return 0.05 if "int8" in low else 0.03 if low & {"bf16", "f16"} else 2e-4

    def errors(self, results):
        """Largest error of each result in terms of the largest number wanted."""
        found = {}
        for name, got in results.items():
            want = self[name].astype(np.float64)
            scale = float(np.abs(want).max()) or 1.0
            got = np.asarray(got, dtype=np.float64).reshape(want.shape)
            error = float(np.abs(got - want).max()) / scale
            found[name] = error if math.isfinite(error) else math.inf
        return found


class Rotation:
    """Calls with one set of buffers after the other."""

    def __init__(self, calls):
        self.calls, self.next = calls, 0

    def __call__(self):
        result = self.calls[self.next]()
        self.next = (self.next + 1) % len(self.calls)
        return result
