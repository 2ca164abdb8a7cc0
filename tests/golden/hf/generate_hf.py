#!/usr/bin/env python3
"""Makes tiny models in the Hugging Face folder form with the real `transformers`, and what they compute.

    python generate_hf.py OUT [--only NAME...]

Needs: transformers 5.24.0, torch 2.15.0, safetensors, numpy (float32, eager attention, one thread).

A case is a folder with what `save_pretrained` writes (config.json, generation_config.json, model.safetensors, or shards with
model.safetensors.index.json) and `expect.safetensors`:

decoders
    tokens            i64 [T]            one sequence without padding
    logits            f32 [T, V]         of the whole sequence in one pass
    loss              f32 []             mean cross entropy of tokens[1:] given tokens[:-1]
    grad.NAME         f32                d loss / d weight NAME of the state dict (tied weights once, under the name that is stored)
    batch.tokens      i64 [2, T]         the second row starts with padding (left padding)
    batch.mask        i64 [2, T]         1 = real
    batch.logits      f32 [2, T, V]      rows of padding hold whatever transformers gives; compare where batch.mask is 1
    prompt            i64 [P]            greedy continuation from a cache:
    greedy            i64 [N]            the tokens that follow, ties aside
    greedy.logits     f32 [N, V]         the logits each of them was chosen from
    attention.L       f32 [Hq, T, T]     probabilities of layer L (absent where the model has attention sinks)
encoders
    tokens, mask, types   i64 [2, T]     right padding
    hidden            f32 [2, T, M]      last hidden state; compare where mask is 1
    grad.NAME         f32                of sum(hidden * weight * mask) with the stored weight
    weight            f32 [2, T, M]
Metadata of expect.safetensors: family, versions, and what is special about the case.
"""
import argparse
import os

import torch
import transformers
from safetensors.torch import save_file
from transformers import AutoModel, AutoModelForCausalLM, CONFIG_MAPPING

V, T, P, N = 29, 12, 5, 6
BASE = dict(vocab_size=V, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=32, bos_token_id=1, eos_token_id=2, pad_token_id=0)


def base(**changes):
    c = dict(BASE)
    c.update(changes)
    return {k: v for k, v in c.items() if v is not None}


def rope(kind, **words):
    return dict(rope_type=kind, **words)


