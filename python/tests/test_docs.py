"""The programs of the pages: each ```python block runs, and prints the block ```output after it.
And those of examples/."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCKS = [
    pytest.param(*block.groups(), id=f"{page}-{number}")
    for page in ("README.md", "docs/python.md", "docs/python-models.md")
    for number, block in enumerate(
        re.finditer(
            r"^```python\n(.*?)^```\n(?:\n```output\n(.*?)^```\n)?",
            (ROOT / page).read_text(),
            re.MULTILINE | re.DOTALL,
        )
    )
]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def need_imports(program):
    """Skips the test where a library that a program imports is not installed."""
    imported = r"^(?:import|from) (?:grouphead\.)?(torch|jax|transformers|keras)\b"
    for name in re.findall(imported, program, re.M):
        pytest.importorskip(name)


@pytest.mark.parametrize("program, output", BLOCKS)
def test_program(program, output, tmp_path):
    need_imports(program)
    shutil.copytree(ROOT / "tests" / "golden" / "hf" / "llama", tmp_path / "llama")
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path
    )
    assert run.returncode == 0, run.stderr
    assert output is None or run.stdout == output


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda file: file.name)
def test_example(example, tmp_path):
    need_imports(example.read_text())
    run = subprocess.run([sys.executable, example], capture_output=True, text=True, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
