"""One suite over every architecture, and what is particular to each."""

import sys

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from n2n import models
from n2n.models import mamba, ops, transformer
from n2n.strict import nearest

VOCAB = 11
every_arch = pytest.mark.parametrize("arch", models.names())


def build(arch: str, seed: int = 0, **options) -> torch.nn.Module:
    return models.build(arch, vocab_size=VOCAB, seed=seed, **{"dim": 16, "layers": 2, "heads": 2, **options})


def tokens_of(batch: int, length: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(VOCAB, (batch, length), generator=torch.Generator().manual_seed(seed))


def test_names():
    assert {"transformer", "mamba"} <= set(models.names())


@every_arch
def test_logits_are_causal(arch):
    """Changing token s changes no logit before s, and does change the one at s."""
    model, tokens = build(arch), tokens_of(2, 24)
    before = model(tokens)
    assert before.shape == (2, 24, VOCAB)
    for s in (0, 7, 23):
        changed = tokens.clone()
        changed[:, s] = (changed[:, s] + 1) % VOCAB
        after = model(changed)
        assert torch.equal(after[:, :s], before[:, :s])
        assert not torch.allclose(after[:, s], before[:, s])


@every_arch
def test_every_earlier_token_is_seen(arch):
    """The last logits' gradient reaches the embedding of every position."""
    model, tokens = build(arch), tokens_of(1, 20)
    embedded = []
    model.embedding.register_forward_hook(lambda *call: embedded.append(call[-1].requires_grad_()) or call[-1])
    (gradient,) = torch.autograd.grad(model(tokens)[0, -1, 3], model_input := embedded[0])
    assert model_input.shape == (1, 20, 16)
    assert (gradient.abs().sum(-1) > 0).all()


@every_arch
def test_a_batch_is_its_sequences(arch):
    model, tokens = build(arch), tokens_of(5, 12)
    assert_close(model(tokens)[3:4], model(tokens[3:4]), rtol=1e-5, atol=1e-6)


@every_arch
def test_nll_is_the_cross_entropy_of_the_next_token(arch):
    model, tokens = build(arch), tokens_of(3, 9)
    nll = model.nll(tokens)
    probability = model(tokens)[:, :-1].softmax(-1).gather(-1, tokens[:, 1:, None]).squeeze(-1)
    assert_close(nll, -probability.log(), rtol=1e-5, atol=1e-6)


@every_arch
def test_initial_weights_depend_on_the_seed_alone(arch):
    torch.manual_seed(123)
    expected_next = torch.rand(1)
    torch.manual_seed(123)
    first = build(arch)
    assert torch.equal(torch.rand(1), expected_next)  # torch's own generator was left as it was
    torch.manual_seed(7)
    again, other = build(arch), build(arch, seed=1)
    for name, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
    assert any(not torch.equal(value, other.state_dict()[name]) for name, value in first.state_dict().items())


@every_arch
def test_a_new_model_predicts_nearly_uniformly(arch):
    loss = build(arch, dim=64, heads=4).nll(tokens_of(8, 64)).mean().item()
    assert loss == pytest.approx(torch.log(torch.tensor(VOCAB)).item(), abs=0.1)


@every_arch
def test_state_dict_round_trip(arch):
    model, other, tokens = build(arch), build(arch, seed=1), tokens_of(2, 8)
    other.load_state_dict(model.state_dict())
    assert torch.equal(model(tokens), other(tokens))


@every_arch
def test_overfits_one_batch(arch):
    model, tokens = build(arch, dim=32), tokens_of(4, 16)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0)
    for _ in range(150):
        optimizer.zero_grad()
        model.nll(tokens).mean().backward()
        optimizer.step()
    assert model.nll(tokens)[:, 4:].mean().item() < 0.05  # random tokens, known by their prefix


@every_arch
def test_gradients_are_finite_over_a_long_sequence(arch):
    model = build(arch)
    model.nll(tokens_of(1, 2048)).mean().backward()
    for parameter in model.parameters():
        assert parameter.grad is not None
        assert torch.isfinite(parameter.grad).all()


@every_arch
def test_the_longest_input_is_the_limit(arch):
    model = build(arch, max_length=10)
    model(tokens_of(1, 10))
    with pytest.raises(ValueError, match="saw 11 of them; max_length is 10"):
        model(tokens_of(1, 11))
    with pytest.raises(ValueError, match=r"saw shape \(10,\)"):
        model(tokens_of(1, 10)[0])