FULL, SLIDING = "full_attention", "sliding_attention"
CASES = {
    # name: (family, settings, kind, note)
    "llama": ("llama", base(), "decoder", "RMSNorm, half-split RoPE, SwiGLU, grouped heads"),
    "llama_bias_tied": ("llama", base(num_key_value_heads=4, attention_bias=True, mlp_bias=True, tie_word_embeddings=True), "decoder", "biases, tied head, MHA"),
    "llama_wide_heads": ("llama", base(num_attention_heads=3, num_key_value_heads=1, hidden_size=15, head_dim=6, hidden_act="gelu", rms_norm_eps=1e-5, num_hidden_layers=1, rope_parameters=rope("default", rope_theta=500000.0)), "decoder", "head_dim * heads != hidden, MQA"),
    "llama3_rope": ("llama", base(head_dim=8, num_hidden_layers=1, rope_parameters=rope("llama3", rope_theta=10000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=8)), "decoder", "llama3 frequency rule"),
    "llama_yarn": ("llama", base(head_dim=12, num_hidden_layers=1, rope_parameters=rope("yarn", rope_theta=1000.0, factor=4.0, original_max_position_embeddings=10, beta_fast=16.0, beta_slow=1.0)), "decoder", "YaRN with attention factor"),
    "llama_yarn_mscale": ("llama", base(head_dim=12, num_hidden_layers=1, rope_parameters=rope("yarn", rope_theta=1000.0, factor=4.0, original_max_position_embeddings=8, mscale=0.7, mscale_all_dim=1.2)), "decoder", "YaRN, DeepSeek's magnitude"),
    "llama_linear": ("llama", base(head_dim=8, num_hidden_layers=1, rope_parameters=rope("linear", rope_theta=10000.0, factor=2.5)), "decoder", "linear position scaling"),
    "llama_dynamic": ("llama", base(head_dim=8, num_hidden_layers=1, max_position_embeddings=12, rope_parameters=rope("dynamic", rope_theta=10000.0, factor=2.0)), "decoder", "dynamic NTK within the first context"),
    "llama_bf16_shards": ("llama", base(num_hidden_layers=1), "decoder", "weights stored in bf16, in shards"),
    "mistral": ("mistral", base(sliding_window=4, head_dim=6), "decoder", "window shorter than the text"),
    "gemma": ("gemma", base(head_dim=6, num_key_value_heads=1, num_hidden_layers=1, hidden_activation="gelu_pytorch_tanh"), "decoder", "norm gains 1 + w, scaled embedding, GeGLU tanh, MQA, tied"),
    "gemma2": ("gemma2", base(head_dim=6, sliding_window=4, query_pre_attn_scalar=20, attn_logit_softcapping=5.0, final_logit_softcapping=3.0), "decoder", "softcaps, four norms a block, windows in turn"),
    "gemma3": ("gemma3_text", base(head_dim=6, sliding_window=4, query_pre_attn_scalar=7, layer_types=[SLIDING, FULL], rope_parameters={FULL: rope("linear", rope_theta=20000.0, factor=8.0), SLIDING: rope("default", rope_theta=3000.0)}), "decoder", "q/k norms, two RoPE rules"),
    "qwen2": ("qwen2", base(use_sliding_window=True, sliding_window=5, max_window_layers=1), "decoder", "biases of q, k, v alone, a window from a layer on"),
    "qwen3": ("qwen3", base(head_dim=10, attention_bias=True, num_hidden_layers=1), "decoder", "q/k RMSNorm per head"),
    "phi3": ("phi3", base(sliding_window=5, num_hidden_layers=1), "decoder", "qkv and gate/up in one weight"),
    "phi3_longrope": ("phi3", base(num_hidden_layers=1, max_position_embeddings=32, original_max_position_embeddings=16, rope_parameters=rope("longrope", rope_theta=10000.0, short_factor=[1.0, 1.5], long_factor=[1.2, 4.0])), "decoder", "LongRoPE, short texts"),
    "phi3_longrope_long": ("phi3", base(num_hidden_layers=1, max_position_embeddings=32, original_max_position_embeddings=4, rope_parameters=rope("longrope", rope_theta=10000.0, short_factor=[1.0, 1.5], long_factor=[1.2, 4.0])), "decoder", "LongRoPE, long texts"),
    "phi": ("phi", base(partial_rotary_factor=0.5, num_key_value_heads=2, num_attention_heads=2), "decoder", "parallel block, partial RoPE, LayerNorm, biases"),
    "phi_qk_norm": ("phi", base(partial_rotary_factor=0.5, num_attention_heads=2, num_key_value_heads=1, qk_layernorm=True, num_hidden_layers=1), "decoder", "LayerNorm of queries and keys"),
    "gpt2": ("gpt2", dict(vocab_size=V, n_embd=16, n_layer=2, n_head=4, n_positions=32, n_inner=24, scale_attn_by_inverse_layer_idx=True, bos_token_id=1, eos_token_id=2, pad_token_id=0), "decoder", "learned positions, Conv1D weights [in, out], gelu_new, tied"),
    "gpt_neox": ("gpt_neox", base(num_key_value_heads=None, num_attention_heads=2, rotary_pct=0.375, rope_parameters=rope("default", rope_theta=10000.0, partial_rotary_factor=0.375)), "decoder", "parallel residual, an odd number of rotated dims, interleaved q/k/v per head"),
    "gpt_neox_sequential": ("gpt_neox", base(num_key_value_heads=None, num_attention_heads=2, num_hidden_layers=1, use_parallel_residual=False, attention_bias=False, hidden_act="gelu_fast", rotary_pct=0.5, rope_parameters=rope("default", rope_theta=10000.0, partial_rotary_factor=0.5)), "decoder", "one after the other"),
    "opt": ("opt", dict(vocab_size=V, hidden_size=16, ffn_dim=24, num_hidden_layers=1, num_attention_heads=4, max_position_embeddings=32, word_embed_proj_dim=16, bos_token_id=1, eos_token_id=2, pad_token_id=0), "decoder", "learned positions with offset 2, ReLU"),
    "opt_post": ("opt", dict(vocab_size=V, hidden_size=16, ffn_dim=24, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=20, word_embed_proj_dim=10, do_layer_norm_before=False, bos_token_id=1, eos_token_id=2, pad_token_id=0), "decoder", "post-norm, narrow embedding"),
    "bloom": ("bloom", dict(vocab_size=V, hidden_size=18, n_layer=1, n_head=6, bos_token_id=1, eos_token_id=2, pad_token_id=0), "decoder", "ALiBi of six heads, norm of the embedding"),
    "bloom_residual": ("bloom", dict(vocab_size=V, hidden_size=16, n_layer=2, n_head=4, bos_token_id=1, eos_token_id=2, pad_token_id=0, apply_residual_connection_post_layernorm=True), "decoder", "residual from the norm"),
    "falcon_mqa": ("falcon", dict(vocab_size=V, hidden_size=16, num_hidden_layers=1, num_attention_heads=4, multi_query=True, new_decoder_architecture=False, parallel_attn=True, bias=False, alibi=False, bos_token_id=1, eos_token_id=2, pad_token_id=0, max_position_embeddings=32), "decoder", "multi-query, parallel attention"),
    "falcon_new": ("falcon", dict(vocab_size=V, hidden_size=16, num_hidden_layers=1, num_attention_heads=4, num_kv_heads=2, new_decoder_architecture=True, bias=False, alibi=False, bos_token_id=1, eos_token_id=2, pad_token_id=0, max_position_embeddings=32), "decoder", "two norms, grouped heads in one weight"),
    "falcon_alibi": ("falcon", dict(vocab_size=V, hidden_size=16, num_hidden_layers=1, num_attention_heads=4, multi_query=False, new_decoder_architecture=False, parallel_attn=False, bias=True, alibi=True, bos_token_id=1, eos_token_id=2, pad_token_id=0), "decoder", "ALiBi"),
    "starcoder2": ("starcoder2", base(use_bias=True, sliding_window=5, num_hidden_layers=1), "decoder", "grouped heads with LayerNorm and biases"),
    "olmo2": ("olmo2", base(), "decoder", "norms after attention and feed-forward, q/k norm over all heads"),
    "cohere": ("cohere", base(logit_scale=0.2, use_qk_norm=True), "decoder", "interleaved RoPE, parallel block, scaled logits, LayerNorm without bias"),
    "granite": ("granite", base(embedding_multiplier=6.0, attention_multiplier=0.1, residual_multiplier=0.4, logits_scaling=3.0), "decoder", "multipliers"),
    "smollm3": ("smollm3", base(no_rope_layer_interval=2, use_sliding_window=False), "decoder", "every second layer without positions"),
    "mixtral": ("mixtral", base(num_local_experts=3, num_experts_per_tok=2, sliding_window=None, num_hidden_layers=1), "decoder", "mixture of experts"),
    "gpt_oss": ("gpt_oss", base(head_dim=6, num_local_experts=3, num_experts_per_tok=2, sliding_window=4, layer_types=[SLIDING, FULL], rope_parameters=rope("yarn", rope_theta=10000.0, factor=4.0, original_max_position_embeddings=8, beta_fast=32.0, beta_slow=1.0, truncate=False)), "decoder", "attention sinks, windows in turn, mixture of experts"),
    "bert": ("bert", dict(vocab_size=V, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=32, type_vocab_size=3, pad_token_id=0), "encoder", "post-norm encoder, token types, erf GELU"),
    "roberta": ("roberta", dict(vocab_size=V, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=4, max_position_embeddings=32, type_vocab_size=1, pad_token_id=1, bos_token_id=0, eos_token_id=2), "encoder", "positions from the mask, offset by pad + 1"),
    "distilbert": ("distilbert", dict(vocab_size=V, dim=16, hidden_dim=24, n_layers=1, n_heads=2, max_position_embeddings=32, pad_token_id=0, activation="relu"), "encoder", "no token types"),
}


