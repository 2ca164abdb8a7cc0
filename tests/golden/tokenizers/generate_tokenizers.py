#!/usr/bin/env python3
"""Small tokenizers of the kinds that real models ship, made with the real `tokenizers` library, and what they answer.

    python generate_tokenizers.py OUT TEXT... [--set developers|other]

A case is a folder with tokenizer.json and cases.json: a list of {text, ids, ids_special, decoded, decoded_special}, where `ids` is
encode(text, add_special_tokens=False), `ids_special` the same with special tokens, `decoded` decode(ids_special) and
`decoded_special` decode(ids_special, skip_special_tokens=False). Needs tokenizers 0.23.3. TEXT are the files to train on.
"""
import argparse
import json
import os
import random

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
import tokenizers

GPT4 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
O200K = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
BYTES = pre_tokenizers.ByteLevel.alphabet()


def bpe(size, special, **words):
    return trainers.BpeTrainer(vocab_size=size, special_tokens=special, show_progress=False, **words)


def gpt2(size):
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.decoder = decoders.ByteLevel()
    t.post_processor = processors.ByteLevel(trim_offsets=False)
    return t, bpe(size, ["<|endoftext|>"], initial_alphabet=BYTES)


def neox(size):
    t, trainer = gpt2(size)
    t.normalizer = normalizers.NFC()
    return t, trainer


def split(size, pattern, start, special):
    t = Tokenizer(models.BPE(ignore_merges=True))
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.decoder = decoders.ByteLevel()
    return t, bpe(size, special, initial_alphabet=BYTES), start


def roberta(size):
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    t.decoder = decoders.ByteLevel()
    return t, bpe(size, ["<s>", "<pad>", "</s>", "<unk>", "<mask>"], initial_alphabet=BYTES)


def llama2(size, prepend):
    t = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    steps = [normalizers.Prepend("▁")] if prepend else []
    t.normalizer = normalizers.Sequence(steps + [normalizers.Replace(" ", "▁")])
    if not prepend:
        t.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    back = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    t.decoder = decoders.Sequence(back + ([decoders.Strip(" ", 1, 0)] if prepend else []))
    return t, bpe(size, ["<unk>", "<s>", "</s>"] + ["<0x%02X>" % b for b in range(256)], max_token_length=12)


def bert(size, lowercase):
    t = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=20))
    t.normalizer = normalizers.BertNormalizer(lowercase=lowercase, handle_chinese_chars=True, strip_accents=None, clean_text=True)
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    t.decoder = decoders.WordPiece()
    return t, trainers.WordPieceTrainer(vocab_size=size, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], show_progress=False)


def unigram(size):
    t = Tokenizer(models.Unigram())
    t.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    t.pre_tokenizer = pre_tokenizers.Metaspace()
    t.decoder = decoders.Metaspace()
    return t, trainers.UnigramTrainer(vocab_size=size, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False)


def template(t, single, pair=None):
    ids = [(x, t.token_to_id(x)) for x in set(single.replace("$A", "").replace(":0", "").split())]
    t.post_processor = processors.TemplateProcessing(single=single, pair=pair, special_tokens=ids)


