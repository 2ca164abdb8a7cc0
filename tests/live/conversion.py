#!/usr/bin/env python3
"""`grouphead convert --kv-heads 1` on Hugging Face folders, against transformers.

    python conversion.py --program build/release/grouphead --out build/live SEED...

Each model of tests/golden/hf is converted, opened by transformers, and compared with what
`grouphead check --golden` computes of the same folder: outputs, padded batches, attention, a greedy
continuation; gradients too where no heads are repeated. Exit: 0 when all agree, 1 when not.
"""
import argparse
import os
import shutil
import subprocess
import sys

GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "golden", "hf")
sys.path.insert(0, GOLDEN)

import generate_hf as hf  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM  # noqa: E402

NOTHING_TO_CONVERT = "less than it"
gradients = hf.gradients


class Opened:
    """In place of transformers' makers of new models: the one of a folder, all of it found."""

    def __init__(self, folder, kind):
        self.folder, self.maker = folder, AutoModel if kind == "encoder" else AutoModelForCausalLM

    def from_config(self, config, **words):
        model, found = self.maker.from_pretrained(self.folder, attn_implementation="eager",
                                                  output_loading_info=True)
        missing = [key for key in found["missing_keys"] if "pooler" not in key]
        if missing or found["unexpected_keys"] or found["mismatched_keys"]:
            sys.exit(f"{self.folder}: transformers found other weights: {found}")
        if hasattr(model, "pooler"):
            model.pooler = None
        return model


def converted(program, name, out):
    """The folder, or None where a model has one head already."""
    folder = os.path.join(out, "converted", name)
    shutil.rmtree(folder, ignore_errors=True)
    result = subprocess.run([program, "convert", "--quiet", "--kv-heads", "1",
                             os.path.join(GOLDEN, name), folder], capture_output=True, text=True)
    if result.returncode == 0:
        return folder
    return None if NOTHING_TO_CONVERT in result.stderr else sys.exit(result.stderr)


def agrees(program, name, folder, seed):
    family, _, kind, _ = hf.CASES[name]
    config = AutoConfig.from_pretrained(folder)
    is_repeated = hasattr(config, "grouphead_key_value_heads")
    hf.AutoModel = hf.AutoModelForCausalLM = Opened(folder, kind)
    hf.draw_weights = lambda model, seed: None
    hf.gradients = (lambda model, value: {}) if is_repeated else gradients
    case = hf.encoder_case if kind == "encoder" else hf.decoder_case
    _, expected = case(config, seed)
    save_file({key: value.detach().contiguous().clone() for key, value in expected.items()},
              os.path.join(folder, "expect.safetensors"), metadata={"family": family, "kind": kind})
    result = subprocess.run([program, "check", "--quiet", "--golden", folder], capture_output=True,
                            text=True)
    failed = [line for line in result.stdout.splitlines() if line.startswith("FAILED")]
    if is_repeated:
        failed = [line for line in failed if "gradients: expected 0" not in line]
    print("\n".join([f"{name}: {result.stdout.splitlines()[-1]}", *failed]), flush=True)
    return not failed


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True)
    parser.add_argument("--files", help="not used: the other scripts take it")
    parser.add_argument("--out", required=True)
    parser.add_argument("--only", nargs="*", help="names of cases")
    parser.add_argument("seeds", type=int, nargs="+")
    given = parser.parse_args()
    hf.torch.set_num_threads(1)
    passed = True
    for name in given.only or sorted(hf.CASES):
        folder = converted(given.program, name, given.out)
        for seed in given.seeds if folder else []:
            passed = agrees(given.program, name, folder, seed) and passed
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
