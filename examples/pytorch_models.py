"""A PyTorch module and a model of transformers on these kernels, each after one line."""

import torch
from torch import nn
from transformers import AutoModelForCausalLM, LlamaConfig

import grouphead.torch
import grouphead.transformers

torch.manual_seed(1)

# A module that knows nothing of grouphead: it calls F.scaled_dot_product_attention.
layer = nn.TransformerEncoderLayer(d_model=64, nhead=4, batch_first=True, dropout=0.0)
x = torch.randn(2, 50, 64)
layer(x).square().mean().backward()
expected = layer.self_attn.in_proj_weight.grad.clone()
layer.zero_grad()
with grouphead.torch.enable():
    layer(x).square().mean().backward()
assert torch.allclose(layer.self_attn.in_proj_weight.grad, expected, atol=1e-5)
print("gradients", tuple(expected.shape))

# A small Llama, trained on one sentence of bytes until it says it.
grouphead.transformers.register()
config = LlamaConfig(vocab_size=256, hidden_size=64, intermediate_size=128, num_hidden_layers=2,
                     num_attention_heads=4, num_key_value_heads=2)
model = AutoModelForCausalLM.from_config(config, attn_implementation="grouphead")
text = "grouped heads share keys and values"
tokens = torch.tensor([list(text.encode())])
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
for _ in range(80):
    loss = model(tokens, labels=tokens).loss
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
told = model.generate(
    tokens[:, :8], attention_mask=torch.ones(1, 8, dtype=torch.long), do_sample=False,
    max_new_tokens=len(text) - 8, eos_token_id=None, pad_token_id=0,
)
print(bytes(told[0].tolist()).decode())
assert told.tolist() == tokens.tolist()
