#!/usr/bin/env python3
"""A tiny tokenizer for every component of a tokenizer.json, and what `tokenizers` 0.23.3 answers.

    python generate_components.py [OUT]

Writes OUT/NAME/tokenizer.json and cases.json in the form that testing/tokenizer_golden.h describes.
Normalizers and pre-tokenizers are seen through a model that knows bytes alone and marks the end of
each word with `|`, so that its ids spell the text and its cuts.
"""
import base64
import json
import os
import struct
import sys

import tokenizers
from tokenizers import Tokenizer

TEXTS = [
    "", " ", "a", "Hello, World!", "  two  spaces  ", "a\tb\nc\r\nd\x0be\x85f", "don't DON'T we'll x's",
    "12 345 6\u00bd\u00b2 \u2167 \u0663", "e\u0301 \u00e9 \u0301x n\u0303", "\u00c5\u212b \ufb01 \u3392 \ufdfa \u1e9e \u0130\u03a3",
    "\u65e5\u672c\u8a9e\u30ab\u30fc\u3069\u3053 \ud55c\uad6d", "\u0437\u0434\u0440\u0430\u0432\u0441\u0442\u0432\u0443\u0439 abc \u4e2d",
    "\U0001f44d\U0001f3fd \U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea", "z\u200bw\u200dj\ufeffb\u2060",
    "\x01\x00\x07c\x7f\x9f\u00ad\ue000\ufffd\u0378", "a-b--c-", "--", "\u2581x \u2581\u2581 y\u2581", "\u0926\u093f\u0932 \u0e44\u0e17\u0e22\u0e33",
    "$1+2=3^4`~|<> \u20ac \u2014\u201cq\u201d\u2026", "xxaxxbX", "\n\n\n \n x", "\u3000a\u00a0b\u2028c\u2003", "ab" * 40,
]
REPEATED = {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}
GPT4 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
O200K = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
DEEPSEEK = "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"


def bytes_model(suffix="|"):
    return {"type": "BPE", "unk_token": None, "byte_fallback": True, "end_of_word_suffix": suffix,
            "vocab": {"<0x%02X>" % b: b for b in range(256)}, "merges": []}


def added(id, content, **words):
    token = {"id": id, "content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
    return {**token, **words}


def spec(model=None, **parts):
    base = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
            "pre_tokenizer": None, "post_processor": None, "decoder": None, "model": model or bytes_model()}
    return {**base, **parts}


def charsmap():
    """SentencePiece's map of a few texts, as a double array with one unit per slot."""
    rules = {"\ufb01": "fi", "\u00c5": "A", "e\u0301": "\u00e9", "\t": " ", "\u200b": "", "ab": "X", "\u3392": "MHz"}
    texts, at = b"", {}
    for key, value in rules.items():
        at[key.encode()] = len(texts)
        texts += value.encode() + b"\0"
    units = [0] * 65536
    used = {0}
    next_free = [256]

    def build(node, prefix):
        children = sorted({k[len(prefix)] for k in at if k.startswith(prefix) and len(k) > len(prefix)})
        leaf = prefix in at
        base = next_free[0]
        next_free[0] += 256
        units[node] |= ((node ^ base) << 10) | (0x100 if leaf else 0)
        if leaf:
            units[base] = at[prefix] | 0x80000000
        for c in children:
            child = base ^ c
            assert child not in used
            used.add(child)
            units[child] = c
            build(child, prefix + bytes([c]))

    build(0, b"")
    trie = b"".join(struct.pack("<I", u) for u in units[:next_free[0]])
    return base64.b64encode(struct.pack("<I", len(trie)) + trie + texts).decode()


def words(*tokens):
    return {t: i for i, t in enumerate(tokens)}


