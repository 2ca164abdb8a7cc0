"""Folders with tokenizers, and what sentence-transformers and transformers make of texts.

Written with sentence-transformers 6.2, transformers 5.24, torch 2.15:
    python generate_hub.py
"""
import json
import pathlib
import shutil

import torch
from safetensors.torch import save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
from transformers import AutoTokenizer, BertConfig, BertModel, LlamaConfig, LlamaForCausalLM
from transformers import PreTrainedTokenizerFast

HERE = pathlib.Path(__file__).parent
TOKENIZERS = HERE.parent / "tokenizers"
SENTENCES = [
    "It's a word.",
    "",
    "A longer sentence, which has more tokens than the other ones have, and is cut at the end.",
    "Ein Satz.",
    "a word it's",
]
TEXT = "In the beginning there was a text. " * 3 + "It's followed by 1,234 other words;\n\n" * 4


def randomized(model, seed):
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter + torch.randn_like(parameter) * 0.2)
    return model.eval()


def tokenizer_of(name, **special):
    file = str(TOKENIZERS / name / "tokenizer.json")
    return PreTrainedTokenizerFast(tokenizer_file=file, **special)


def encoder(folder, pooling, older):
    tokenizer = tokenizer_of("bert", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]",
                             model_max_length=20)
    config = BertConfig(vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=2,
                        num_attention_heads=4, intermediate_size=24, max_position_embeddings=40)
    base = folder / "base"
    randomized(BertModel(config), 1).save_pretrained(base)
    tokenizer.save_pretrained(base)
    model = SentenceTransformer(modules=[Transformer(str(base)), Pooling(16, pooling), Normalize()],
                                device="cpu", prompts={"mark": "a word: "},
                                default_prompt_name=None if older else "mark")
    shutil.rmtree(base)
    model.save(str(folder), create_model_card=False)
    if older:  # the keys of versions before 6
        (folder / "1_Pooling/config.json").write_text(json.dumps(
            {"word_embedding_dimension": 16, "pooling_mode_cls_token": True,
             "pooling_mode_mean_tokens": False, "pooling_mode_weightedmean_tokens": True}))
        (folder / "sentence_bert_config.json").write_text(json.dumps(
            {"max_seq_length": 12, "do_lower_case": False}))
        model = SentenceTransformer(str(folder), device="cpu")
    vectors = torch.from_numpy(model.encode(SENTENCES))
    (folder / "sentences.txt").write_text("".join(s + "\n" for s in SENTENCES))
    save_file({"vectors": vectors}, folder / "expect.safetensors")


def losses(model, ids, length, stride):
    """Sum and number of the losses of tokens, each in the first window that has it."""
    total, count, done = 0.0, 0, 0
    for begin in range(0, len(ids), stride):
        end = min(begin + length, len(ids))
        window = torch.tensor([ids[begin:end]])
        labels = window.clone()
        labels[:, : done - begin if done > begin else 0] = -100
        counted = int((labels[:, 1:] != -100).sum())
        if counted:
            total += model(window, labels=labels).loss.double().item() * counted
        count += counted
        done = end
        if end == len(ids):
            return total, count


def decoder(folder):
    tokenizer = tokenizer_of("llama2", bos_token="<s>")
    config = LlamaConfig(vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=2,
                         num_attention_heads=4, num_key_value_heads=2, intermediate_size=24,
                         max_position_embeddings=64)
    model = randomized(LlamaForCausalLM(config), 2)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "text.txt").write_text(TEXT)
    ids = AutoTokenizer.from_pretrained(folder)(TEXT)["input_ids"]
    cases = []
    with torch.no_grad():
        for length, stride in [(64, 32), (30, 7), (30, 30), (1000, 500)]:
            total, count = losses(model, ids, length, stride)
            cases.append({"length": length, "stride": stride, "tokens": count,
                          "loss": total / count})
    expected = {"ids": len(ids), "cases": cases}
    (folder / "expect.json").write_text(json.dumps(expected, indent=1) + "\n")


def clean(folder):
    for name in ["README.md", ".gitattributes", "generation_config.json"]:
        (folder / name).unlink(missing_ok=True)
    tokenizer = folder / "tokenizer.json"
    tokenizer.write_text(json.dumps(json.loads(tokenizer.read_text()), separators=(",", ":")))
    for file in folder.rglob("*.safetensors"):
        file.chmod(0o644)


if __name__ == "__main__":
    for name, work in [("encoder", lambda f: encoder(f, "mean", False)),
                       ("encoder_older", lambda f: encoder(f, "cls", True)),
                       ("decoder", decoder)]:
        shutil.rmtree(HERE / name, ignore_errors=True)
        (HERE / name).mkdir()
        work(HERE / name)
        clean(HERE / name)
