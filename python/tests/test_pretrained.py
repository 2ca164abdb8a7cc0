"""Models of the Hugging Face Hub: what transformers computed; text from them; tokenizers."""

import json
import os
import pickle
import signal
import threading

import numpy as np
import pytest

import grouphead
from support import GOLDEN, read_safetensors

LLAMA = read_safetensors(GOLDEN / "hf" / "llama" / "expect.safetensors")


@pytest.fixture(scope="module")
def llama():
    return grouphead.load_pretrained(GOLDEN / "hf" / "llama")


def test_logits(llama):
    logits = llama(LLAMA["batch.tokens"], attention_mask=LLAMA["batch.mask"])
    real = LLAMA["batch.mask"] != 0
    np.testing.assert_allclose(logits[real], LLAMA["batch.logits"][real], atol=2e-5)
    scores = llama.attention_scores(LLAMA["tokens"])
    np.testing.assert_allclose(scores[0][0], LLAMA["attention.0"], atol=1e-5)
    assert llama.model_type == "llama" and llama.config["model_type"] == "llama"


def test_text(llama):
    prompt, want = LLAMA["prompt"], LLAMA["greedy"]
    tokens = grouphead.generate(llama, prompt, max_new_tokens=len(want), temperature=0)
    assert tokens == list(want)
    both = llama.generate([prompt, prompt], max_new_tokens=len(want), eos_token_id=[])
    np.testing.assert_array_equal(both, [[*prompt, *want]] * 2)
    # A padded row continues as without padding.
    padded = llama.generate([0, 0, *prompt], [0, 0, *np.ones_like(prompt)], max_new_tokens=4,
                            eos_token_id=[])
    np.testing.assert_array_equal(padded[0, -4:], want[:4])
    ended = llama.generate(prompt, max_new_tokens=len(want), eos_token_id=int(want[1]))
    assert ended.shape[1] == len(prompt) + 1 + list(want).index(want[1])


def test_options_of_text(llama):
    prompt = LLAMA["prompt"]
    sampled = [grouphead.generate(llama, prompt, max_new_tokens=20, seed=3) for _ in range(2)]
    assert sampled[0] == sampled[1] and len(sampled[0]) == 20
    greedy = grouphead.generate(llama, prompt, max_new_tokens=20, temperature=0)
    drafted = grouphead.generate(llama, prompt, max_new_tokens=20, temperature=0, draft=llama)
    assert drafted == greedy
    seen = []

    def forbid(tokens, logits):
        seen.append(len(tokens))
        logits[greedy[0]] = -np.inf

    other = grouphead.generate(llama, prompt, max_new_tokens=3, temperature=0,
                               logits_processors=[forbid])
    assert greedy[0] not in other and seen == [len(prompt) + i for i in range(3)]
    streamed = []
    grouphead.generate(llama, prompt, max_new_tokens=9, temperature=0, stop_tokens=[greedy[4]],
                       on_token=lambda token: streamed.append(token))
    assert streamed == greedy[: 1 + greedy.index(greedy[4])]
    first = grouphead.generate(llama, prompt, on_token=lambda token: False, temperature=0)
    assert first == greedy[:1]
    beams = grouphead.beam_search(llama, prompt, max_new_tokens=4, num_beams=3)
    assert len(beams) == 3 and beams[0][1] >= beams[1][1] >= beams[2][1]
    best = llama.generate(prompt, max_new_tokens=4, num_beams=3, eos_token_id=[])
    np.testing.assert_array_equal(best[0, len(prompt) :], beams[0][0])


class Streamer:
    def __init__(self):
        self.values = []

    def put(self, value):
        self.values.append(value.tolist())

    def end(self):
        self.values.append("end")


def test_a_streamer(llama):
    streamer = Streamer()
    made = llama.generate(LLAMA["prompt"], max_new_tokens=2, streamer=streamer, eos_token_id=[])
    new = made[0, -2:].tolist()
    assert streamer.values == [[LLAMA["prompt"].tolist()], [new[0]], [new[1]], "end"]


def test_ctrl_c_keeps_the_tokens(llama):
    timer = threading.Timer(0.02, lambda: os.kill(os.getpid(), signal.SIGINT))
    drawn = []

    def watch(token):
        drawn.append(token)
        if len(drawn) == 10:
            timer.start()

    with pytest.raises(KeyboardInterrupt) as raised:
        grouphead.generate(
            llama, LLAMA["prompt"], max_new_tokens=10**7, temperature=0, on_token=watch
        )
    timer.join()
    want = list(LLAMA["greedy"])
    assert raised.value.tokens[: len(want)] == want

    def fail(token):
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        grouphead.generate(llama, LLAMA["prompt"], on_token=fail)