def normalizers():
    for name in ("NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Nmt", "ByteLevel"):
        yield name.lower(), {"type": name}
    bert = {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True}
    yield "bert", bert
    yield "bert_accents", {**bert, "lowercase": False, "strip_accents": True, "clean_text": False}
    yield "bert_no_chinese", {**bert, "strip_accents": False, "handle_chinese_chars": False}
    yield "strip", {"type": "Strip", "strip_left": True, "strip_right": True}
    yield "strip_right", {"type": "Strip", "strip_left": False, "strip_right": True}
    yield "prepend", {"type": "Prepend", "prepend": "\u2581"}
    yield "replace", {"type": "Replace", "pattern": {"String": "--"}, "content": "\u2014"}
    yield "replace_empty", {"type": "Replace", "pattern": {"String": ""}, "content": "_"}
    for name, pattern in (("spaces", " {2,}"), ("star", "x*"), ("punct", "[[:punct:]x]|\\p{^L}\\w"), ("line", "^[a-z]|[a-z]$"), ("classes", r"\w+"), ("not_word", r"[^\w ]|\h+"),
                          ("lower", r"(?i)ss|[\p{Lu}]"), ("space", r"\s\S|\d\b"), ("dot", ".a"), ("set", r"[\[\]a-c&&[^b]]+")):
        yield "replace_" + name, {"type": "Replace", "pattern": {"Regex": pattern}, "content": "_"}
    yield "precompiled", {"type": "Precompiled", "precompiled_charsmap": charsmap()}
    yield "sequence", {"type": "Sequence", "normalizers": [{"type": "NFKC"}, REPEATED, {"type": "Strip", "strip_left": True, "strip_right": False}]}


def pre_tokenizers():
    for use in (True, False):
        for prefix in (True, False):
            yield "bytes_%d%d" % (use, prefix), {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": True, "use_regex": use}
    for scheme in ("always", "first", "never"):
        yield "metaspace_" + scheme, {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": scheme, "split": scheme != "never"}
    for name in ("Whitespace", "WhitespaceSplit", "BertPreTokenizer", "UnicodeScripts"):
        yield name.lower(), {"type": name}
    yield "digits", {"type": "Digits", "individual_digits": False}
    yield "digits_individual", {"type": "Digits", "individual_digits": True}
    yield "delimiter", {"type": "CharDelimiterSplit", "delimiter": "-"}
    yield "fixed_length", {"type": "FixedLength", "length": 3}
    for behavior in ("Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"):
        yield "punctuation_" + behavior.lower(), {"type": "Punctuation", "behavior": behavior}
        for invert in (False, True):
            yield "split_%s_%d" % (behavior.lower(), invert), {"type": "Split", "pattern": {"String": "-"}, "behavior": behavior, "invert": invert}
    for name, pattern in (("llama3", GPT4), ("o200k", O200K), ("deepseek", DEEPSEEK), ("empty", "(?=b)|x*"), ("digits", r"\p{N}{1,3}"), ("cjk", "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+")):
        yield "regex_" + name, {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    yield "then", {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "first", "split": True}, {"type": "Digits", "individual_digits": True}]}


def models():
    letters = {**words("<unk>", *"abcdefghijklmno", "ab", "abc", "de", "ef", "def", "abcdef", "bc", "mno", "no"), **{"<0x%02X>" % b: 100 + b for b in range(128)}}
    merges = ["a b", "b c", "ab c", "e f", "d e", "d ef", "abc def", "n o", "m no"]
    text = ["abcdef abc", "bcab", "defg", "abx", "\u00e9a", "xyzab\u00e9\u00e9", "", "aXbc", "abcdefabcdef" * 20, "mnomnonomn" * 9, "zz"]
    bpe = {"type": "BPE", "unk_token": "<unk>", "vocab": letters, "merges": merges}
    split = {"type": "WhitespaceSplit"}
    yield "bpe", spec(bpe, pre_tokenizer=split), text
    yield "bpe_pairs", spec({**bpe, "merges": [m.split() for m in merges], "fuse_unk": True}, pre_tokenizer=split), text
    yield "bpe_fallback", spec({**bpe, "byte_fallback": True, "fuse_unk": True}, pre_tokenizer=split), text
    yield "bpe_no_unknown", spec({**bpe, "unk_token": None}, pre_tokenizer=split), text
    yield "bpe_ignore_merges", spec({**bpe, "ignore_merges": True, "vocab": {**letters, "bcab": 400, "defg": 401}}, pre_tokenizer=split), text
    prefixed = words("<unk>", *"abc", "##a", "##b", "##c", "ab", "##bc", "abc", "abc</w>", "##c</w>", "c</w>", "##bc</w>")
    yield "bpe_prefix", spec({**bpe, "vocab": prefixed, "continuing_subword_prefix": "##", "end_of_word_suffix": "</w>",
                              "merges": ["a ##b", "##b ##c", "ab ##c</w>", "##b ##c</w>"]}, pre_tokenizer=split, decoder={"type": "BPEDecoder", "suffix": "</w>"}), text
    piece = {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 8,
             "vocab": words("[UNK]", "[CLS]", "[SEP]", "a", "ab", "abc", "##c", "##d", "##de", "##def", "\u00e9", "##\u00e9", "x", "##", "def", "b", "##cab")}
    yield "word_piece", spec(piece, pre_tokenizer=split, decoder={"type": "WordPiece", "prefix": "##", "cleanup": True}), text + ["abcdefde abcdefdec", "\u00e9\u00e9 x\u00e9"]
    yield "word_level", spec({"type": "WordLevel", "unk_token": "<unk>", "vocab": words("<unk>", "abc", "defg", "abx", "\u00e9a")}, pre_tokenizer=split), text
    scores = [["<unk>", 0.0], ["a", -3.0], ["b", -3.1], ["c", -3.2], ["ab", -4.0], ["bc", -4.5], ["abc", -7.3], ["def", -5.0], ["d", -6.0], ["e", -6.0], ["ef", -6.5], ["\u00e9", -9.0], ["cd", -5.0], ["<0xC3>", -20.0], ["<0x78>", -20.0], ["<0x79>", -20.0], ["<0x7A>", -20.0], ["\u2581", -2.0], ["\u2581abc", -5.5]]
    uni = {"type": "Unigram", "unk_id": 0, "vocab": scores, "byte_fallback": False}
    space = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True}
    yield "unigram", spec(uni, pre_tokenizer=space, decoder=space), text + ["<unk><unk>a", "abc abc  abc"]
    yield "unigram_fallback", spec({**uni, "byte_fallback": True}, pre_tokenizer=space, decoder={"type": "Sequence", "decoders": [{"type": "ByteFallback"}, space]}), text + ["xyz", "xyzq", "q\u00e9"]
    # Sums that differ in the last bit: they show how the package reads decimal numbers.
    runs = [["<unk>", 0.0]] + [["-" * n, s] for n, s in ((1, -5.3650978121719834), (9, -9.160750938874589), (11, -9.488415686107684), (13, -9.166793914364064), (15, -8.541394639377238), (16, -7.9416376009782725))]
    yield "unigram_ties", spec({**uni, "vocab": runs}), ["-" * n for n in range(30, 60)]
    yield "unigram_whole", spec({**uni, "vocab": scores + [["abc", -1.0], ["mno", -2]]}), text + ["abc abc  abc"]


