#!/usr/bin/env python3
"""Writes a GPT-2-like model of random weights, and a tokenizer of a text: gpt2_like.py TEXT FOLDER

Four blocks of width 256 with 8 heads of 32, positions up to 128, and byte-level BPE of 4096 tokens
that is trained on the text. Needs transformers and torch, as build/rivals has them.
"""
import pathlib
import sys

from tokenizers import ByteLevelBPETokenizer
import torch
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

WORDS = 4096
END = "<|endoftext|>"


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: bench/gpt2_like.py TEXT FOLDER")
    text, folder = map(pathlib.Path, sys.argv[1:])
    bpe = ByteLevelBPETokenizer()
    bpe.train([str(text)], vocab_size=WORDS, special_tokens=[END], show_progress=False)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe._tokenizer, eos_token=END,
                                        bos_token=END)
    torch.manual_seed(1)
    end = tokenizer.convert_tokens_to_ids(END)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=WORDS, n_positions=128, n_embd=256, n_layer=4,
                                       n_head=8, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0,
                                       bos_token_id=end, eos_token_id=end))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    main()
