"""Each fast operation against its sequential twin, and against values from public implementations."""

import pytest
import torch
import torch.nn.functional as F
from support.operations import assert_same, normal, outcome, ssd_arguments
from support.published_values import SSD_LAST, SSD_TIMES, SSD_Y, ssd_inputs
from torch.testing import assert_close

from n2n.models.ops import (
    RMSNorm,
    causal_conv1d,
    causal_conv1d_sequential,
    compiled_scan,
    decay_matrix,
    linear_scan,
    linear_scan_chunked,
    linear_scan_sequential,
    rotary_turns,
    rotate,
    rotate_real,
    scan_matrix,
    sharing,
    ssd,
    ssd_matrix,
    ssd_sequential,
)

# torch's compiler raises warnings about its own code. It requires a C++ compiler on the machine.
compiling = pytest.mark.filterwarnings("ignore::DeprecationWarning")


# Linear scan


def scan_inputs(batch: int, length: int, channels: int) -> list[torch.Tensor]:
    a = torch.rand(batch, length, channels, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return [a, normal(batch, length, channels), normal(batch, channels, seed=2)]


@pytest.mark.parametrize("path", [linear_scan, linear_scan_chunked])
@pytest.mark.parametrize(
    ("batch", "length", "channels"), [(1, 1, 1), (2, 2, 3), (3, 17, 5), (2, 100, 40), (40, 64, 32)]
)
def test_scan_equals_its_loop_in_values_and_gradients(path, batch, length, channels):
    assert_same(path, linear_scan_sequential, scan_inputs(batch, length, channels))


def test_scan_by_hand():
    a, b = (torch.tensor(values, dtype=torch.float64).view(1, 3, 1) for values in ([0.5, 0.1, 2.0], [1.0, 2.0, 3.0]))
    assert linear_scan(a, b).flatten().tolist() == pytest.approx([1.0, 2.1, 7.2])
    assert linear_scan(a, b, torch.full((1, 1), 4.0)).flatten().tolist() == pytest.approx([3.0, 2.3, 7.6])


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
@pytest.mark.parametrize("shape", [(1, 64, 200), (2, 64, 150), (5, 64, 70), (8, 16, 33)])
def test_scan_does_not_depend_on_the_number_of_threads(threads, shape, monkeypatch):
    expected = outcome(linear_scan_sequential, scan_inputs(*shape))
    monkeypatch.setattr(sharing, "cores", lambda: threads)
    monkeypatch.setattr(sharing, "_MIN_SHARED", 0)
    for one, other in zip(outcome(linear_scan, scan_inputs(*shape)), expected, strict=True):
        assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_scan_accepts_any_memory_layout():
    a, b, h0 = scan_inputs(4, 9, 6)
    inputs = [a.permute(2, 1, 0).contiguous().permute(2, 1, 0), b[:, ::1], h0.T.contiguous().T]
    assert not inputs[0].is_contiguous()
    assert_same(linear_scan, linear_scan_sequential, inputs)


def test_scan_runs_in_float32_or_wider():
    a, b = torch.full((1, 4000, 1), 1 - 2**-8, dtype=torch.bfloat16), torch.ones(1, 4000, 1, dtype=torch.bfloat16)
    h = linear_scan(a, b)
    assert h.dtype == torch.float32
    assert h[0, -1].item() == pytest.approx(256.0, rel=1e-4)  # a sum in bfloat16 would stop at 128
    assert linear_scan(a.double(), b.double()).dtype == torch.float64


@compiling
def test_scan_under_compile():
    inputs = scan_inputs(2, 37, 4)
    assert_same(torch.compile(linear_scan, fullgraph=True), linear_scan_sequential, inputs)


def test_scan_operators_pass_torch_s_checks():
    inputs = tuple(value.float().requires_grad_() for value in scan_inputs(2, 5, 3))
    torch.library.opcheck(compiled_scan.scan, inputs)


def test_scan_matrix_equals_the_scan():
    a, b, _ = scan_inputs(2, 7, 3)
    h = (scan_matrix(a) @ b.transpose(1, 2)[..., None]).squeeze(-1).transpose(1, 2)
    assert_close(h, linear_scan_sequential(a, b), rtol=1e-12, atol=1e-12)


# State-space duality


@pytest.mark.parametrize("harshness", [0.01, 1.0, 50.0])
@pytest.mark.parametrize(("length", "chunk"), [(1, 4), (7, 16), (16, 4), (37, 8), (64, 1)])
def test_ssd_equals_its_recurrence_in_values_and_gradients(length, chunk, harshness):
    inputs = ssd_arguments(length, harshness)
    assert_same(lambda *args: ssd(*args[:5], chunk=chunk, state=args[5]), ssd_sequential, inputs)
    assert_same(lambda *args: ssd(*args, chunk=chunk)[0], lambda *args: ssd_sequential(*args)[0], inputs[:5])


@pytest.mark.parametrize("chunk", [4, 5, 64])
def test_ssd_equals_the_published_code(chunk):
    inputs = ssd_inputs()
    y, last = ssd(*list(inputs.values())[:5], chunk=chunk, state=inputs["state"])
    assert_close(y[:, SSD_TIMES], torch.tensor(SSD_Y, dtype=torch.float64), rtol=1e-10, atol=1e-11)
    assert_close(last, torch.tensor(SSD_LAST, dtype=torch.float64), rtol=1e-10, atol=1e-11)


def test_ssd_by_hand():
    """One head, one channel, one state: h = e^(-step rate) h + step x b, y = c h."""
    values = [[1.0, 2.0, 3.0], [0.1, 0.2, 0.3], [1.0, 0.5, 2.0], [1.0, 1.0, 3.0]]
    x, step, b, c = (torch.tensor(value, dtype=torch.float64).view(1, 3, 1) for value in values)
    y, last = ssd(x[..., None], step, torch.tensor([2.0], dtype=torch.float64), b, c, chunk=2)
    h = [0.1, 0.1 * torch.e**-0.4 + 0.2]
    h.append(h[1] * torch.e**-0.6 + 1.8)
    assert y.flatten().tolist() == pytest.approx([h[0], h[1], 3 * h[2]])
    assert last.item() == pytest.approx(h[2])


@pytest.mark.parametrize("chunk", [8, 32, 64])
def test_ssd_keeps_its_precision_in_float32_after_a_harsh_decay(chunk):
    """A running sum of log-decays would lose the small ones after a decay of e^-3000."""
    inputs = ssd_arguments(64, 1e-3)
    inputs[1][:, 20] = 3e6
    inputs[0][:, 20] = 1e-6
    expected, _ = ssd_sequential(*inputs)
    y, _ = ssd(*(value.float() for value in inputs[:5]), chunk=chunk, state=inputs[5].float())
    assert_close(y.double(), expected, rtol=1e-4, atol=1e-4)


def test_ssd_matrix_equals_the_recurrence():
    x, step, rate, b, c, _ = ssd_arguments(9, 1.0)
    y = (ssd_matrix(step, rate, b, c) @ x.transpose(1, 2)).transpose(1, 2)
    assert_close(y, ssd_sequential(x, step, rate, b, c)[0], rtol=1e-12, atol=1e-12)


@compiling
def test_ssd_under_compile():
    inputs = ssd_arguments(20, 1.0)
    compiled = torch.compile(lambda *args: ssd(*args[:5], chunk=8, state=args[5]), fullgraph=True)
    assert_same(compiled, ssd_sequential, inputs)


def test_decay_matrix_by_definition():
    log_decay = -normal(2, 6).abs()
    matrix = decay_matrix(log_decay)
    for t in range(6):
        for s in range(6):
            expected = log_decay[:, s + 1 : t + 1].sum(-1).exp() if s <= t else torch.zeros(2, dtype=torch.float64)
            assert_close(matrix[:, t, s], expected)


# Convolution, norm, rotary positions


@pytest.mark.parametrize("width", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("length", [1, 2, 5, 20])
def test_convolution_equals_its_loop_in_values_and_gradients(width, length):
    inputs = [
        normal(3, length, 5),
        normal(5, width, seed=1),
        normal(5, seed=2),
        normal(3, width - 1, 5, seed=3),
    ]
    assert_same(causal_conv1d, causal_conv1d_sequential, inputs[:3])
    if width > 1:
        assert_same(causal_conv1d, causal_conv1d_sequential, inputs)


def test_convolution_equals_that_of_torch():
    x, weight, bias = normal(2, 9, 4), normal(4, 3, seed=1), normal(4, seed=2)
    expected = F.conv1d(F.pad(x.transpose(1, 2), (2, 0)), weight[:, None], bias, groups=4).transpose(1, 2)
    assert_close(causal_conv1d(x, weight, bias), expected)


def test_norm_equals_that_of_torch_in_values_and_gradients():
    inputs = [normal(2, 3, 8), 1 + normal(8, seed=1)]
    norm = RMSNorm(8).double()
    assert_same(
        lambda x, weight: torch.func.functional_call(norm, {"weight": weight}, (x,)),
        lambda x, weight: F.rms_norm(x, (8,), weight, 1e-5),
        inputs,
    )


@pytest.mark.parametrize("base", [10_000.0, 100.0])
def test_rotary_positions_equal_rotation_matrices(base):
    x = normal(2, 50, 3, 8).float()
    assert_close(rotate(x, rotary_turns(50, 8, base)), rotate_real(x, base), rtol=1e-4, atol=1e-4)
    assert rotate(x.bfloat16(), rotary_turns(50, 8, base)).dtype == torch.bfloat16


@compiling
def test_rotary_positions_under_compile():
    x, turns = normal(2, 50, 3, 8).float(), rotary_turns(50, 8, 100.0)
    assert_same(torch.compile(lambda x: rotate(x, turns), fullgraph=True), lambda x: rotate(x, turns), [x], 1e-5)


def test_rotary_angle_is_t_times_a_power_of_the_base():
    turns = rotary_turns(101, 8, 10_000.0)
    for t, k in ((0, 0), (1, 0), (100, 3), (37, 2)):
        angle = torch.tensor(t * 10_000.0 ** (-2 * k / 8), dtype=torch.float64)
        assert turns[t, k].tolist() == pytest.approx([angle.cos().item(), angle.sin().item()], abs=1e-6)


def test_rotary_products_depend_only_on_the_distance():
    q, k = normal(1, 1, 8).float(), normal(1, 1, 8, seed=1).float()
    turns = rotary_turns(40, 8, 10_000.0)
    rows = [rotate(value.expand(1, 40, 8)[:, :, None], turns)[0, :, 0] for value in (q, k)]
    product = rows[0] @ rows[1].T
    for distance in range(-10, 11):
        diagonal = product.diagonal(distance)
        assert_close(diagonal, diagonal[:1].expand_as(diagonal), rtol=1e-5, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("name", ["scan", "ssd", "conv", "norm"])
def test_operations_on_a_gpu_equal_the_loops(name):
    norm = RMSNorm(5).double().cuda()
    fast, slow, inputs = {
        "scan": (linear_scan, linear_scan_sequential, scan_inputs(3, 200, 5)),
        "ssd": (
            lambda *args: ssd(*args[:5], state=args[5], kernels="torch"),
            ssd_sequential,
            ssd_arguments(100, 1.0),
        ),
        "conv": (
            lambda *args: causal_conv1d(*args, kernels="torch"),
            causal_conv1d_sequential,
            [normal(3, 20, 5), normal(5, 4, seed=1), normal(5, seed=2)],
        ),
        "norm": (norm, lambda x: F.rms_norm(x, (5,), eps=1e-5), [normal(2, 3, 5)]),
    }[name]
    assert_same(fast, slow, [value.cuda() for value in inputs], 1e-8)
