"""Inputs of the sequence operations, and comparison of a fast operation with its slow reference."""

import torch
from torch.testing import assert_close


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def outcome(function, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
    """Return the outputs, and the gradients of a weighted sum of them with respect to all inputs."""
    inputs = [value.clone().requires_grad_() for value in inputs]
    result = function(*inputs)
    outputs = result if isinstance(result, tuple) else (result,)
    total = sum((output * normal(*output.shape, seed=9 + i).to(output)).sum() for i, output in enumerate(outputs))
    return [*outputs, *torch.autograd.grad(total, inputs)]


def assert_same(fast, slow, inputs, tolerance: float = 1e-9) -> None:
    for one, other in zip(outcome(fast, inputs), outcome(slow, inputs), strict=True):
        assert_close(one, other, rtol=tolerance, atol=tolerance)


def ssd_arguments(length: int, harshness: float) -> list[torch.Tensor]:
    x, b, c = normal(2, length, 3, 5), normal(2, length, 4, seed=1), normal(2, length, 4, seed=2)
    rate = torch.tensor([0.1, 1.0, 3.0], dtype=torch.float64) * harshness
    return [x, normal(2, length, 3, seed=3).abs(), rate, b, c, normal(2, 3, 5, 4, seed=5)]