@every_arch
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"dim": 10, "heads": 3}, "heads: saw 3, which does not divide dim 10"),
        ({"dim": -4}, "dim: saw -4"),
        ({"layers": 0}, "layers: saw 0"),
        ({"hedas": 2}, "unknown parameter 'hedas'; did you mean 'heads'"),
    ],
)
def test_bad_options_are_refused(arch, options, said):
    with pytest.raises(ValueError, match=said):
        build(arch, **options)


def test_unknown_architectures_are_refused():
    with pytest.raises(ValueError, match="unknown architecture 'mmba'; did you mean 'mamba'"):
        build("mmba")
    assert nearest("lstm", models.names()) == ""


def test_an_option_of_one_architecture_is_not_another_s():
    assert build("mamba", state_dim=8).config.state_dim == 8
    with pytest.raises(ValueError, match="unknown parameter 'state_dim'"):
        build("transformer", state_dim=8)


def test_an_architecture_is_registered_by_being_there(tmp_path, monkeypatch):
    source = """
        from torch import nn
        from n2n.models.lm import ModelConfig

        class Config(ModelConfig):
            gain: float = 1.0

        class Mixer(nn.Module):
            def __init__(self, config):
                super().__init__()
                self.gain = config.gain

            def forward(self, x):
                return self.gain * x.cumsum(1)
    """
    indent = " " * 8
    (tmp_path / "summer.py").write_text("\n".join(line.removeprefix(indent) for line in source.splitlines()))
    monkeypatch.setattr(models, "__path__", [*models.__path__, str(tmp_path)])
    assert "summer" in models.names()
    assert build("summer", gain=0.5)(tokens_of(2, 5)).shape == (2, 5, VOCAB)
    sys.modules.pop("n2n.models.summer")


def test_transformer_equals_attention_written_out():
    config = transformer.Config(vocab_size=VOCAB, dim=12, heads=3)
    torch.manual_seed(0)
    mixer, x = transformer.Mixer(config), torch.randn(2, 9, 12)
    q, k, v = (part.unflatten(-1, (3, 4)).transpose(1, 2) for part in mixer.qkv(x).chunk(3, dim=-1))
    q, k = (ops.rotate_complex(value, config.rotary_base) for value in (q, k))
    scores = q @ k.transpose(-1, -2) / 4**0.5
    weights = scores.masked_fill(torch.ones(9, 9, dtype=torch.bool).triu(1), -torch.inf).softmax(-1)
    assert_close(mixer(x), mixer.out((weights @ v).transpose(1, 2).flatten(-2)), rtol=1e-4, atol=1e-5)


def test_transformer_needs_pairs_to_rotate():
    with pytest.raises(
        ValueError, match=r"does not divide dim 6 into heads of a width that 2 divides; allowed: \[1, 3\]"
    ):
        build("transformer", dim=6)
    assert build("mamba", dim=6).config.heads == 2


@pytest.mark.parametrize("chunk", [4, 16, 64])
def test_mamba_in_parallel_equals_mamba_in_sequence(chunk, monkeypatch):
    """The whole model, values and gradients, with the chunked product and with the loop over tokens."""
    model, tokens = build("mamba", chunk=chunk, state_dim=8).double(), tokens_of(2, 30)

    def outcome() -> list[torch.Tensor]:
        loss = model.nll(tokens)
        return [loss, *torch.autograd.grad(loss.mean(), list(model.parameters()))]

    parallel = outcome()
    monkeypatch.setattr(mamba, "ssd", lambda x, log_decay, b, c, _: ops.ssd_sequential(x, log_decay, b, c))
    monkeypatch.setattr(mamba, "causal_conv1d", ops.causal_conv1d_grouped)
    for fast, slow in zip(parallel, outcome(), strict=True):
        assert_close(fast, slow, rtol=1e-8, atol=1e-10)


