"""grouphead.keras: Keras takes one backend for each process, so keras_cases.py runs in one."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

CASES = Path(__file__).with_name("keras_cases.py")


def has(name):
    return importlib.util.find_spec(name) is not None


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_under(backend):
    if not has("keras") or not has(backend):
        pytest.skip(f"needs keras and {backend}")
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "--no-header", str(CASES)],
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
        timeout=570,
    )
    assert ran.returncode == 0, ran.stdout[-6000:] + ran.stderr[-2000:]


@pytest.mark.skipif(not has("keras"), reason="needs keras")
def test_other_backends_are_refused():
    code = "import grouphead.keras"
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "KERAS_BACKEND": "numpy"},
        capture_output=True,
        text=True,
    )
    assert "expected torch or jax, got numpy" in ran.stderr
