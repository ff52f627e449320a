import pytest
import torch
from torch.testing import assert_close

from n2n.models.ops import (
    causal_conv1d,
    causal_conv1d_grouped,
    decay_matrix,
    rotary_tables,
    rotate,
    rotate_complex,
    ssd,
    ssd_sequential,
)


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def ssd_inputs(length: int, harshness: float) -> list[torch.Tensor]:
    x, b, c = drawn(2, length, 3, 5), drawn(2, length, 4, seed=1), drawn(2, length, 4, seed=2)
    return [x, -harshness * drawn(2, length, 3, seed=3).abs(), b, c]


@pytest.mark.parametrize("harshness", [0.01, 1.0, 50.0])
@pytest.mark.parametrize(("length", "chunk"), [(1, 4), (7, 16), (16, 4), (37, 8), (64, 1)])
def test_ssd_equals_its_recurrence_in_values_and_gradients(length, chunk, harshness):
    outcomes = []
    for function, options in ((ssd, {"chunk": chunk}), (ssd_sequential, {})):
        inputs = [value.clone().requires_grad_() for value in ssd_inputs(length, harshness)]
        y = function(*inputs, **options)
        outcomes.append([y, *torch.autograd.grad((y * drawn(*y.shape, seed=4)).sum(), inputs)])
    for fast, slow in zip(*outcomes, strict=True):
        assert_close(fast, slow, rtol=1e-9, atol=1e-9)


def test_ssd_by_hand():
    """One head, one channel, one state: h = decay h + x b, y = c h."""
    x, b, c = (
        torch.tensor(values, dtype=torch.float64) for values in ([1.0, 2.0, 3.0], [1.0, 0.5, 2.0], [1.0, 1.0, 3.0])
    )
    log_decay = torch.tensor([0.1, 0.5, 0.25], dtype=torch.float64).log()
    y = ssd(x.view(1, 3, 1, 1), log_decay.view(1, 3, 1), b.view(1, 3, 1), c.view(1, 3, 1), chunk=2)
    assert y.flatten().tolist() == pytest.approx([1.0, 1.5, 3 * (0.25 * 1.5 + 6.0)])


@pytest.mark.parametrize("chunk", [8, 32, 64])
def test_ssd_keeps_its_precision_in_float32_after_a_harsh_decay(chunk):
    """A running sum of log-decays would lose the gentle ones that follow a decay of e^-3000."""
    inputs = ssd_inputs(64, 1e-3)
    inputs[1][:, 20] = -3000.0
    expected = ssd_sequential(*inputs)
    found = ssd(*(value.float() for value in inputs), chunk=chunk)
    assert_close(found.double(), expected, rtol=1e-4, atol=1e-4)


def test_decay_matrix_by_definition():
    log_decay = -drawn(2, 6).abs()
    matrix = decay_matrix(log_decay)
    for t in range(6):
        for s in range(6):
            expected = log_decay[:, s + 1 : t + 1].sum(-1).exp() if s <= t else torch.zeros(2, dtype=torch.float64)
            assert_close(matrix[:, t, s], expected)


@pytest.mark.parametrize("width", [1, 2, 4])
def test_causal_convolution_equals_the_library_s(width):
    x, weight, bias = drawn(2, 9, 5), drawn(5, width, seed=1), drawn(5, seed=2)
    assert_close(causal_conv1d(x, weight, bias), causal_conv1d_grouped(x, weight, bias))


def test_causal_convolution_by_hand():
    x = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 4, 1)
    y = causal_conv1d(x, torch.tensor([[10.0, 1.0]]), torch.tensor([0.5]))
    assert y.flatten().tolist() == [1.5, 12.5, 23.5, 34.5]


@pytest.mark.parametrize("head_dim", [2, 6, 32])
def test_rotation_equals_complex_multiplication(head_dim):
    x = drawn(2, 3, 50, head_dim)
    assert_close(rotate(x, *rotary_tables(50, head_dim, 10_000.0)), rotate_complex(x, 10_000.0), rtol=1e-5, atol=1e-5)


def test_rotary_angles():
    """Angles t * base^(-2k / d), in radians with no 2 pi."""
    cos, sin = rotary_tables(5, 4, 100.0)
    angle = torch.atan2(sin, cos)
    assert_close(angle[3], torch.tensor([3.0, 0.3]))


def test_rotated_products_depend_on_the_distance_alone():
    q, k = drawn(1, 8).expand(20, 8), drawn(1, 8, seed=1).expand(20, 8)
    tables = rotary_tables(20, 8, 100.0)
    product = rotate(q, *tables) @ rotate(k, *tables).T
    for distance in range(-10, 11):
        diagonal = product.diagonal(distance)
        assert_close(diagonal, diagonal[:1].expand_as(diagonal), rtol=1e-5, atol=1e-5)