def test_an_encoder():
    expect = read_safetensors(GOLDEN / "hf" / "bert" / "expect.safetensors")
    bert = grouphead.load_pretrained(GOLDEN / "hf" / "bert")
    hidden = bert(expect["tokens"], expect["mask"], expect["types"])
    real = expect["mask"] != 0
    want = next(v for k, v in expect.items() if v.shape == hidden.shape)
    np.testing.assert_allclose(hidden[real], want[real], atol=2e-5)
    with pytest.raises(grouphead.ConfigError):
        grouphead.generate(bert, [1, 2])


def test_saving(llama, tmp_path):
    llama.save_pretrained(tmp_path)
    again = grouphead.load_pretrained(tmp_path)
    weights, same = llama.state_dict(), again.state_dict()
    assert list(weights) == list(same)
    for name in weights:
        np.testing.assert_array_equal(weights[name], same[name])
    new = grouphead.PretrainedModel.from_config(llama.config, seed=1)
    assert new.num_parameters() == llama.num_parameters()


def test_a_keras_model_generates():
    tensors = read_safetensors(GOLDEN / "keras_models" / "hub_llama.safetensors")
    ids = list(tensors["inputs.token_ids"][0])
    model = grouphead.load_model(GOLDEN / "keras_models" / "hub_llama.keras")
    tokens = grouphead.generate(model, ids, max_new_tokens=3, temperature=0)
    for token in tokens:
        every = model({"token_ids": [ids], "padding_mask": np.ones((1, len(ids)), np.int32)})
        assert np.argmax(every[0, -1]) == token
        ids.append(token)


def test_tokenizers():
    folder = GOLDEN / "tokenizers" / "gpt2"
    tokenizer = grouphead.Tokenizer.from_file(folder)
    encoding = tokenizer.encode("Hello, wörld!")
    assert tokenizer.decode(encoding.ids) == "Hello, wörld!"
    assert len(encoding.attention_mask) == len(encoding.ids) == len(encoding.type_ids)
    batch = tokenizer.encode_batch(["Hello", "wörld"])
    assert tokenizer.decode_batch([one.ids for one in batch]) == ["Hello", "wörld"]
    stream = tokenizer.decode_stream()
    assert "".join(map(stream.push, encoding.ids)) + stream.finish() == "Hello, wörld!"
    token = tokenizer.id_to_token(encoding.ids[0])
    assert tokenizer.token_to_id(token) == encoding.ids[0]
    assert tokenizer.token_to_id("no such token") is None and tokenizer.get_vocab_size() > 0
    assert pickle.loads(pickle.dumps(tokenizer)).encode("Hello").ids == batch[0].ids
    with pytest.raises(grouphead.IoError):
        grouphead.Tokenizer.from_file("none/such")


@pytest.mark.parametrize(
    "call",
    [
        lambda llama: llama([[29]]),
        lambda llama: llama([[0.5]]),
        lambda llama: llama([[[1]]]),
        lambda llama: llama([[1, 2]], attention_mask=[[1]]),
        lambda llama: grouphead.generate(llama, []),
        lambda llama: grouphead.generate(llama, [1.5]),
        lambda llama: grouphead.generate(llama, [2**40]),
        lambda llama: grouphead.generate(llama, [1], top_p=3),
        lambda llama: grouphead.generate(llama, [1], cache_dtype="int3"),
        lambda llama: grouphead.generate(3, [1]),
        lambda llama: grouphead.generate(llama, [1], logits_processors=[lambda t, x: x[:2]]),
        lambda llama: grouphead.beam_search(llama, [1], num_beams=0),
        lambda llama: llama.generate([[1]], num_beams=2, do_sample=True),
        lambda llama: grouphead.load_pretrained("/none/such"),
        lambda llama: grouphead.load_pretrained(GOLDEN),
        lambda llama: grouphead.PretrainedModel.from_config({"model_type": "none_such"}),
        lambda llama: grouphead.PretrainedModel.from_config(json.loads("[1]")),
    ],
)
def test_bad_input_is_an_exception(llama, call):
    with pytest.raises((ValueError, TypeError, OSError)):
        call(llama)
