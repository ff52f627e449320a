"""The choice of fused kernels: when they are used, what they are called with, and that they equal plain torch."""

import sys
import types

import pytest
import torch
import torch.nn.functional as F
from support.operations import assert_same, drawn, outcome, ssd_arguments
from torch.testing import assert_close

from n2n.models.ops import (
    causal_conv1d,
    causal_conv1d_sequential,
    conv,
    duality,
    kernels,
    require_fused,
    ssd,
    ssd_sequential,
)


@pytest.fixture
def fused_packages(monkeypatch):
    """Stand-ins for the CUDA packages, which note that they were called."""
    called = []

    def convolution(x, weight, bias, **options):
        called.append("conv")
        return F.conv1d(F.pad(x, (weight.shape[1] - 1, 0)), weight[:, None], bias, groups=x.shape[1])

    def scan(x, dt, a, b, c, chunk, initial_states=None, return_final_states=False):
        called.append("scan")
        return ssd(x, dt, -a, b[:, :, 0], c[:, :, 0], chunk, initial_states, kernels="torch")

    for name, function in (("causal_conv1d_fn", convolution), ("mamba_chunk_scan_combined", scan)):
        _, path = kernels._HOMES[name]
        monkeypatch.setitem(sys.modules, path, types.SimpleNamespace(**{name: function}))
    kernels._imported.cache_clear()
    yield called
    kernels._imported.cache_clear()


def test_fused_kernels_that_are_missing_say_how_to_be_installed():
    if not any(isinstance(kernels._imported(name), str) for name in kernels._HOMES):
        pytest.skip("mamba-ssm and causal-conv1d are installed")
    with pytest.raises(ValueError, match=r"saw 'fused', but these do not import: .*pip install .*mamba-ssm"):
        require_fused()


def test_fused_kernels_are_refused_on_a_cpu(fused_packages):
    with pytest.raises(ValueError, match="the tensors are not on a CUDA GPU"):
        causal_conv1d(drawn(2, 9, 4), drawn(4, 3), drawn(4), kernels="fused")
    causal_conv1d(drawn(2, 9, 4), drawn(4, 3), drawn(4), kernels="auto")
    assert fused_packages == []


def test_fused_kernels_get_the_arguments_that_they_take(fused_packages, monkeypatch):
    """With stand-ins of the published signatures, and tensors that say they are on a GPU."""
    for module in (conv, duality):
        monkeypatch.setattr(module, "fused", lambda name, asked, *_: asked != "torch" and kernels._imported(name))
    inputs = [drawn(3, 9, 5), drawn(5, 4, seed=1), drawn(5, seed=2)]
    assert_same(causal_conv1d, causal_conv1d_sequential, inputs)
    arguments = ssd_arguments(20, 1.0)
    assert_same(lambda *given: ssd(*given[:5], chunk=8, state=given[5]), ssd_sequential, arguments)
    assert set(fused_packages) == {"conv", "scan"}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_fused_kernels_equal_the_torch_paths():
    """Float32 on the tensor cores' short mantissas: to 1e-2 of values near 1."""
    pytest.importorskip("mamba_ssm", reason="needs mamba-ssm and causal-conv1d")
    x, step, rate, b, c, state = (value.float().cuda() for value in ssd_arguments(100, 1.0))
    wide = [torch.cat([value] * 8, -1) for value in (x, b, c)]  # widths that the kernels' blocks take
    grown = [wide[0], step, rate, *wide[1:], torch.cat([torch.cat([state] * 8, -1)] * 8, -2)]
    for one, other in zip(
        outcome(lambda *given: ssd(*given[:5], state=given[5], kernels="fused"), grown),
        outcome(lambda *given: ssd(*given[:5], state=given[5], kernels="torch"), grown),
        strict=True,
    ):
        assert_close(one, other, rtol=1e-2, atol=1e-2 * other.abs().max().item())
    inputs = [value.float().cuda() for value in (drawn(3, 20, 16), drawn(16, 4, seed=1), drawn(16, seed=2))]
    for one, other in zip(
        outcome(lambda *given: causal_conv1d(*given, kernels="fused"), inputs),
        outcome(lambda *given: causal_conv1d(*given, kernels="torch"), inputs),
        strict=True,
    ):
        assert_close(one, other, rtol=1e-3, atol=1e-3)
