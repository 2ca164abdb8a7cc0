"""Models of transformers with attn_implementation="grouphead", against what eager attention gave."""

import inspect
from pathlib import Path

import golden
import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import grouphead.transformers  # noqa: E402
from grouphead import torch as gt  # noqa: E402

FOLDER = Path(__file__).parents[2] / "tests" / "golden" / "hf"
# They compute ALiBi or attention in code of their own, which no attention implementation replaces.
WITHOUT_INTERFACE = {"bloom", "bloom_residual", "falcon_alibi", "falcon_mqa", "falcon_new"}
MODELS = sorted(path.parent.name for path in FOLDER.glob("*/expect.safetensors"))
grouphead.transformers.register()


@pytest.fixture
def calls(monkeypatch):
    """How often the kernels were called."""
    made = []
    attention = gt.attention
    monkeypatch.setattr(gt, "attention", lambda *a, **o: made.append(o) or attention(*a, **o))
    return made


def load(name, kind):
    model = kind.from_pretrained(
        FOLDER / name, attn_implementation="grouphead", dtype=torch.float32
    ).eval()
    tensors, _ = golden.read_safetensors(FOLDER / name / "expect.safetensors")
    return model, {key: torch.tensor(x) for key, x in tensors.items()}


def assert_near(actual, expected):
    torch.testing.assert_close(actual, expected, atol=3e-5, rtol=3e-5)


def assert_gradients(model, expected):
    parameters = dict(model.named_parameters())
    wanted = {key[5:]: x for key, x in expected.items() if key.startswith("grad.")}
    assert wanted
    # Of a key's bias it is zero but for rounding.
    least = 1e-2 * max(x.abs().max().item() for x in wanted.values())
    for key, right in wanted.items():
        bound = 1e-4 * max(right.abs().max().item(), least)
        torch.testing.assert_close(parameters[key].grad, right, atol=bound, rtol=0)


@pytest.mark.parametrize("name", [n for n in MODELS if n not in WITHOUT_INTERFACE])
def test_model(name, calls):
    has_logits = "logits" in golden.read_safetensors(FOLDER / name / "expect.safetensors")[0]
    if has_logits:
        check_decoder(name)
    else:
        check_encoder(name)
    assert calls


def check_decoder(name):
    model, expected = load(name, transformers.AutoModelForCausalLM)
    tokens = expected["tokens"][None]
    output = model(tokens, labels=tokens)
    assert_near(output.logits[0], expected["logits"])
    output.loss.backward()
    assert_gradients(model, expected)
    inputs = {"attention_mask": expected["batch.mask"]}
    if "position_ids" in inspect.signature(model.forward).parameters:
        inputs["position_ids"] = (inputs["attention_mask"].cumsum(1) - 1).clamp(min=0)
    with torch.no_grad():
        logits = model(expected["batch.tokens"], **inputs).logits
    real = expected["batch.mask"].bool()
    assert_near(logits[real], expected["batch.logits"][real])
    wanted = expected["greedy.logits"].topk(2).values
    ties = (wanted[:, 0] - wanted[:, 1] < 1e-3).nonzero()
    count = int(ties[0]) if len(ties) else len(wanted)
    made = model.generate(
        expected["prompt"][None], max_new_tokens=len(wanted), do_sample=False, eos_token_id=None
    )[0, len(expected["prompt"]) :]
    assert torch.equal(made[:count], expected["greedy"][:count])


def check_encoder(name):
    model, expected = load(name, transformers.AutoModel)
    inputs = {"input_ids": expected["tokens"], "attention_mask": expected["mask"]}
    if "types" in expected and model.config.model_type == "bert":
        inputs["token_type_ids"] = expected["types"]
    hidden = model(**inputs).last_hidden_state
    real = expected["mask"].bool()
    assert_near(hidden[real], expected["hidden"][real])
    (hidden * expected["weight"] * expected["mask"][..., None]).sum().backward()
    assert_gradients(model, expected)


def test_a_static_cache_and_dropout(calls):
    model, expected = load("llama", transformers.AutoModelForCausalLM)
    arguments = {"max_new_tokens": 6, "do_sample": False, "eos_token_id": None}
    prompt = expected["prompt"][None]
    made = model.generate(prompt, cache_implementation="static", **arguments)
    assert torch.equal(made, model.generate(prompt, **arguments))
    model.config.attention_dropout = 0.5
    for layer in model.model.layers:
        layer.self_attn.attention_dropout = 0.5
    model.train()
    torch.manual_seed(0)
    first = model(prompt).logits
    assert calls[-1]["dropout_rate"] == 0.5
    assert (model(prompt).logits != first).any()


def test_float16_runs_on_pytorchs_own(calls):
    model, expected = load("llama", transformers.AutoModelForCausalLM)
    logits = model.half()(expected["tokens"][None]).logits[0]
    assert not calls
    assert np.isfinite(logits.detach().numpy()).all()