def test_mamba_equals_the_published_block():
    """Written out again from arXiv:2405.21060, with the library's convolution and one step of the state at a time."""
    config = mamba.Config(vocab_size=5, dim=16, heads=4, state_dim=8, chunk=4)
    torch.manual_seed(0)
    mixer, u = mamba.Mixer(config).double(), torch.randn(2, 13, 16, dtype=torch.float64)
    with torch.no_grad():
        for parameter in (mixer.skip, mixer.norm.weight, mixer.dt_bias):
            parameter.add_(torch.rand_like(parameter))  # away from ones, so that each has its part
    z, x_b_c, dt = mixer.project(u).split([32, 32 + 8 + 8, 4], dim=-1)
    weight = mixer.conv_weight[:, None]
    convolved = F.conv1d(x_b_c.transpose(1, 2), weight, mixer.conv_bias, padding=3, groups=48)[..., :13]
    x, b, c = F.silu(convolved).transpose(1, 2).split([32, 8, 8], dim=-1)
    dt, rate = F.softplus(dt + mixer.dt_bias), -mixer.log_a.exp()
    x, state, outputs = x.unflatten(-1, (4, 8)), torch.zeros(2, 4, 8, 8, dtype=torch.float64), []
    for t in range(13):
        state = (dt[:, t] * rate).exp()[..., None, None] * state
        state = state + torch.einsum("bh,bhp,bn->bhpn", dt[:, t], x[:, t], b[:, t])
        outputs.append(torch.einsum("bhpn,bn->bhp", state, c[:, t]) + mixer.skip[:, None] * x[:, t])
    gated = torch.stack(outputs, 1).flatten(-2) * F.silu(z)
    normed = gated * torch.rsqrt(gated.square().mean(-1, keepdim=True) + 1e-5) * mixer.norm.weight
    assert_close(mixer(u), mixer.out(normed), rtol=1e-10, atol=1e-12)


def test_the_language_model_written_out():
    """Pre-norm residual blocks with SwiGLU, a final norm, a head."""
    model, tokens = build("transformer"), tokens_of(2, 7)

    def norm(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-5) * weight

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.add_(torch.rand_like(parameter))
    x = model.embedding.weight[tokens]
    for block in model.blocks:
        x = x + block.mixer(norm(x, block.mixer_norm.weight))
        gate, up = (norm(x, block.mlp_norm.weight) @ block.mlp.gate_up.weight.T).chunk(2, dim=-1)
        x = x + (gate * torch.sigmoid(gate) * up) @ block.mlp.out.weight.T
    expected = norm(x, model.norm.weight) @ model.head.weight.T
    assert_close(model(tokens), expected, rtol=1e-4, atol=1e-5)


@every_arch
def test_weights_start_with_the_policy_s_deviations(arch):
    model = build(arch, dim=128, layers=2)
    assert model.embedding.weight.std().item() == pytest.approx(1.0, rel=0.1)
    assert model.head.weight.std().item() == pytest.approx(1 / 128, rel=0.1)
    inward = [module for name, module in model.blocks.named_modules() if name.endswith(("qkv", "project", "gate_up"))]
    assert inward or arch not in ("mamba", "transformer")
    for module in inward:
        assert module.weight.std().item() == pytest.approx(128**-0.5, rel=0.1)


def test_a_small_mlp_still_has_a_width():
    assert build("mamba", mlp_ratio=0.01).blocks[0].mlp.out.in_features == 8


def test_mamba_starts_as_published():
    """Steps in [1e-3, 1e-1], decay rates in [1, 16], skip 1, convolution of width 4 within 1 / sqrt(width)."""
    mixers = [block.mixer for block in build("mamba", dim=256, heads=64, layers=3).blocks]
    step = F.softplus(torch.cat([mixer.dt_bias for mixer in mixers]))
    rate = torch.cat([mixer.log_a for mixer in mixers]).exp()
    assert step.min() >= 1e-3 - 1e-6
    assert step.max() <= 1e-1 + 1e-6
    assert step.log().mean().item() == pytest.approx(-4.6, abs=0.4)  # log-uniform: its mean is log(1e-2)
    assert rate.min() >= 1
    assert rate.max() <= 16
    assert rate.mean().item() == pytest.approx(8.5, abs=1.0)
    for mixer in mixers:
        assert (mixer.skip == 1).all()
        assert mixer.conv_weight.shape[1] == 4
        assert 0.25 < mixer.conv_weight.abs().mean() / mixer.conv_weight.abs().max() < 0.75
        assert mixer.conv_weight.abs().max() <= 0.5


def test_residual_outputs_start_smaller_with_depth():
    for arch, outputs in (("transformer", 2), ("mamba", 1)):
        shallow, deep = (build(arch, dim=64, layers=layers).blocks[0].mixer.out.weight.std() for layers in (1, 9))
        assert (shallow / deep).item() == pytest.approx(3.0, rel=0.1)
        inner = build(arch, dim=64, layers=1).blocks[0].mixer.out.in_features
        assert shallow.item() == pytest.approx((inner * outputs) ** -0.5, rel=0.1)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@every_arch
def test_the_gpu_agrees(arch):
    model, tokens = build(arch), tokens_of(4, 50)
    expected = model.nll(tokens)
    assert_close(model.cuda().nll(tokens.cuda()).cpu(), expected, rtol=1e-3, atol=1e-3)
