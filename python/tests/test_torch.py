"""grouphead.torch against PyTorch and float64."""

import golden
import numpy as np
import pytest

torch = pytest.importorskip("torch")
F = torch.nn.functional

import grouphead  # noqa: E402
from grouphead import torch as gt  # noqa: E402

PYTORCH = F.scaled_dot_product_attention


def relative(actual, expected):
    top = max(expected.abs().max().item(), 1e-6) if expected.numel() else 1.0
    return (actual.double() - expected).abs().max().item() / top if expected.numel() else 0.0


def random_call(rng):
    """Operands and arguments of one call that PyTorch allows on the CPU."""
    front = [(), (1,), (2,), (3, 2)][rng.integers(4)]
    kv_heads, group = int(rng.integers(1, 4)), int(rng.integers(1, 4))
    gqa = bool(rng.integers(2))
    heads = kv_heads * group if gqa else kv_heads
    rows, keys = int(rng.integers(1, 70)), int(rng.integers(1, 70))
    dim, value_dim = (int(x) for x in rng.choice([1, 4, 8, 20, 64], 2))
    make = lambda *shape: torch.from_numpy(rng.standard_normal(shape))  # noqa: E731
    tensors = [
        make(*front, heads, rows, dim),
        make(*front, kv_heads, keys, dim),
        make(*front, kv_heads, keys, value_dim),
    ]
    if rng.integers(2):  # as models have them: heads behind the positions in memory
        tensors = [x.transpose(-2, -3).contiguous().transpose(-2, -3) for x in tensors]
    arguments = {"enable_gqa": gqa}
    mask = rng.integers(4)
    if mask == 1:
        arguments["is_causal"] = True
    elif mask > 1:
        full = (*front, heads, rows, keys)
        shape = [1 if rng.integers(3) == 0 else size for size in full][rng.integers(len(full) - 1) :]
        values = make(*shape)
        arguments["attn_mask"] = values > -0.5 if mask == 2 else values
    if rng.integers(2):
        arguments["scale"] = float(rng.uniform(0.05, 1.5))
    return tensors, arguments


def test_300_random_calls_and_their_gradients():
    rng = np.random.default_rng(11)
    for _ in range(300):
        tensors, arguments = random_call(rng)
        bias = arguments.get("attn_mask")
        leaves = tensors + ([bias] if bias is not None and bias.dtype != torch.bool else [])

        def run(function, dtype):
            inputs = [x.detach().to(dtype).requires_grad_() for x in leaves]
            options = dict(arguments)
            if len(inputs) == 4:
                options["attn_mask"] = inputs[3]
            out = function(*inputs[:3], **options)
            (out * weights.to(dtype)).sum().backward()
            return [out.detach(), *(x.grad for x in inputs)]

        shape = torch.Size((*tensors[0].shape[:-1], tensors[2].shape[-1]))
        weights = torch.from_numpy(rng.standard_normal(shape))
        expected = run(PYTORCH, torch.float64)
        actual = run(gt.scaled_dot_product_attention, torch.float32)
        assert actual[0].shape == expected[0].shape
        assert relative(actual[0], expected[0]) < 1e-5, arguments
        for gradient, right in zip(actual[1:], expected[1:]):
            assert gradient.shape == right.shape and relative(gradient, right) < 1e-4, arguments
        with torch.no_grad():
            direct = gt.scaled_dot_product_attention(*(x.float() for x in tensors), **{
                key: x.float() if key == "attn_mask" and x.dtype != torch.bool else x
                for key, x in arguments.items()
            })
        assert torch.equal(direct, actual[0])


def leaves(*shapes):
    generator = torch.Generator().manual_seed(5)
    return [
        torch.randn(s, dtype=torch.float64, generator=generator).requires_grad_() for s in shapes
    ]


def test_gradcheck():
    q, k, v, bias = leaves((2, 4, 5, 3), (2, 2, 6, 3), (2, 2, 6, 4), (4, 5, 6))
    assert torch.autograd.gradcheck(
        lambda *x: gt.scaled_dot_product_attention(*x, enable_gqa=True), (q, k, v, bias)
    )
    assert torch.autograd.gradcheck(
        lambda q, k, v: gt.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True),
        (q, k, v),
    )
    (sinks,) = leaves((4,))
    assert torch.autograd.gradcheck(
        lambda q, k, v, sinks: gt.attention(
            q, k, v, layout="BHTD", causal=True, window_left=2, softcap=2.0, sinks=sinks
        ),
        (q, k, v, sinks),
    )


