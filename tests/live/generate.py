#!/usr/bin/env python3
"""Draws random layers and calls, and writes what the installed Keras makes of them.

    python generate.py --seed 7 --out DIR --layers Dense,GroupQueryAttention,...

The folder has the format of tests/golden/keras, whose generator this builds on; a second pass in 64
bits measures the tolerances by the rule in cases.json. plan.json lists what was drawn: a case's
options and its name make the case again (--plan), which is how failing cases are made smaller.
"""
import argparse
import collections
import copy
import json
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "golden", "keras")]

import generate_keras as G  # noqa: E402  (first: it sets up JAX; it reads --measure, too)
import draws  # noqa: E402
import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import keras  # noqa: E402
import numpy as np  # noqa: E402

ATTENTION = set(G.LAYERS)
TRAJECTORY_STEPS = 50
TRAJECTORY_TOLERANCE = 1e-4

if G.MEASURE:
    # Drawn in 64 bits, uniform numbers have other bits: the masks of dropout must be the same ones.
    bernoulli = jax.random.bernoulli
    jax.random.bernoulli = lambda key, p, shape=None: bernoulli(key, np.float32(p), shape)


class Writer(G.Writer):
    """Draws by the part of a name before `~`, so that variants of a case have its numbers."""

    def draw(self, name):
        return super().draw(name.split("~")[0])


class AnyLayer(dict):
    """Keras's layer classes by name."""

    def __missing__(self, name):
        return getattr(keras.layers, name)


attention_build, attention_invoke, attention_fill = G.build_layer, G.invoke, G.fill_weight


def tensors_of(call):
    names = call["inputs"]
    return names if isinstance(names, list) else [names]


def build_layer(kind, config, call, tensors):
    if kind in ATTENTION:
        return attention_build(kind, config, call, tensors)
    keras.backend.clear_session()
    layer = G.LAYERS[kind].from_config(config)
    shapes = [tensors[n].shape for n in tensors_of(call)]
    with G.zero_initialized():
        layer.build(shapes if isinstance(call["inputs"], list) else shapes[0])
    layer.built = True
    return layer


def invoke(layer, kind, call, env, tv, ntv):
    if kind in ATTENTION:
        return attention_invoke(layer, kind, call, env, tv, ntv)
    for k, m in (call.get("implicit_masks") or {}).items():
        keras.src.backend.set_keras_mask(env[tensors_of(call)[0 if k == "inputs" else int(k)]], env[m])
    args = [env[n] for n in tensors_of(call)]
    kw = {k: env[v] if isinstance(v, str) else v for k, v in call.items()
          if k not in ("inputs", "implicit_masks", "training") and v is not None}
    if layer._call_has_training_arg:
        kw["training"] = call["training"]
    mapping = list(zip(layer.trainable_variables, tv)) + list(zip(layer.non_trainable_variables, ntv))
    with keras.StatelessScope(state_mapping=mapping, collect_losses=True):
        out = layer(args if isinstance(call["inputs"], list) else args[0], **kw)
        losses = list(layer.losses)
    return out, None, losses


def fill_weight(r, path, shape, dtype):
    return attention_fill(r, path if "/" in path else "layer/" + path, shape, dtype)


def evaluate(layer, kind, case, tensors, weights, compute_dtype, jit=True):
    """Like the generator's, but for tokens as well, and with the mask of the output."""
    call = case["call"]
    wide = jnp.float64 if compute_dtype == "float64" else jnp.float32
    names = [v.path.split("/", 1)[1] for v in layer.trainable_variables]
    tv = [jnp.asarray(weights[n]) for n in names]
    ntv = [v.value for v in layer.non_trainable_variables]
    fin = {k: jnp.asarray(v) for k, v in tensors.items() if k.startswith("inputs.") and G.is_float(v)}
    rest = {k: jnp.asarray(v) for k, v in tensors.items()
            if k not in fin and k.split(".")[0] in ("inputs", "masks", "cotangent")}

    def f(tv, fin):
        env = {**rest, **fin}
        out, scores, losses = invoke(layer, kind, call, env, tv, ntv)
        loss = jnp.sum(out.astype(wide) * rest["cotangent.output"].astype(wide))
        if scores is not None:
            loss += jnp.sum(scores.astype(wide) * rest["cotangent.attention_scores"].astype(wide))
        ls = [jnp.asarray(x).astype(wide) for x in losses]
        if case["loss"]["add_layer_losses"]:
            for x in ls:
                loss += x
        return loss, (out, scores, ls, keras.src.backend.get_keras_mask(out))

    both = jax.jit(jax.value_and_grad(f, argnums=(0, 1), has_aux=True))
    (loss, (out, scores, ls, mask)), (gw, gi) = both(tv, fin)
    res = {"expect.output": np.asarray(out), "expect.loss": np.asarray(loss)}
    if scores is not None:
        res["expect.attention_scores"] = np.asarray(scores)
    if ls:
        res["expect.losses"] = np.asarray(jnp.stack(ls))
    if compute_dtype != "float64":  # the masks need no measuring
        res["expect.output_mask"] = np.zeros(0, bool) if mask is None else np.asarray(mask)
    for n, v in zip(names, gw):
        res["grad." + n] = np.asarray(v)
    for n, v in gi.items():
        res["grad." + n] = np.asarray(v)
    return res


G.LAYERS = AnyLayer(G.LAYERS)
G.build_layer, G.invoke, G.evaluate, G.fill_weight = build_layer, invoke, evaluate, fill_weight


