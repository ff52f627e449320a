"""Operations compiled for float32 on the CPU, against their torch twins in float64."""

import pytest
import torch
import torch.nn.functional as F
from support.operations import normal, outcome
from torch.testing import assert_close

from n2n.models.ops import (
    RMSNorm,
    causal_conv1d_sequential,
    compiled_conv,
    compiled_gate,
    gated_norm,
    sharing,
    silu_conv1d,
)

compiling = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def plain_silu_conv(x, weight, bias, before=None):
    return F.silu(causal_conv1d_sequential(x, weight, bias, before))


def plain_gated_norm(y, x, z, skip, weight):
    return F.rms_norm((y + skip * x) * F.silu(z), weight.shape, weight, 1e-5)


def fast_gated_norm(y, x, z, skip, weight):
    norm = RMSNorm(len(weight)).to(weight.dtype)
    return torch.func.functional_call(_Gated(norm), {"norm.weight": weight}, (y, x, z, skip))


class _Gated(torch.nn.Module):
    def __init__(self, norm: RMSNorm) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, *values: torch.Tensor) -> torch.Tensor:
        return gated_norm(*values, self.norm)


def conv_inputs(batch: int, length: int, channels: int, width: int) -> list[torch.Tensor]:
    return [normal(batch, length, channels), normal(channels, width, seed=1), normal(channels, seed=2)]


def gate_inputs(*shape: int) -> list[torch.Tensor]:
    return [*(normal(*shape, seed=k) for k in range(3)), normal(shape[-1], seed=3), 1 + normal(shape[-1], seed=4)]


def assert_float32(fast, slow, inputs: list[torch.Tensor]) -> None:
    """Values and gradients in float32 are within its rounding of those of the twin in float64."""
    found = outcome(fast, [value.float() for value in inputs])
    for one, other in zip(found, outcome(slow, inputs), strict=True):
        assert one.dtype == torch.float32
        assert_close(one.double(), other, rtol=1e-5, atol=3e-6 * max(1.0, other.abs().max().item()))


@pytest.fixture(autouse=True)
def _at_every_size(monkeypatch):
    monkeypatch.setattr(sharing, "_MIN_COMPILED", 0)


@pytest.fixture
def counted(monkeypatch):
    """The names of the compiled operations that ran."""
    ran, real = [], sharing.run_shares
    for module in (compiled_conv, compiled_gate):
        monkeypatch.setattr(module, "run_shares", lambda *given: ran.append(given[0].__name__) or real(*given))
    return ran


@pytest.mark.parametrize("width", [1, 2, 3, 4])
@pytest.mark.parametrize(("batch", "length", "channels"), [(1, 3, 1), (2, 4, 15), (3, 8, 16), (2, 9, 17), (3, 70, 45)])
def test_convolution_with_silu_in_values_and_gradients(width, batch, length, channels, counted):
    """Lengths around a tile of 8 tokens, and channels that fill vectors or not."""
    inputs = conv_inputs(batch, length, channels, width)
    assert_float32(silu_conv1d, plain_silu_conv, inputs)
    assert counted == ["_forward", "_backward"]
    if width > 1:
        assert_float32(silu_conv1d, plain_silu_conv, [*inputs, normal(batch, width - 1, channels, seed=3)])


@pytest.mark.parametrize(("length", "width"), [(1, 4), (2, 4), (20, 7)])
def test_short_sequences_and_wide_windows_use_torch(length, width, counted):
    assert_float32(silu_conv1d, plain_silu_conv, conv_inputs(2, length, 5, width))
    assert not counted


@pytest.mark.parametrize("shape", [(1, 1), (3, 16), (2, 5, 45), (150, 33), (2, 65, 64)])
def test_gated_norm_in_values_and_gradients(shape, counted):
    """Numbers of rows around a block of 64, and channels that fill vectors or not."""
    assert_float32(fast_gated_norm, plain_gated_norm, gate_inputs(*shape))
    assert counted == ["_forward", "_backward"]


def test_rows_of_the_skip_connection_may_lie_apart():
    y, x, z, skip, weight = gate_inputs(2, 7, 20)
    wide = torch.cat([x, x], dim=-1).float()
    apart = wide[..., :20]
    assert not apart.is_contiguous()
    found = fast_gated_norm(y.float(), apart, z.float(), skip.float(), weight.float())
    assert_close(found.double(), plain_gated_norm(y, x, z, skip, weight), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("value", [-200.0, -88.0, -20.0, 0.0, 20.0, 88.0, 200.0])
def test_silu_of_extreme_values(value):
    x = torch.full((1, 4, 3), value)
    weight = torch.tensor([[1.0]] * 3)
    assert_close(silu_conv1d(x, weight, torch.zeros(3)), F.silu(x), rtol=1e-6, atol=1e-30)


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
def test_results_do_not_depend_on_the_number_of_threads(threads, monkeypatch):
    """The bits of values and gradients are equal."""
    cases = [
        (silu_conv1d, [value.float() for value in conv_inputs(2, 30, 150, 4)]),
        (fast_gated_norm, [value.float() for value in gate_inputs(300, 40)]),
    ]
    for function, inputs in cases:
        expected = outcome(function, inputs)
        with monkeypatch.context() as patch:
            patch.setattr(sharing, "cores", lambda: threads)
            patch.setattr(sharing, "_MIN_SHARED", 0)
            found = outcome(function, inputs)
        for one, other in zip(found, expected, strict=True):
            assert torch.equal(one, other)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_types_use_torch(dtype, counted):
    assert silu_conv1d(*(value.to(dtype) for value in conv_inputs(2, 9, 5, 4))).dtype == dtype
    gated_norm(*(value.to(dtype) for value in gate_inputs(4, 8)[:4]), RMSNorm(8).to(dtype))
    assert not counted


def test_small_inputs_use_torch(monkeypatch):
    monkeypatch.undo()
    ran = []
    monkeypatch.setattr(compiled_conv, "run_shares", lambda *given: ran.append(given))
    silu_conv1d(*(value.float() for value in conv_inputs(2, 9, 5, 4)))
    assert not ran


@compiling
def test_the_compiler_of_torch_makes_its_own(counted):
    inputs = [value.float() for value in conv_inputs(2, 9, 5, 4)]
    compiled = torch.compile(silu_conv1d, backend="aot_eager", fullgraph=True)
    assert_close(compiled(*inputs), F.silu(causal_conv1d_sequential(*inputs)), rtol=1e-5, atol=1e-6)
    assert not counted


def test_operators_pass_torch_s_checks():
    inputs = tuple(value.float().requires_grad_() for value in conv_inputs(2, 5, 3, 4))
    torch.library.opcheck(compiled_conv.silu_conv, inputs)
    rows = tuple(value.float().requires_grad_() for value in gate_inputs(6, 5))
    torch.library.opcheck(compiled_gate.gated_norm, (*rows, 1e-5))