def test_what_the_plain_way_gives():
    """Results and gradients lie in memory as PyTorch's own; there are gradients of those operands
    alone that require one."""
    made = leaves((2, 5, 4, 8), (2, 6, 2, 8), (2, 6, 2, 8))
    q, k, v = (x.detach().transpose(1, 2) for x in made)
    q.requires_grad_(), v.requires_grad_()
    out = gt.scaled_dot_product_attention(q, k, v, enable_gqa=True)
    assert out.transpose(1, 2).is_contiguous()
    (2 * out).sum().backward()
    assert q.grad.transpose(1, 2).is_contiguous() and k.grad is None
    reference = q.detach().requires_grad_()
    (2 * PYTORCH(reference, k, v.detach(), enable_gqa=True)).sum().backward()
    torch.testing.assert_close(q.grad, reference.grad)
    with torch.no_grad():
        assert gt.scaled_dot_product_attention(q, k, v, enable_gqa=True).grad_fn is None
    (given,) = leaves((1, 2, 3, 4))
    other = gt.scaled_dot_product_attention(given, given, given)
    with torch.no_grad():
        given.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        other.sum().backward()


def test_a_second_derivative_is_refused():
    q, k, v = leaves((1, 2, 3, 4), (1, 2, 3, 4), (1, 2, 3, 4))
    out = gt.scaled_dot_product_attention(q, k, v)
    (gradient,) = torch.autograd.grad(out.square().sum(), q, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_operator_registration():
    q, k, v, bias = leaves((1, 2, 3, 4), (1, 2, 5, 4), (1, 2, 5, 4), (1, 2, 3, 5))
    inputs = (q, k, v, *(bias if name == "bias" else None for name in gt._TENSORS))
    torch.library.opcheck(
        torch.ops.grouphead.attention, inputs, {"layout": "BHTD", "out_layout": "BTHD"}
    )


@pytest.mark.parametrize("gradients", [False, True])
def test_compile(gradients):
    torch.manual_seed(3)
    q, k, v = (torch.randn(2, 4, 9, 8, requires_grad=gradients) for _ in range(3))

    def block(q, k, v):
        return gt.scaled_dot_product_attention(q.sin(), k, v, is_causal=True).cos()

    expected = block(q, k, v)
    actual = torch.compile(block, fullgraph=True, backend="aot_eager")(q, k, v)
    assert torch.equal(actual, expected)
    if gradients:
        wanted = torch.autograd.grad(expected.sum(), (q, k, v))
        for x, right in zip(torch.autograd.grad(actual.sum(), (q, k, v)), wanted):
            torch.testing.assert_close(x, right)


def test_vmap():
    q, k, v = (x.detach() for x in leaves((3, 2, 4, 5, 8), (2, 4, 3, 5, 8), (2, 4, 5, 8)))
    bias = leaves((3, 5, 5))[0].detach()
    mapped = torch.func.vmap(gt.scaled_dot_product_attention, in_dims=(0, 2, None, 0))
    expected = torch.stack(
        [gt.scaled_dot_product_attention(q[i], k[:, :, i], v, bias[i]) for i in range(3)]
    )
    torch.testing.assert_close(mapped(q, k, v, bias), expected)
    with pytest.raises(NotImplementedError, match="sinks: expected what vmap can map"):
        torch.func.vmap(lambda q, s: gt.attention(q, q, q, sinks=s))(q, torch.zeros(3, 5))


def test_dropout_follows_pytorchs_seed():
    q, k, v = (x.detach() for x in leaves((1, 2, 40, 8), (1, 2, 40, 8), (1, 2, 40, 8)))

    def draw(seed):
        torch.manual_seed(seed)
        return gt.scaled_dot_product_attention(q, k, v, dropout_p=0.3)

    assert torch.equal(draw(1), draw(1)) and not torch.equal(draw(1), draw(2))
    mean = torch.stack([draw(seed) for seed in range(400)]).mean(0)
    expected = gt.scaled_dot_product_attention(q, k, v)
    assert (mean - expected).abs().max() < 0.15
    q.requires_grad_()
    torch.manual_seed(1)
    assert torch.equal(gt.scaled_dot_product_attention(q, k, v, dropout_p=0.3), draw(1))
    torch.manual_seed(7)
    assert torch.autograd.gradcheck(
        lambda q: gt.attention(q, k, v, layout="BHTD", dropout_rate=0.3, draw=9), (q,), atol=1e-4
    )


def test_varlen_with_softcap_and_sinks():
    (q, k, v), options, expected = golden.load("segments_window_sinks")
    arguments = {name: torch.tensor(x) for name, x in options.items() if isinstance(x, np.ndarray)}
    segments, keys = arguments.pop("segments"), arguments.pop("key_segments")
    arguments.update(causal=True, window_left=options["window_left"])
    arguments["sinks"].requires_grad_()
    q, k, v = (torch.tensor(x[0], requires_grad=True) for x in (q, k, v))
    out = gt.varlen_attention(q, k, v, segments, keys, **arguments)
    out.backward(torch.tensor(expected["d_out"][0]))
    assert relative(out, torch.tensor(expected["out"][0])) < 1e-5
    for x, name in ((q, "d_q"), (k, "d_k"), (v, "d_v")):
        assert relative(x.grad, torch.tensor(expected[name][0])) < 1e-4
    assert relative(arguments["sinks"].grad, torch.tensor(expected["d_sinks"])) < 1e-4


def test_bfloat16_and_the_functions_kind():
    q, k, v = (x.detach().bfloat16() for x in leaves((1, 4, 9, 16), (1, 2, 9, 16), (1, 2, 9, 16)))
    out = gt.scaled_dot_product_attention(q, k, v, enable_gqa=True)
    expected = PYTORCH(q.double(), k.double(), v.double(), enable_gqa=True)
    assert out.dtype == torch.bfloat16 and relative(out, expected) < 2e-2
    result = grouphead.attention(q, k, v, layout="BHTD")
    assert type(result) is torch.Tensor and torch.equal(result, out)
    cache = grouphead.KvCache(head_dim=16, num_key_value_heads=2, capacity=9)
    step = grouphead.decode(q.float(), k.float(), v.float(), cache, layout="BHTD", causal=True)
    assert type(step) is torch.Tensor and step.shape == (1, 4, 9, 16)


def test_enable_reroutes_and_disable_restores():
    q, k, v = (x.detach() for x in leaves((2, 4, 9, 8), (2, 4, 9, 8), (2, 4, 9, 8)))
    layer = torch.nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True)
    x = torch.randn(2, 9, 32)
    expected = layer(x)
    with gt.enable():
        assert F.scaled_dot_product_attention is not PYTORCH
        assert torch.equal(
            F.scaled_dot_product_attention(q, k, v), gt.scaled_dot_product_attention(q, k, v)
        )
        torch.testing.assert_close(layer(x), expected)
        half = q.half()
        assert F.scaled_dot_product_attention(half, half, half).dtype == torch.float16
    assert F.scaled_dot_product_attention is PYTORCH
    gt.enable()
    gt.disable()
    assert F.scaled_dot_product_attention is PYTORCH