def generic_case(w, name, kind, o):
    """A layer whose options are its keywords, the shapes of its inputs and how it is called."""
    r = w.draw(name)
    keras.backend.clear_session()
    layer = G.LAYERS[kind](name="layer", dtype=o["policy"], **copy.deepcopy(o["kw"]))
    tensors, names = {}, []
    for i, shape in enumerate(o["shapes"]):
        names.append("inputs.x%d" % i if len(o["shapes"]) > 1 else "inputs.x")
        if o.get("tokens"):
            tensors[names[-1]] = r.g.integers(0, o["tokens"], shape).astype(np.int32)
        else:
            tensors[names[-1]] = r.n(shape)
    call = {"inputs": names if o.get("list") else names[0], "training": o["training"]}
    for i in o.get("masked", ()):
        mask = r.mask(o["shapes"][i][:2], 0.7)
        mask[:, 0] = True
        tensors["masks.x%d" % i] = mask
        call.setdefault("implicit_masks", {})[str(i) if o.get("list") else "inputs"] = "masks.x%d" % i
    if o.get("zero_steps"):  # whole steps that Masking recognises
        x = tensors[names[0]]
        x[r.mask(x.shape[:2], 0.4)] = o["kw"].get("mask_value", 0.0)
    w.layer_case(name, kind, layer, call, tensors, r, add_losses=o["losses"])


def make_case(w, name, kind, o):
    o = {k: tuple(v) if isinstance(v, list) else v for k, v in o.items()} if kind in ATTENTION else o
    if kind == "GroupQueryAttention":
        G.gqa_case(w, name, **o)
    elif kind == "MultiHeadAttention":
        G.mha_case(w, name, **o)
    elif kind in ATTENTION:
        G.att_case(w, name, kind, **o)
    else:
        generic_case(w, name, kind, o)


def trajectory(w):
    """Fifty steps of AdamW, followed to 1e-4 absolute (see `tolerance`)."""
    plans = G.train_plans
    G.train_plans = lambda r: [("tokens_gqa_adamw", G.train_tokens, False, keras.optimizers.AdamW(
        learning_rate=r.u(0.001, 0.003), weight_decay=r.u(0.01, 0.05)))]
    loop = G.train_loop
    G.train_loop = lambda m, opt, loss, x, y, steps=5: loop(m, opt, loss, x, y, TRAJECTORY_STEPS)
    fit = keras.Model.fit
    keras.Model.fit = lambda self, *a, epochs, **kw: fit(self, *a, epochs=TRAJECTORY_STEPS, **kw)
    try:
        G.training_cases(w)
    finally:
        G.train_plans, G.train_loop, keras.Model.fit = plans, loop, fit
    w.cases[-1]["steps"] = TRAJECTORY_STEPS


def write(w, plan, with_trajectory, is_drawn):
    """Makes the cases of a plan; returns those that Keras could make. What was drawn has cases to spare."""
    made, counts = [], collections.Counter()
    for name, kind, o in plan:
        if is_drawn and counts[kind] == draws.wanted(kind):
            continue
        try:
            make_case(w, name, kind, o)
            made.append((name, kind, o))
            counts[kind] += 1
        except Exception as e:  # noqa: BLE001  (an impossible combination: Keras refuses it)
            if is_drawn:
                print("   refused: %s %s: %s" % (name, json.dumps(o), str(e).strip().split("\n")[0][:150]))
    if with_trajectory:
        trajectory(w)
    with open(os.path.join(w.out, "cases.json"), "w") as f:
        json.dump({"set": w.set, "seed": w.seed, "keras": keras.__version__, "backend": "jax",
                   "jax": jax.__version__, "cases": w.cases}, f, indent=1)
    with open(os.path.join(w.out, "plan.json"), "w") as f:
        json.dump(made, f, indent=1)
    return made


def measure(out):
    G.measure(out)
    path = os.path.join(out, "cases.json")
    doc = json.load(open(path))
    for case in doc["cases"]:
        if case["kind"] != "training":
            continue
        for name, t in case["tolerance"].items():
            if not t.get("analytically_zero_gradient"):
                t["atol"] = TRAJECTORY_TOLERANCE
    json.dump(doc, open(path, "w"), indent=1)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--seed", type=int, required=True)
    ap.add_argument("--out", required=True)
    ap.add_argument("--layers", default="", help="class names, comma-separated; `training` is the trajectory")
    ap.add_argument("--plan", help="a plan.json: makes these cases instead of drawing some")
    ap.add_argument("--measure", action="store_true", help="second pass only (internal)")
    a = ap.parse_args()
    if a.measure:
        return measure(a.out)
    os.makedirs(a.out, exist_ok=True)
    w = Writer("live", a.seed, a.out)
    names = [n for n in a.layers.split(",") if n]
    plan = json.load(open(a.plan)) if a.plan else draws.plan(
        G.Draw("live", a.seed, "plan"), [n for n in names if n != "training"])
    made = write(w, plan, "training" in names, is_drawn=not a.plan)
    subprocess.run([sys.executable, os.path.abspath(__file__), "--seed", str(a.seed), "--out", a.out, "--measure"],
                   check=True, stdout=subprocess.DEVNULL)
    counts = collections.Counter(kind for _, kind, _ in made)
    print("seed %d: %s" % (a.seed, ", ".join("%s %d" % c for c in sorted(counts.items()))))


if __name__ == "__main__":
    main()
