"""The golden files of attention: inputs in float32, results and gradients in float64."""

import json
import struct
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parents[2] / "tests" / "golden" / "attention"
NAMES = sorted(path.stem for path in FOLDER.glob("*.safetensors"))
_DTYPES = {"I64": "<i8", "F32": "<f4", "F64": "<f8", "I32": "<i4", "U8": "u1"}
_OPTIONS = {
    "offset": "causal_offset",
    "slopes": "alibi_slopes",
    "segments_q": "segments",
    "segments_k": "key_segments",
}


def read_safetensors(path):
    """(tensors, metadata)."""
    data = path.read_bytes()
    end = 8 + struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:end])
    metadata = header.pop("__metadata__", {})
    tensors = {}
    for name, entry in header.items():
        begin, stop = entry["data_offsets"]
        flat = np.frombuffer(data[end + begin : end + stop], _DTYPES[entry["dtype"]])
        tensors[name] = flat.reshape(entry["shape"])
    return tensors, metadata


def load(name, dtype=np.float32):
    """A case: ([q, k, v] in dtype, keyword arguments, expected results by name)."""
    tensors, metadata = read_safetensors(FOLDER / f"{name}.safetensors")
    options = {_OPTIONS.get(name, name): x for name, x in json.loads(metadata["options"]).items()}
    operands = [tensors.pop(key).astype(dtype) for key in "qkv"]
    for key in ("mask", "bias", "sinks", "slopes", "lengths", "segments_q", "segments_k"):
        if key not in tensors:
            continue
        value = tensors.pop(key)
        options[_OPTIONS.get(key, key)] = value.astype(dtype) if value.dtype.kind == "f" else value
    return operands, options, tensors