def make(kind, files, size):
    start = None
    if kind in ("gpt2", "neox", "roberta", "unigram"):
        t, trainer = {"gpt2": gpt2, "neox": neox, "roberta": roberta, "unigram": unigram}[kind](size)
    elif kind == "llama3":
        t, trainer, start = split(size, GPT4, "<|begin_of_text|> $A", ["<|begin_of_text|>", "<|end_of_text|>"])
    elif kind == "qwen":
        t, trainer, start = split(size, QWEN, None, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
        t.normalizer = normalizers.NFC()
    elif kind == "gpt_oss":
        t, trainer, start = split(size, O200K, None, ["<|startoftext|>", "<|endoftext|>"])
    elif kind in ("llama2", "gemma"):
        t, trainer = llama2(size, kind == "llama2")
        start = "<s> $A"
    elif kind in ("bert", "bert_cased"):
        t, trainer = bert(size, kind == "bert")
    t.train(files, trainer)
    if start:
        template(t, start)
    if kind.startswith("bert"):
        template(t, "[CLS] $A [SEP]")
    if kind == "unigram":
        template(t, "$A </s>")
    if kind == "roberta":
        t.post_processor = processors.RobertaProcessing(("</s>", t.token_to_id("</s>")), ("<s>", t.token_to_id("<s>")), trim_offsets=True, add_prefix_space=True)
    if kind == "neox":
        t.add_tokens([AddedToken(" " * n, normalized=False) for n in (24, 8, 4, 3, 2)])
    if kind == "gpt2":
        t.add_tokens([AddedToken("<|user|>", lstrip=True, rstrip=True), AddedToken("word", single_word=True)])
    return t


TEXTS = {
    "developers": ["", " ", "a", "Hello, world!", " leading and trailing  ", "two\nlines\n\nand  spaces   of\tall\r\nkinds", "It's John's; they'RE here, I'll go: we've won'T", "1234567890 3.14 1,000,000 0x1F 12 345",
                   "int main() {\n    return vec[i] + 2;\n}\n", "Grüße aus Köln — naïve café, façade", "e\u0301 and \u00e9, \u212b and \u00c5, ﬁ ligature", "日本語の文章です。中文字符 한국어", "العربية ثم English ثم עברית",
                   "emoji 👍🏽 👩‍👩‍👧 🇩🇪 ☕", "zero\u200bwidth\u00a0space \u2003em \ufeffbom", "a\x00b\x01c", "<s>not special?</s> <|endoftext|>text<|endoftext|>", "[CLS] [MASK] ok [SEP] <unk> <pad>", "wordword word words word.", "  <|user|>  hi  <|user|>",
                   "https://example.org/path?x=1&y=%20#frag", "ALL CAPS camelCase snake_case kebab-case", "…“quoted” ‘text’ – dash—", "supercalifragilisticexpialidociousness" * 2, "\n\n\n", "\t\t x", "     five", "1st 2nd №5 ½ ² Ⅷ", "▁ already here ▁▁", "<0x41> <0xE2>", "𝔘𝔫𝔦 𝒸ℴ𝒹ℯ 𐍈", "ΣΊΣΥΦΟΣ ﬀ İstanbul"],
    "other": ["", "x", "  ", "The quick brown fox's 3 jumps — over 12,345 dogs?!", "def f(x):\n\treturn x**2  # ok\n\n\n", "don't DON'T we'll They'd've y'all", "Ångström \u0041\u030a naïve coöperate", "数学123と物理", "Привет, мир! Ёлка ёж", "हिन्दी में लिखा", "ไทยไม่มีช่องว่าง",
              "👨‍👩‍👧‍👦 family 🏳️‍🌈 flag", "tab\tand\u3000ideographic\u2028line", "a\u0300\u0301\u0302b", "<|im_start|>user\nhi<|im_end|>", "<|begin_of_text|>twice<|begin_of_text|>", "[SEP][CLS]x[PAD]", "</s></s>", "<|user|>", "sword word's words-word", "99999999999999999999", "-1.5e-10+2i", "$$$ %%% ^^^ &&& ***", "CamelCaseHTTPServer2Go", "             many", "\r\n\r\n x \r y", "ab" * 40, "ﷺ ㎏ ① ﬃ", "x\u200dy\u2060z", "ẞ ß SS", "\u1e9b\u0323", "don’t “do” that"],
}
KINDS = {"developers": (["gpt2", "neox", "llama3", "qwen", "roberta", "llama2", "gemma", "bert", "bert_cased", "unigram"], 700),
         "other": (["gpt2", "llama3", "qwen", "gpt_oss", "llama2", "gemma", "bert", "unigram", "neox"], 900)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out")
    parser.add_argument("text", nargs="+")
    parser.add_argument("--set", choices=tuple(KINDS), default="developers")
    a = parser.parse_args()
    kinds, size = KINDS[a.set]
    for kind in kinds:
        folder = os.path.join(a.out, kind)
        os.makedirs(folder, exist_ok=True)
        t = make(kind, a.text, size + (256 if kind in ("llama2", "gemma") else 0))
        t.save(os.path.join(folder, "tokenizer.json"), pretty=False)
        t = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
        rows = []
        rng = random.Random(7)
        words = [w for f in a.text for w in open(f, encoding="utf-8").read().split()]
        made = [" ".join(rng.choice(words) for _ in range(12)) for _ in range(8)]
        for text in TEXTS[a.set] + made:
            ids, special = t.encode(text, add_special_tokens=False).ids, t.encode(text).ids
            rows.append({"text": text, "ids": ids, "ids_special": special, "decoded": t.decode(special), "decoded_special": t.decode(special, skip_special_tokens=False)})
        with open(os.path.join(folder, "cases.json"), "w", encoding="utf-8") as f:
            lines = ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows)
            f.write('{"tokenizers":"%s","cases":[\n%s\n]}\n' % (tokenizers.__version__, lines))
        print(kind, t.get_vocab_size(), len(rows), sum(len(r["ids"]) for r in rows))


if __name__ == "__main__":
    main()
