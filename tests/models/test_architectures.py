"""Each architecture against its published equations and initialisation, and the model around the mixers."""

import pytest
import torch
import torch.nn.functional as F
from support.architectures import VOCAB, build, tokens_of
from support.published_values import MINGRU, MINLSTM, RGLRU, index
from torch.testing import assert_close

from n2n import models
from n2n.models import ops
from n2n.models.architectures import hawk, mamba, mingru, minlstm, transformer


def identity_(linear: torch.nn.Linear) -> None:
    torch.nn.init.eye_(linear.weight)


def mixer_of(module, **options) -> torch.nn.Module:
    torch.manual_seed(0)
    return module.Mixer(module.Config(vocab_size=VOCAB, **options)).double()


# Transformer


def test_transformer_equals_attention_written_out():
    config = transformer.Config(vocab_size=VOCAB, dim=12, heads=3)
    torch.manual_seed(0)
    mixer, x = transformer.Mixer(config), torch.randn(2, 9, 12)
    q, k, v = (part.unflatten(-1, (3, 4)) for part in mixer.qkv(x).chunk(3, dim=-1))
    q, k, v = (value.transpose(1, 2) for value in (ops.rotate_real(q, 1e4), ops.rotate_real(k, 1e4), v))
    scores = q @ k.transpose(-1, -2) / 4**0.5
    weights = scores.masked_fill(torch.ones(9, 9, dtype=torch.bool).triu(1), -torch.inf).softmax(-1)
    assert_close(mixer(x), mixer.out((weights @ v).transpose(1, 2).flatten(-2)), rtol=1e-4, atol=1e-5)


def test_transformer_requires_heads_of_even_width():
    with pytest.raises(
        ValueError, match=r"does not divide dim 6 into heads of a width that 2 divides; allowed: \[1, 3\]"
    ):
        build("transformer", dim=6)
    assert build("mamba", dim=6).config.heads == 2


# Mamba


def test_mamba_equals_the_published_block():
    """Repeat the block of arXiv:2405.21060 with torch's convolution and a loop over time steps."""
    mixer = mixer_of(mamba, dim=16, heads=4, state_dim=8, chunk=4)
    u = torch.randn(2, 13, 16, dtype=torch.float64)
    with torch.no_grad():
        for parameter in (mixer.skip, mixer.norm.weight, mixer.step_bias):
            parameter.add_(torch.rand_like(parameter))  # away from 1, so that each parameter has an effect
    weight = mixer.conv.weight[:, None]
    convolved = F.conv1d(mixer.project(u).transpose(1, 2), weight, mixer.conv.bias, padding=3, groups=48)[..., :13]
    x, b, c = F.silu(convolved).transpose(1, 2).split([32, 8, 8], dim=-1)
    dt, rate = F.softplus(mixer.step(u) + mixer.step_bias), -mixer.log_rate.exp()
    x, state, outputs = x.unflatten(-1, (4, 8)), torch.zeros(2, 4, 8, 8, dtype=torch.float64), []
    for t in range(13):
        state = (dt[:, t] * rate).exp()[..., None, None] * state
        state = state + torch.einsum("bh,bhp,bn->bhpn", dt[:, t], x[:, t], b[:, t])
        outputs.append(torch.einsum("bhpn,bn->bhp", state, c[:, t]) + mixer.skip[:, None] * x[:, t])
    gated = torch.stack(outputs, 1).flatten(-2) * F.silu(mixer.gate(u))
    normed = gated * torch.rsqrt(gated.square().mean(-1, keepdim=True) + 1e-5) * mixer.norm.weight
    assert_close(mixer(u), mixer.out(normed), rtol=1e-10, atol=1e-12)


def test_mamba_initialisation_equals_the_published_one():
    """Initial step sizes are in [1e-3, 1e-1], decay rates in [1, 16], and skip weights are 1."""
    mixers = [block.mixer for block in build("mamba", dim=256, heads=64, layers=3).blocks]
    step = F.softplus(torch.cat([mixer.step_bias for mixer in mixers]))
    rate = torch.cat([mixer.log_rate for mixer in mixers]).exp()
    assert step.min() >= 1e-3 - 1e-6
    assert step.max() <= 1e-1 + 1e-6
    assert step.log().mean().item() == pytest.approx(-4.6, abs=0.4)  # log-uniform: the mean is log(1e-2)
    assert rate.min() >= 1
    assert rate.max() <= 16
    assert rate.mean().item() == pytest.approx(8.5, abs=1.0)
    for mixer in mixers:
        assert (mixer.skip == 1).all()


@pytest.mark.parametrize("arch", ["mamba", "mingru", "minlstm", "hawk"])
def test_initial_convolution_weights_are_uniform(arch):
    for width in (4, 2):
        conv = build(arch, dim=128, conv_width=width).blocks[0].mixer.conv
        assert conv.weight.shape == (conv.channels, width)
        for values in (conv.weight, conv.bias):
            assert values.abs().max() <= width**-0.5
            assert values.abs().max() > 0.9 * width**-0.5
            assert values.mean().abs() < 0.1