def others():
    text = ["one", "a [SEP] b", "x [MASK]  y", "wordword word,word", "  <u>  hi<u>", "HI hi Hi", "", "ab<b>", "tokentokens token", "\u00e9[CLS]", "a\u00a0<u>\u2003b", "hi there hi"]
    tokens = [added(0, "[CLS]", special=True), added(1, "[SEP]", special=True), added(300, "[MASK]", special=True, lstrip=True), added(301, "word", single_word=True, normalized=True),
              added(302, "<u>", lstrip=True, rstrip=True), added(303, "Hi", normalized=True), added(304, "token"), added(305, "tokens"), added(306, "<b>", rstrip=True, normalized=True), added(307, " ", normalized=True), added(65, "hi there")]
    yield "added", spec(added_tokens=tokens, normalizer={"type": "Lowercase"}), text
    yield "added_first", spec(added_tokens=tokens, pre_tokenizer={"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "first", "split": True}), text
    yield "first_after_strip", spec(normalizer={"type": "Strip", "strip_left": True, "strip_right": False}, pre_tokenizer={"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "first", "split": True}), text
    model = bytes_model(None)
    model["vocab"].update({"[CLS]": 300, "[SEP]": 301, "[PAD]": 302})
    marks = [added(300, "[CLS]", special=True), added(301, "[SEP]", special=True), added(302, "[PAD]", special=True)]
    a, b = ({"Sequence": {"id": x, "type_id": i}} for i, x in enumerate("AB"))
    cls, sep, end = ({"SpecialToken": {"id": t, "type_id": i}} for t, i in (("[CLS]", 0), ("[SEP]", 0), ("[SEP]", 1)))
    ids = {"[CLS]": {"id": "[CLS]", "ids": [300], "tokens": ["[CLS]"]}, "[SEP]": {"id": "[SEP]", "ids": [301, 302], "tokens": ["[SEP]", "[PAD]"]}}
    template = {"type": "TemplateProcessing", "single": [cls, a, sep], "pair": [cls, a, sep, b, end], "special_tokens": ids}
    odd = {"type": "TemplateProcessing", "single": [{"Sequence": {"id": "A", "type_id": 2}}, sep, {"Sequence": {"id": "A", "type_id": 3}}], "pair": [{"Sequence": {"id": "B", "type_id": 1}}, cls, {"Sequence": {"id": "A", "type_id": 0}}], "special_tokens": ids}
    byte_level = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True}
    pairs = [("one", "two words"), ("", "b"), ("a", ""), ("a longer first text", "b"), ("short", "a much longer second text"), ("both are long here", "and the second is, too")]
    for name, post in (("template", template), ("template_odd", odd), ("bert_post", {"type": "BertProcessing", "sep": ["[SEP]", 301], "cls": ["[CLS]", 300]}),
                       ("roberta_post", {"type": "RobertaProcessing", "sep": ["[SEP]", 301], "cls": ["[CLS]", 300], "trim_offsets": True, "add_prefix_space": True}),
                       ("sequence_post", {"type": "Sequence", "processors": [byte_level, template]}), ("no_post", None)):
        yield name, spec(model, added_tokens=marks, post_processor=post), [*text[:4], *pairs]
    for name, trunc in (("right", {"direction": "Right", "max_length": 9, "strategy": "LongestFirst", "stride": 0}), ("left", {"direction": "Left", "max_length": 8, "strategy": "LongestFirst", "stride": 0}),
                        ("zero", {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}), ("first", {"direction": "Right", "max_length": 40, "strategy": "OnlyFirst", "stride": 0}), ("second", {"direction": "Left", "max_length": 30, "strategy": "OnlySecond", "stride": 0})):
        yield "truncate_" + name, spec(model, added_tokens=marks, post_processor=template, truncation=trunc), [*text[:6], *pairs]
    for name, padding in (("fixed", {"strategy": {"Fixed": 12}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 302, "pad_type_id": 1, "pad_token": "[PAD]"}),
                          ("multiple", {"strategy": "BatchLongest", "direction": "Left", "pad_to_multiple_of": 8, "pad_id": 302, "pad_type_id": 0, "pad_token": "[PAD]"})):
        yield "pad_" + name, spec(model, added_tokens=marks, post_processor=template, padding=padding), [*text[:6], *pairs]


def decoders():
    tokens = ["\u2581a", "\u2581", "b\u2581", "##c", " .", "n't", " do not", "x</w>", "</w>y</w>", "<0xE2>", "<0x82>", "<0xAC>", "<0xFF>", "<0x41>", "<0xe2>", "\u0120d", "\u00e2", "\u0124", "\u00ac", "\u00f0\u0141", "\u4e2d\u0120", "<pad>", "|", "a", "  s ", "<s>", "<0xF0>", "<0x9F>", "<0x98>", "<0x80>"]
    model = {"type": "WordLevel", "unk_token": "a", "vocab": words(*tokens)}
    lists = [[], [0], [0, 0, 1, 2], [23, 23, 21, 23, 22, 7, 7], [9, 10, 11], [0, 9, 10, 11, 13, 23], [12, 9, 10, 2], [9, 10, 0], [14, 10, 11, 13], [15, 16, 17, 18, 23], [19, 15], [16, 17], [20, 15, 16], [23, 3, 4, 5, 6, 3], [7, 8, 23, 8],
             [24, 24, 1], [25, 0, 21], [26, 27, 28, 29, 0], [26, 27, 28, 23, 29], list(range(len(tokens))), [99, 0, 98, 23], [8], [4, 4, 4]]
    strip, fuse = {"type": "Strip", "content": " ", "start": 1, "stop": 0}, {"type": "Fuse"}
    space = {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}
    byte_level = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
    meta = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True}
    for name, decoder in (("none", None), ("byte_level", byte_level), ("metaspace", meta), ("metaspace_never", {**meta, "prepend_scheme": "never"}), ("word_piece", {"type": "WordPiece", "prefix": "##", "cleanup": True}), ("word_piece_plain", {"type": "WordPiece", "prefix": "##", "cleanup": False}),
                          ("bpe", {"type": "BPEDecoder", "suffix": "</w>"}), ("ctc", {"type": "CTC", "pad_token": "<pad>", "word_delimiter_token": "|", "cleanup": True}), ("ctc_plain", {"type": "CTC", "pad_token": "<pad>", "word_delimiter_token": "|", "cleanup": False}), ("fallback", {"type": "ByteFallback"}), ("fuse", fuse),
                          ("strip", strip), ("strip_both", {"type": "Strip", "content": "a", "start": 1, "stop": 1}), ("replace", space), ("replace_regex", {"type": "Replace", "pattern": {"Regex": "[a-z]+"}, "content": "<>"}),
                          ("llama", {"type": "Sequence", "decoders": [space, {"type": "ByteFallback"}, fuse, strip]}), ("fuse_replace", {"type": "Sequence", "decoders": [fuse, {"type": "Replace", "pattern": {"String": "aa"}, "content": "A"}, {"type": "Strip", "content": "a", "start": 2, "stop": 2}]}), ("bytes_strip", {"type": "Sequence", "decoders": [byte_level, strip]})):
        yield name, spec(model, decoder=decoder, added_tokens=[added(25, "<s>", special=True)]), lists


def answer(tokenizer, text):
    pair = None
    if isinstance(text, tuple):
        text, pair = text
    plain, special = (tokenizer.encode(text, pair, add_special_tokens=s) for s in (False, True))
    row = {"text": text, "ids": plain.ids}
    if pair is not None:
        row["pair"] = pair
    if special.ids != plain.ids or pair is not None or 0 in special.attention_mask:
        row.update(ids_special=special.ids, type_ids=special.type_ids, attention_mask=special.attention_mask)
        row.update(decoded=tokenizer.decode(special.ids), decoded_special=tokenizer.decode(special.ids, skip_special_tokens=False))
    return row


def cases():
    for name, normalizer in normalizers():
        yield "normalizer_" + name, spec(normalizer=normalizer), TEXTS[1::2] if name.startswith("replace") else TEXTS
    for name, pre in pre_tokenizers():
        dashes = name.startswith(("split", "punctuation"))
        yield "pre_tokenizer_" + name, spec(pre_tokenizer=pre), [t for t in TEXTS if not dashes or set(t) & set("-'$")]
    for name, made, texts in models():
        yield "model_" + name, made, texts
    yield from others()


def write(folder, made, rows):
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "tokenizer.json"), "w") as f:
        json.dump(made, f, separators=(",", ":"))
    with open(os.path.join(folder, "cases.json"), "w") as f:
        lines = ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows)
        f.write('{"tokenizers":"%s","cases":[\n%s\n]}\n' % (tokenizers.__version__, lines))


def main():
    out = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.abspath(__file__))
    for name, made, texts in cases():
        tokenizer = Tokenizer.from_str(json.dumps(made))
        rows = []
        for text in texts:
            try:
                rows.append(answer(tokenizer, text))
            except Exception:  # such as a truncation that the text is too short for
                continue
        if made["decoder"]:
            for row in rows:
                row.update(decoded=tokenizer.decode(row.get("ids_special", row["ids"])))
        write(os.path.join(out, name), made, rows)
    for name, made, lists in decoders():
        tokenizer = Tokenizer.from_str(json.dumps(made))
        rows = []
        for ids in lists:
            try:
                rows.append({"ids": ids, "decoded": tokenizer.decode(ids), "decoded_special": tokenizer.decode(ids, skip_special_tokens=False)})
            except BaseException:  # Strip of a token that is empty
                continue
        write(os.path.join(out, "decoder_" + name), made, rows)


if __name__ == "__main__":
    main()
