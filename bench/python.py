#!/usr/bin/env python3
"""Times Python's libraries before and after grouphead's one line: bench/python.py [PART...]

    sdpa          F.scaled_dot_product_attention on the attention problems of
                  bench/problems/rivals.txt and on small ones, after grouphead.torch.enable()
    transformers  a Llama of 110 million parameters, T = 1024: a training step and the prefill, with
                  attn_implementation="sdpa" and "grouphead"
    keras         fit() of a model of GroupQueryAttention layers, under Keras's PyTorch and JAX
                  backends, after grouphead.keras.enable()

Without PART all three. It runs in a Python that has the package and these libraries: that of
build/live-venv, which `./test --live` makes.

Both ways take turns in one process, a round each; the figures are medians of the rounds, and
`ratio` is the median of their quotients: above 1, grouphead is faster. It prints tables, and adds a
JSON line for each figure to --out. --smoke takes tiny sizes, and shows only that everything runs.
"""
import argparse
import datetime
import importlib.metadata
import json
import os
import pathlib
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "bench" / "rivals"))
from worker import measure as milliseconds
SMALL = (
    "attention.fwd f32 b1 t16 hq8 hkv8 d64",
    "attention.fwdbwd f32 b1 t16 hq8 hkv8 d64",
    "attention.fwd f32 b1 t1 s64 hq8 hkv8 d64",
)


def compared(name, before, after, options):
    """The figures of two ways to do the same, which take turns."""
    for run in (before, after):
        run()
    rounds = [
        [milliseconds(run, options.min_time) for run in (before, after)]
        for _ in range(options.rounds)
    ]
    ratios = [old / new for old, new in rounds]
    middle = statistics.median(ratios)
    return {
        "case": name,
        "before_ms": statistics.median(old for old, _ in rounds),
        "after_ms": statistics.median(new for _, new in rounds),
        "ratio": middle,
        "ratio_mad": statistics.median(abs(ratio - middle) for ratio in ratios),
    }


def attention_problems():
    lines = (ROOT / "bench" / "problems" / "rivals.txt").read_text().splitlines()
    return [*SMALL, *(line for line in lines if line.startswith("attention."))]


def sizes_of(problem):
    """`b1 t1024 hq32` as {"b": 1, "t": 1024, "hq": 32}."""
    sizes = {}
    for word in problem.split():
        letters = word.rstrip("0123456789")
        if letters != word and letters in ("b", "t", "s", "hq", "hkv", "d"):
            sizes[letters] = int(word[len(letters):])
    return {"s": sizes["t"], **sizes}


def attention_case(problem, options):
    """A call of F.scaled_dot_product_attention, and the same after enable()."""
    import torch
    import torch.nn.functional as F
    import grouphead.torch

    n = sizes_of(problem)
    if options.smoke:
        n.update(t=min(n["t"], 32), s=min(n["s"], 32))
    words = problem.split()
    is_trained = words[0] == "attention.fwdbwd"
    dtype = torch.bfloat16 if "bf16" in words else torch.float32
    torch.manual_seed(1)
    q, k, v = (
        torch.randn(n["b"], heads, rows, n["d"]).to(dtype).requires_grad_(is_trained)
        for heads, rows in ((n["hq"], n["t"]), (n["hkv"], n["s"]), (n["hkv"], n["s"]))
    )
    d_out = torch.randn(n["b"], n["hq"], n["t"], n["d"]).to(dtype)
    mask = None
    if "mask=bool" in words:
        mask = torch.rand(n["b"], 1, n["t"], n["s"]) < 0.7
        mask[..., 0] = True
    settings = {"attn_mask": mask, "is_causal": "causal" in words, "enable_gqa": n["hq"] > n["hkv"]}
    pytorch = F.scaled_dot_product_attention
    with grouphead.torch.enable():
        ours = F.scaled_dot_product_attention

    def run(attend):
        out = attend(q, k, v, **settings)
        return (out, *torch.autograd.grad(out, (q, k, v), d_out)) if is_trained else (out,)

    for mine, theirs in zip(run(ours), run(pytorch)):
        bound = 2e-2 if dtype == torch.bfloat16 else 1e-4
        assert torch.allclose(mine, theirs, rtol=bound, atol=bound), problem
    return lambda: run(pytorch), lambda: run(ours)


def measure_sdpa(options):
    for problem in attention_problems():
        yield compared(problem, *attention_case(problem, options), options)