# minGRU and minLSTM


@pytest.mark.parametrize(("module", "rows", "expected"), [(mingru, 2, MINGRU), (minlstm, 3, MINLSTM)])
def test_minimal_recurrences_equal_public_code(module, rows, expected):
    """The public code projects to [candidate | gate] and [candidate | forget | input], without biases."""
    options = {"forget_bias": 0.0} if module is minlstm else {}
    mixer = mixer_of(module, dim=3, heads=1, conv_width=0, candidate="positive", **options)
    candidate, *gates = (0.5 * torch.cos(index(9 * rows)[0])).view(rows, 3, 3)
    with torch.no_grad():
        mixer.project.weight.copy_(torch.cat([*gates, candidate]))
        identity_(mixer.out)
    i, t, d = index(2, 6, 3)
    assert_close(
        mixer(torch.sin(1 + i + 2 * t + 3 * d)), torch.tensor(expected, dtype=torch.float64), rtol=1e-9, atol=0
    )


@pytest.mark.parametrize("candidate", ["linear", "positive"])
def test_mingru_equals_its_equations(candidate):
    """Compute section 3.1 of arXiv:2410.01201 one token at a time."""
    mixer, x = mixer_of(mingru, dim=6, heads=2, conv_width=0, candidate=candidate), torch.randn(2, 9, 6).double()
    torch.nn.init.normal_(mixer.bias)
    (w_z, w_h), (b_z, b_h) = mixer.project.weight.chunk(2), mixer.bias.chunk(2)
    h, outputs = torch.zeros(2, 6).double(), []
    for x_t in x.unbind(1):
        z = 1 / (1 + (-(x_t @ w_z.T + b_z)).exp())
        v = x_t @ w_h.T + b_h
        v = v if candidate == "linear" else (v + 0.5) * (v >= 0) + 1 / (1 + (-v).exp()) * (v < 0)
        h = (1 - z) * h + z * v
        outputs.append(h)
    assert_close(mixer(x), mixer.out(torch.stack(outputs, 1)), rtol=1e-10, atol=1e-12)


def test_minlstm_equals_its_equations():
    """Compute section 3.2 of arXiv:2410.01201 one token at a time."""
    mixer, x = mixer_of(minlstm, dim=6, heads=2, conv_width=0), torch.randn(2, 9, 6).double()
    assert mixer.bias.tolist() == [3.0] * 6 + [0.0] * 12
    torch.nn.init.normal_(mixer.bias)
    h, outputs = torch.zeros(2, 6).double(), []
    for x_t in x.unbind(1):
        f, i, v = (x_t @ mixer.project.weight.T + mixer.bias).chunk(3, dim=-1)
        f, i = 1 / (1 + (-f).exp()), 1 / (1 + (-i).exp())
        h = f / (f + i) * h + i / (f + i) * v
        outputs.append(h)
    assert_close(mixer(x), mixer.out(torch.stack(outputs, 1)), rtol=1e-10, atol=1e-12)


def test_minlstm_is_finite_if_both_gates_are_closed():
    """f / (f + i) is correct even if f and i are too small for float32."""
    mixer = minlstm.Mixer(minlstm.Config(vocab_size=3, dim=4, heads=1, conv_width=0))
    with torch.no_grad():
        mixer.bias[:4], mixer.bias[4:8] = -200.0, -201.0
        mixer.project.weight[:8] = 0.0
    gates = mixer.gates(torch.randn(1, 3, 4))
    assert_close(gates.decay, torch.full((1, 3, 4), 1 / (1 + torch.e**-1)), rtol=1e-5, atol=0)


# Hawk


def rg_lru() -> torch.nn.Module:
    """Return a mixer of width 4 in 2 blocks, with the parameters of the published values."""
    mixer = mixer_of(hawk, dim=4, heads=2, expand=1, conv_width=0)
    k = index(8)[0].view(2, 2, 2)
    j = index(4)[0].view(2, 2)
    with torch.no_grad():
        mixer.gate_weight.copy_(torch.cat([0.3 * torch.sin(k + 1), 0.3 * torch.cos(k)], dim=-1))
        mixer.gate_bias.copy_(torch.cat([0.1 * torch.cos(j), 0.1 * torch.sin(j)], dim=-1))
        mixer.logit_decay.copy_(
            -(-4.0 + 0.1 * index(4)[0])
        )  # the public code's softplus(a_param) equals softplus(-lambda)
    return mixer


def test_rg_lru_equals_public_code():
    i, t, d = index(2, 6, 4)
    decay, weight, value = rg_lru().gates(torch.sin(1 + i + 2 * t + 3 * d))
    j, k = index(2, 4)
    h = ops.linear_scan(decay, weight * value, 0.5 * torch.sin(1 + j + 2 * k))
    assert_close(h, torch.tensor(RGLRU, dtype=torch.float64), rtol=1e-9, atol=1e-11)