def test_bad_input():
    q = torch.zeros(1, 2, 3, 4)
    meta = torch.zeros(1, 2, 3, 4, device="meta")
    for arguments, error, text in (
        ((q, q, q[:, :, :2]), ValueError, "v: expected"),
        ((q, q.double(), q), ValueError, "k: expected f32, got f64"),
        ((q.half(), q.half(), q.half()), TypeError, "q: expected float32"),
        ((q, q[0, 0, 0], q), ValueError, "expected .* that broadcast"),
        ((q, q, q, torch.ones(4, 3, dtype=torch.bool)), ValueError, "mask: expected"),
        ((q, q, q, torch.ones(3, 3), 0.0, True), ValueError, "is_causal: expected False"),
        ((q, q, q, None, 1.5), ValueError, "dropout_rate"),
        ((q.to_sparse(), q, q), TypeError, "q: expected an array"),
    ):
        with pytest.raises(error, match=text):
            gt.scaled_dot_product_attention(*arguments)
    freed = torch.zeros(1, 2, 3, 4)
    freed.untyped_storage().resize_(0)
    for function in (gt.scaled_dot_product_attention, grouphead.attention):
        with pytest.raises(ValueError, match="expected an array whose memory is there"):
            function(q, freed, q)
    with pytest.raises((TypeError, ValueError), match="q: expected an array"):
        grouphead.attention(meta, meta, meta)
    with pytest.raises(TypeError, match=r"q: expected a tensor without gradient"):
        grouphead.attention(q.clone().requires_grad_(), q, q)
    with torch.no_grad():
        grouphead.attention(q.clone().requires_grad_(), q, q)


def _train_one_step(rank, folder):
    import torch.distributed as dist

    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2
    )
    torch.manual_seed(0)
    layer = torch.nn.Linear(16, 48)
    model = torch.nn.parallel.DistributedDataParallel(_Attention(layer))
    x = torch.randn(4, 7, 16)[2 * rank : 2 * rank + 2]
    model(x).square().sum().backward()
    torch.save(layer.weight.grad, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


class _Attention(torch.nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        q, k, v = self.layer(x).unflatten(-1, (3, 4, 4)).unbind(2)
        return gt.attention(q, k, v, causal=True)


def test_two_processes(tmp_path):
    torch.multiprocessing.spawn(_train_one_step, args=(str(tmp_path),), nprocs=2)
    torch.manual_seed(0)
    layer = torch.nn.Linear(16, 48)
    x = torch.randn(4, 7, 16)
    (_Attention(layer)(x).square().sum() / 2).backward()
    gradients = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    assert torch.equal(*gradients)
    torch.testing.assert_close(gradients[0], layer.weight.grad)