def llama(options):
    """The settings of 110 million parameters: 12 layers of width 768, 12 heads."""
    from transformers import LlamaConfig

    sizes = {"hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 12}
    if options.smoke:
        sizes = {"hidden_size": 96, "intermediate_size": 128, "num_hidden_layers": 2}
    return LlamaConfig(
        vocab_size=64 if options.smoke else 32000,
        num_attention_heads=12,
        num_key_value_heads=12,
        tie_word_embeddings=True,
        max_position_embeddings=2048,
        **sizes,
    )


def measure_transformers(options):
    import torch
    from transformers import AutoModelForCausalLM
    import grouphead.transformers

    grouphead.transformers.register()
    torch.manual_seed(1)
    config = llama(options)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")
    length = 16 if options.smoke else 1024
    tokens = torch.randint(config.vocab_size, (1, length))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def prefill():
        with torch.no_grad():
            return model(tokens, use_cache=True, logits_to_keep=1).logits

    def train():
        optimizer.zero_grad()
        model(tokens, labels=tokens).loss.backward()
        optimizer.step()

    def by(implementation, run):
        def switched():
            model.set_attn_implementation(implementation)
            return run()
        return switched

    theirs, ours = (by(name, prefill)() for name in ("sdpa", "grouphead"))
    assert torch.allclose(theirs, ours, atol=1e-3), "prefill"
    millions = sum(x.numel() for x in model.parameters()) / 1e6
    for name, run in (("prefill", prefill), ("training step", train)):
        title = f"Llama of {millions:.0f} M, B = 1, T = {length}, {name}"
        yield compared(title, by("sdpa", run), by("grouphead", run), options)


def keras_model(options):
    """Four blocks of grouped-query attention and a feed-forward part."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(1)
    width, blocks = (32, 1) if options.smoke else (512, 4)
    x = inputs = keras.Input((16 if options.smoke else 512, width))
    for _ in range(blocks):
        attention = layers.GroupQueryAttention(width // 8, 8, 2)
        normed = layers.LayerNormalization()(x)
        x = x + attention(normed, normed, use_causal_mask=True)
        inner = layers.Dense(4 * width, "gelu")(layers.LayerNormalization()(x))
        x = x + layers.Dense(width)(inner)
    model = keras.Model(inputs, layers.Dense(1)(layers.GlobalAveragePooling1D()(x)))
    model.compile("adam", "mse")
    return model


def measure_keras(options):
    """In this process's backend."""
    import keras
    import numpy as np
    import grouphead.keras

    x = np.random.default_rng(1).standard_normal((16, *keras_model(options).input_shape[1:]))
    x, y = x.astype("float32"), x[:, 0, :1].astype("float32")

    def fit_of(model):
        return lambda: model.fit(x, y, batch_size=4, epochs=1, shuffle=False, verbose=0)

    before = fit_of(keras_model(options))
    enabled_fit = fit_of(keras_model(options))

    def after():
        with grouphead.keras.enable():
            return enabled_fit()

    losses = [run().history["loss"][0] for run in (before, after)]
    assert abs(losses[0] - losses[1]) < 1e-3 * abs(losses[0]), losses
    shape = "x".join(map(str, (4, *x.shape[1:])))
    title = f"Keras, {keras.backend.backend()}: fit, 4 steps of GQA blocks on {shape}"
    yield compared(title, before, after, options)


def facts_of(options):
    names = ("grouphead", "torch", "transformers", "keras", "jax")
    cpu = next(
        (line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if "model name" in line),
        "unknown",
    )
    return {
        "date": datetime.date.today().isoformat(),
        "cpu": cpu,
        "threads": options.threads,
        "rounds": options.rounds,
        **{name: importlib.metadata.version(name) for name in names},
    }


def measure(part, options):
    """Prints the rows of one part in this process."""
    import torch
    import grouphead

    torch.set_num_threads(options.threads)
    grouphead.set_num_threads(options.threads)
    name = part.split("-")[0]
    run = {"sdpa": measure_sdpa, "transformers": measure_transformers, "keras": measure_keras}[name]
    facts = facts_of(options)
    for line in run(options):
        times = f"{line['before_ms']:.4g} ms | {line['after_ms']:.4g} ms"
        ratio = f"{line['ratio']:.2f}x ± {line['ratio_mad']:.2f}"
        print(f"| {line['case']} | {times} | {ratio} |", flush=True)
        with open(options.out, "a") as out:
            out.write(json.dumps({**line, **facts}) + "\n")


def run_apart(part, words, options):
    """One part in a process of its own: threads and Keras's backend are fixed at the start."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads), "JAX_PLATFORMS": "cpu"}
    if part.startswith("keras-"):
        environment["KERAS_BACKEND"] = part.split("-")[1]
    command = [sys.executable, __file__, "--here", part, *words]
    return subprocess.run(command, env=environment).returncode


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help="sdpa, transformers, keras")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--min-time", type=float, default=0.2, help="seconds of each round")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, three short rounds")
    parser.add_argument("--out", default=ROOT / "build" / "python.jsonl", help="added to")
    parser.add_argument("--here", help=argparse.SUPPRESS)
    options = parser.parse_args()
    for part in options.parts:
        if part not in ("sdpa", "transformers", "keras"):
            parser.error(f"PART: expected sdpa, transformers or keras, got {part}")
    if options.smoke:
        options.rounds, options.min_time = 3, 0.001
    return options


def main():
    options = arguments()
    if options.here:
        return measure(options.here, options)
    pathlib.Path(options.out).parent.mkdir(exist_ok=True)
    words = [f"--threads={options.threads}", f"--rounds={options.rounds}",
             f"--min-time={options.min_time}", f"--out={options.out}"]
    words += ["--smoke"] if options.smoke else []
    parts = options.parts or ["sdpa", "transformers", "keras"]
    every = [one for part in parts
             for one in (("keras-torch", "keras-jax") if part == "keras" else (part,))]
    facts = facts_of(options)
    print(", ".join(f"{name} {value}" for name, value in facts.items()))
    if options.smoke:
        print("smoke: tiny sizes, not those of the names; no figure means anything")
    print("| case | before | after | ratio |\n|---|---|---|---|", flush=True)
    return max(abs(run_apart(part, words, options)) for part in every)  # of a signal: below 0


if __name__ == "__main__":
    sys.exit(main())
