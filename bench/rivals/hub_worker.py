"""One library in a process of its own, as bench_hub: hub_worker.py LIBRARY FOLDER INPUTS THREADS

With `make` for LIBRARY it makes the model and its inputs, and THREADS is the number of layers.
"""
import os
import sys

from worker import measure, prepare, say, unbind

VOCABULARY = 32000


def make(folder, inputs, layers):
    import torch
    from safetensors.torch import save_file
    from transformers import LlamaConfig, LlamaForCausalLM
    torch.manual_seed(1)
    config = LlamaConfig(vocab_size=VOCABULARY, hidden_size=768, num_hidden_layers=layers,
                         num_attention_heads=12, num_key_value_heads=4, intermediate_size=2048,
                         max_position_embeddings=2048)
    LlamaForCausalLM(config).save_pretrained(folder)
    draw = lambda *shape: torch.randint(0, VOCABULARY, shape, dtype=torch.int32)
    save_file({"prompt": draw(1, 1024), "tokens": draw(2, 512), "labels": draw(2, 512),
               "prompt_1": draw(1, 64), "next_1": draw(1, 128),
               "prompt_8": draw(8, 64), "next_8": draw(8, 128)}, inputs)


def language_model(folder, inputs, compiled):
    import torch
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM, DynamicCache, StaticCache
    given = {name: tensor.long() for name, tensor in load_file(inputs).items()}
    load = lambda dtype: AutoModelForCausalLM.from_pretrained(folder, dtype=dtype,
                                                              attn_implementation="sdpa")
    models = {}

    def forward_of(name, dtype):
        if name not in models:
            model = load(dtype)
            models[name] = model, torch.compile(model) if compiled else model
        return models[name]

    def new_cache(model, length):
        return StaticCache(model.config, max_cache_len=length) if compiled else DynamicCache()

    @torch.inference_mode()
    def prefill():
        model, forward = forward_of("f32", torch.float32)
        return forward(given["prompt"], cache=new_cache(model, 1024),
                       logits_to_keep=1).logits[:, -1]

    @torch.inference_mode()
    def generate(batch, name, dtype):
        model, forward = forward_of(name, dtype)
        prompt, following = given["prompt_" + batch], given["next_" + batch]
        cache = new_cache(model, prompt.shape[1] + following.shape[1])
        logits = model(prompt, cache=cache, logits_to_keep=1).logits[:, -1]
        for i in range(following.shape[1]):
            logits.argmax(-1)
            token = following[:, i : i + 1].contiguous()
            logits = forward(token, cache=cache).logits[:, -1]
        return logits

    def train():
        if "trained" not in models:
            model, forward = forward_of("trained", torch.float32)
            model.train()
            optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, weight_decay=0.1)
            models["optimizer"] = optimizer
        forward, optimizer = models["trained"][1], models["optimizer"]
        optimizer.zero_grad(set_to_none=True)
        logits = forward(given["tokens"]).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), given["labels"].flatten())
        loss.backward()
        optimizer.step()
        return loss.detach().reshape(1)

    f32, bf16 = torch.float32, torch.bfloat16
    return {"prefill": prefill, "train": train,
            "generate-1": lambda: generate("1", "f32", f32),
            "generate-8": lambda: generate("8", "f32", f32),
            "generate-1-bf16": lambda: generate("1", "bf16", bf16),
            "generate-8-bf16": lambda: generate("8", "bf16", bf16)}


def texts_of(inputs):
    with open(inputs, encoding="utf-8") as file:
        return file.read().splitlines()


def sentence_transformers(folder, inputs):
    from sentence_transformers import SentenceTransformer
    import torch
    model, texts = SentenceTransformer(folder, device="cpu"), texts_of(inputs)
    return {"embed": lambda: torch.from_numpy(model.encode(texts, show_progress_bar=False))}


def onnxruntime_sentences(folder, inputs, threads):
    """BERT as a graph, means of its hidden states of length 1; batches of similar length."""
    import numpy as np
    import onnxruntime
    import torch
    from sentence_transformers import SentenceTransformer
    model, texts = SentenceTransformer(folder, device="cpu"), texts_of(inputs)
    transformer, tokenizer = model[0].auto_model, model.tokenizer
    length = model.max_seq_length

    class Pooled(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = transformer

        def forward(self, tokens, mask):
            hidden = self.inner(input_ids=tokens, attention_mask=mask).last_hidden_state
            weights = mask.unsqueeze(-1).to(hidden.dtype)
            mean = (hidden * weights).sum(1) / weights.sum(1)
            return torch.nn.functional.normalize(mean, dim=1)

    file = inputs + ".onnx"
    example = torch.ones(2, 7, dtype=torch.int64)
    torch.onnx.export(Pooled().eval(), (example, example), file, input_names=["tokens", "mask"],
                      output_names=["y"], dynamo=False, opset_version=17,
                      dynamic_axes={"tokens": {0: "b", 1: "t"}, "mask": {0: "b", 1: "t"}})
    unbind()
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(file, settings, providers=["CPUExecutionProvider"])
    os.unlink(file)

    def embed():
        ids = tokenizer(texts, truncation=True, max_length=length)["input_ids"]
        order = sorted(range(len(texts)), key=lambda i: -len(ids[i]))
        out = np.empty((len(texts), transformer.config.hidden_size), np.float32)
        for begin in range(0, len(order), 64):
            chosen = order[begin : begin + 64]
            widest = len(ids[chosen[0]])
            tokens = np.zeros((len(chosen), widest), np.int64)
            mask = np.zeros_like(tokens)
            for row, i in enumerate(chosen):
                tokens[row, : len(ids[i])], mask[row, : len(ids[i])] = ids[i], 1
            out[chosen] = session.run(None, {"tokens": tokens, "mask": mask})[0]
        return torch.from_numpy(out)
    return {"embed": embed}


def main():
    library, folder, inputs, last = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
    if library == "make":
        make(folder, inputs, last)
        return
    out = os.dup(1)  # libraries print to standard output
    os.dup2(2, 1)
    sys.stdout = os.fdopen(out, "w")
    prepare(last)
    import torch
    from safetensors.torch import save_file
    torch.set_num_threads(last)
    if library == "onnxruntime" and inputs.endswith(".safetensors"):
        import onnx_llama
        unbind()
        ways = {way: lambda run=run: torch.from_numpy(run())
                for way, run in onnx_llama.ways(folder, inputs, last).items()}
    elif library == "onnxruntime":
        ways = onnxruntime_sentences(folder, inputs, last)
    elif library == "sentence-transformers":
        ways = sentence_transformers(folder, inputs)
    else:
        ways = language_model(folder, inputs, library.endswith("compiled"))
    print("ready", flush=True)
    for line in sys.stdin:
        way, *file = line.split()
        if way not in ways:
            say(why="not done with this library")
            continue
        try:
            if file:
                save_file({"y": ways[way]().float().contiguous()}, file[0])
            say(ms=measure(ways[way], 0.1))
        except Exception as error:  # what a library cannot do is no figure
            say(why=f"{type(error).__name__}: {error}"[:300])


if __name__ == "__main__":
    main()