def draw_weights(model, seed):
    """Every weight far from its initial value: gains, biases and sinks too."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, w in sorted(model.state_dict().items()):
            if not w.is_floating_point() or name.endswith(("inv_freq",)):
                continue
            noise = torch.randn(w.shape, generator=g)
            if w.dim() >= 2:
                w.copy_(noise * (1.2 / w.shape[-1] ** 0.5))
            elif "norm" in name or "ln" in name or "layernorm" in name.lower():
                w.copy_((w if "bias" not in name else 0 * w) + 0.3 * noise)
            else:
                w.copy_(0.3 * noise)


def gradients(model, value):
    model.zero_grad(set_to_none=True)
    value.backward()
    stored = stored_names(model)
    out = {}
    for name, p in model.named_parameters():
        if p.grad is not None and name in stored:
            out["grad." + name] = p.grad.detach().clone()
    return out


def stored_names(model):
    """Names that save_pretrained keeps: tied weights once."""
    seen, names = set(), set()
    for name, p in model.named_parameters():  # named_parameters() gives a shared one once already
        if p.data_ptr() not in seen:
            seen.add(p.data_ptr())
            names.add(name)
    return names


def decoder_case(config, seed, rounded=False):
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").float().eval()
    draw_weights(model, seed)
    if rounded:  # what is expected is what the stored weights compute in float32
        with torch.no_grad():
            for w in model.state_dict().values():
                if w.is_floating_point():
                    w.copy_(w.bfloat16().float())
    g = torch.Generator().manual_seed(seed + 1)
    tokens = torch.randint(3, V, (T,), generator=g)
    out = {"tokens": tokens}
    run = model(tokens[None], output_attentions=True, use_cache=False)
    out["logits"] = run.logits[0].detach()
    if config.model_type != "gpt_oss" and run.attentions and run.attentions[0] is not None:
        for i, a in enumerate(run.attentions):
            out["attention.%d" % i] = a[0].detach()
    loss = torch.nn.functional.cross_entropy(run.logits[0, :-1].float(), tokens[1:])
    out["loss"] = loss.detach()
    out.update(gradients(model, loss))
    with torch.no_grad():
        pad = 4
        batch = torch.stack([tokens, torch.cat([torch.full((pad,), config.pad_token_id), tokens[: T - pad]])])
        mask = torch.ones_like(batch)
        mask[1, :pad] = 0
        position = (mask.cumsum(1) - 1).clamp(min=0)
        words = dict(attention_mask=mask, use_cache=False)
        if config.model_type not in ("bloom", "opt", "falcon") or (config.model_type == "falcon" and not config.alibi):
            words["position_ids"] = position
        out["batch.tokens"], out["batch.mask"] = batch, mask
        out["batch.logits"] = model(batch, **words).logits
        prompt = tokens[:P]
        made = model.generate(prompt[None], max_new_tokens=N, do_sample=False, eos_token_id=None, return_dict_in_generate=True,
                              output_logits=True, attention_mask=torch.ones_like(prompt[None]), pad_token_id=0)
        out["prompt"], out["greedy"] = prompt, made.sequences[0, P:]
        out["greedy.logits"] = torch.cat(made.logits)
    return model, out


def encoder_case(config, seed):
    torch.manual_seed(seed)
    model = AutoModel.from_config(config, attn_implementation="eager", **({"add_pooling_layer": False} if config.model_type != "distilbert" else {})).float().eval()
    draw_weights(model, seed)
    g = torch.Generator().manual_seed(seed + 1)
    pad = config.pad_token_id
    tokens = torch.randint(3, V, (2, T), generator=g)
    mask = torch.ones_like(tokens)
    tokens[1, T - 4:] = pad
    mask[1, T - 4:] = 0
    types = torch.randint(0, getattr(config, "type_vocab_size", 1), (2, T), generator=g)
    words = dict(attention_mask=mask)
    if config.model_type != "distilbert":
        words["token_type_ids"] = types
    hidden = model(tokens, **words).last_hidden_state
    weight = torch.randn(hidden.shape, generator=g)
    out = {"tokens": tokens, "mask": mask, "types": types, "hidden": hidden.detach(), "weight": weight}
    out.update(gradients(model, (hidden * weight * mask[..., None]).sum()))
    return model, out


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out")
    parser.add_argument("--only", nargs="*")
    a = parser.parse_args()
    torch.set_num_threads(1)
    for at, (name, (family, settings, kind, note)) in enumerate(CASES.items()):
        if a.only and name not in a.only:
            continue
        seed = 300 + at
        config = CONFIG_MAPPING[family](**settings)
        in_shards = name.endswith("bf16_shards")
        model, out = encoder_case(config, seed) if kind == "encoder" else decoder_case(config, seed, in_shards)
        folder = os.path.join(a.out, name)
        os.makedirs(folder, exist_ok=True)
        if in_shards:
            model.to(torch.bfloat16).save_pretrained(folder, max_shard_size="3KB")
        else:
            model.save_pretrained(folder)
        tensors = {k: v.contiguous().clone() for k, v in out.items()}
        save_file(tensors, os.path.join(folder, "expect.safetensors"),
                  metadata={"family": family, "kind": kind, "note": note, "transformers": transformers.__version__, "torch": torch.__version__})
        sizes = sum(os.path.getsize(os.path.join(folder, f)) for f in os.listdir(folder))
        os.remove(os.path.join(folder, "generation_config.json")) if kind == "decoder" else None
        print(name, kind, "%d KB" % (sizes // 1024), flush=True)


if __name__ == "__main__":
    main()