def test_hawk_equals_its_equations():
    """Compute section 2.4 of arXiv:2402.19427 one token at a time, and the block's two branches of section 2.3."""
    mixer, x = mixer_of(hawk, dim=6, heads=2, expand=2, conv_width=3), torch.randn(2, 9, 6).double()
    torch.nn.init.normal_(mixer.gate_bias)
    branch, gate = mixer.project(x).chunk(2, dim=-1)
    weight = mixer.conv.weight[:, None]
    u = F.conv1d(branch.transpose(1, 2), weight, mixer.conv.bias, padding=2, groups=12)[..., :9].transpose(1, 2)
    w_a, w_x = (torch.block_diag(*part) for part in mixer.gate_weight.chunk(2, dim=-1))
    b_a, b_x = (part.flatten() for part in mixer.gate_bias.chunk(2, dim=-1))
    a = 1 / (1 + (-mixer.logit_decay).exp())
    h, outputs = torch.zeros(2, 12).double(), []
    for u_t in u.unbind(1):
        r, i = (1 / (1 + (-(u_t @ w + b)).exp()) for w, b in ((w_a, b_a), (w_x, b_x)))
        a_t = a ** (8 * r)
        h = a_t * h + (1 - a_t**2).sqrt() * (i * u_t)
        outputs.append(h)
    expected = mixer.out(torch.stack(outputs, 1) * F.gelu(gate, approximate="tanh"))
    assert_close(mixer(x), expected, rtol=1e-9, atol=1e-12)


def test_hawk_initialisation_equals_the_published_one():
    """a^c is uniform in [0.9, 0.999]; gate weights are normal with deviation 1 / sqrt(inputs), and biases are 0."""
    mixer = build("hawk", dim=768, heads=4).blocks[0].mixer
    decay = mixer.logit_decay.detach().double().sigmoid() ** 8
    assert decay.min() >= 0.9 - 1e-6
    assert decay.max() <= 0.999 + 1e-6
    quantiles = decay.quantile(torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64))
    assert quantiles.tolist() == pytest.approx([0.92475, 0.9495, 0.97425], abs=0.006)
    assert mixer.gate_weight.std().item() == pytest.approx(256**-0.5, rel=0.02)
    assert (mixer.gate_bias == 0).all()


# The model around the mixers


def test_the_language_model_equals_its_equations():
    """The model has pre-norm residual blocks with SwiGLU, a final norm and a head."""
    model, tokens = build("transformer"), tokens_of(2, 7)

    def norm(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-5) * weight

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.add_(torch.rand_like(parameter))
    x = model.embedding.weight[tokens]
    x[:, 0] = x[:, 0] + model.start
    for block in model.blocks:
        x = x + block.mixer(norm(x, block.mixer_norm.weight))
        normed = norm(x, block.mlp_norm.weight)
        gate, up = normed @ block.mlp.gate.weight.T, normed @ block.mlp.up.weight.T
        x = x + (gate * torch.sigmoid(gate) * up) @ block.mlp.out.weight.T
    expected = norm(x, model.norm.weight) @ model.head.weight.T
    assert_close(model(tokens), expected, rtol=1e-4, atol=1e-5)


def test_a_tied_head_is_the_embedding():
    tied, untied = build("mingru", tied=True), build("mingru")
    assert untied.num_parameters - tied.num_parameters == VOCAB * 16
    assert tied.embedding.weight.std().item() == pytest.approx(0.25, rel=0.2)
    final = tied.norm(tied.inspect(tokens_of(2, 7)).residual[:, -1])
    assert_close(tied(tokens_of(2, 7)), final @ tied.embedding.weight.T / 4, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("arch", models.names())
def test_initial_weights_have_the_expected_deviations(arch):
    model = build(arch, dim=128, layers=2)
    assert model.embedding.weight.std().item() == pytest.approx(1.0, rel=0.1)
    assert model.start.std().item() == pytest.approx(1.0, rel=0.2)
    assert model.head.weight.std().item() == pytest.approx(1 / 128, rel=0.1)
    inputs = [
        module for name, module in model.blocks.named_modules() if name.endswith(("qkv", "project", "gate", "up"))
    ]
    assert inputs
    for module in inputs:
        assert module.weight.std().item() == pytest.approx(128**-0.5, rel=0.1)


def test_an_mlp_has_a_minimal_width():
    assert build("mamba", mlp_ratio=0.01).blocks[0].mlp.out.in_features == 8


@pytest.mark.parametrize(("arch", "outputs"), [("transformer", 2), ("mamba", 1), ("mingru", 2), ("hawk", 2)])
def test_initial_residual_outputs_shrink_with_depth(arch, outputs):
    shallow, deep = (build(arch, dim=64, layers=layers).blocks[0].mixer.out.weight.std() for layers in (1, 9))
    assert (shallow / deep).item() == pytest.approx(3.0, rel=0.1)
    inner = build(arch, dim=64, layers=1).blocks[0].mixer.out.in_features
    assert shallow.item() == pytest.approx((inner * outputs) ** -0.5, rel=0.1)
