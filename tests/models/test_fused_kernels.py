"""Fused kernels: when they are used, their arguments, and their agreement with plain torch."""

import sys
import types

import pytest
import torch
import torch.nn.functional as F
from support.operations import assert_same, normal, outcome, ssd_arguments
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
    """Replace the CUDA packages by stand-ins that record calls; return the record."""
    calls = []

    def convolution(x, weight, bias, **options):
        calls.append("conv")
        return F.conv1d(F.pad(x, (weight.shape[1] - 1, 0)), weight[:, None], bias, groups=x.shape[1])

    def scan(x, dt, a, b, c, chunk, initial_states=None, return_final_states=False):
        calls.append("scan")
        return ssd(x, dt, -a, b[:, :, 0], c[:, :, 0], chunk, initial_states, kernels="torch")

    for name, function in (("causal_conv1d_fn", convolution), ("mamba_chunk_scan_combined", scan)):
        _, path = kernels._HOMES[name]
        monkeypatch.setitem(sys.modules, path, types.SimpleNamespace(**{name: function}))
    kernels._imported.cache_clear()
    yield calls
    kernels._imported.cache_clear()


def test_the_error_for_missing_fused_kernels_says_how_to_install_them():
    if not any(isinstance(kernels._imported(name), str) for name in kernels._HOMES):
        pytest.skip("mamba-ssm and causal-conv1d are installed")
    with pytest.raises(ValueError, match=r"saw 'fused', but these do not import: .*pip install .*mamba-ssm"):
        require_fused()


def test_fused_kernels_are_refused_on_a_cpu(fused_packages):
    with pytest.raises(ValueError, match="the tensors are not on a CUDA GPU"):
        causal_conv1d(normal(2, 9, 4), normal(4, 3), normal(4), kernels="fused")
    causal_conv1d(normal(2, 9, 4), normal(4, 3), normal(4), kernels="auto")
    assert fused_packages == []


def test_fused_kernels_are_called_with_valid_arguments(fused_packages, monkeypatch):
    """Call stand-ins that have the published signatures, as if the tensors were on a GPU."""
    for module in (conv, duality):
        monkeypatch.setattr(module, "fused", lambda name, kind, *_: kind != "torch" and kernels._imported(name))
    inputs = [normal(3, 9, 5), normal(5, 4, seed=1), normal(5, seed=2)]
    assert_same(causal_conv1d, causal_conv1d_sequential, inputs)
    arguments = ssd_arguments(20, 1.0)
    assert_same(lambda *args: ssd(*args[:5], chunk=8, state=args[5]), ssd_sequential, arguments)
    assert set(fused_packages) == {"conv", "scan"}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_fused_kernels_equal_plain_torch():
    """The tensor cores shorten float32 mantissas, so values near 1 agree within 1e-2."""
    pytest.importorskip("mamba_ssm", reason="needs mamba-ssm and causal-conv1d")
    x, step, rate, b, c, state = (value.float().cuda() for value in ssd_arguments(100, 1.0))
    wide = [torch.cat([value] * 8, -1) for value in (x, b, c)]  # widths that the kernels accept
    inputs = [wide[0], step, rate, *wide[1:], torch.cat([torch.cat([state] * 8, -1)] * 8, -2)]
    for one, other in zip(
        outcome(lambda *args: ssd(*args[:5], state=args[5], kernels="fused"), inputs),
        outcome(lambda *args: ssd(*args[:5], state=args[5], kernels="torch"), inputs),
        strict=True,
    ):
        assert_close(one, other, rtol=1e-2, atol=1e-2 * other.abs().max().item())
    inputs = [value.float().cuda() for value in (normal(3, 20, 16), normal(16, 4, seed=1), normal(16, seed=2))]
    for one, other in zip(
        outcome(lambda *args: causal_conv1d(*args, kernels="fused"), inputs),
        outcome(lambda *args: causal_conv1d(*args, kernels="torch"), inputs),
        strict=True,
    ):
        assert_close(one, other, rtol=1e-3, atol=1e-3)
