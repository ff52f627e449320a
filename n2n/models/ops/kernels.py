"""Choice between plain torch and the fused CUDA kernels of mamba-ssm and causal-conv1d, imported only here."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any, Literal

from torch import Tensor

Kernels = Literal["auto", "torch", "fused"]

_HOMES = {
    "causal_conv1d_fn": ("causal-conv1d", "causal_conv1d"),
    "mamba_chunk_scan_combined": ("mamba-ssm", "mamba_ssm.ops.triton.ssd_combined"),
}
INSTALL = (
    'on a machine with an NVIDIA GPU and a CUDA torch: pip install --no-build-isolation "causal-conv1d>=1.4" '
    '"mamba-ssm>=2.2"; or choose kernels="auto", which uses them if installed, or kernels="torch"'
)


@cache
def _imported(name: str) -> Callable[..., Any] | str:
    """The fused function, or the reason why it cannot be imported."""
    package, module = _HOMES[name]
    try:
        return getattr(import_module(module), name)
    except Exception as error:  # a package built against another torch can raise anything
        return f"{package} ({type(error).__name__}: {error})"


def require_fused() -> None:
    """Check that every fused kernel can be imported.

    Raises:
        ValueError: if one cannot be imported; the message says how to install it.
    """
    missing = [kernel for kernel in map(_imported, _HOMES) if isinstance(kernel, str)]
    if missing:
        raise ValueError(f"kernels: saw 'fused', but these do not import: {'; '.join(missing)}. Install them {INSTALL}")


def fused(name: str, kernels: Kernels, *tensors: Tensor) -> Callable[..., Any] | None:
    """The fused function if these tensors should use it, else None.

    Raises:
        ValueError: if ``kernels="fused"`` and the kernels cannot be imported or the tensors are not on a CUDA GPU.
    """
    if kernels == "torch":
        return None
    on_gpu = all(tensor.is_cuda for tensor in tensors)
    if kernels == "fused":
        require_fused()
        if not on_gpu:
            raise ValueError("kernels: saw 'fused', but the tensors are not on a CUDA GPU (allowed there: auto, torch)")
    kernel = _imported(name) if on_gpu else None
    return kernel if callable(kernel) else None
