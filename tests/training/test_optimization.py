"""The learning rate, the update and the optimizer against explicit formulas."""

import pytest
import torch

import n2n
from n2n.training.optimization import Objective, learning_rate, make_optimizer, update


def test_the_update_is_a_clipped_step_at_its_learning_rate(small):
    """The first step of AdamW, written out: each weight moves by the rate times nearly a sign, plus decay."""
    config = small(weight_decay=0.5)
    model, twin = config.build_model().double(), config.build_model().double()
    tokens = torch.from_numpy(config.process.sample(4, length=12).tokens.astype(int))
    loss, norm = update(Objective(model), make_optimizer(model, config), [tokens], rate=0.003, clip=0.1)
    expected = twin.nll(tokens).mean()
    expected.backward()
    total = torch.stack([p.grad.square().sum() for p in twin.parameters()]).sum().sqrt()
    assert loss.item() == pytest.approx(expected.item())
    assert norm.item() == pytest.approx(total.item())
    assert total > 0.1  # clipping has an effect
    for moved, start in zip(model.parameters(), twin.parameters(), strict=True):
        gradient = start.grad * (0.1 / (total + 1e-6))
        decayed = start * (1 - 0.003 * 0.5) if start.ndim >= 2 else start
        torch.testing.assert_close(moved, decayed - 0.003 * gradient / (gradient.abs() + 1e-8))


def test_momentum_constants(small):
    for group in make_optimizer(small().build_model(), small()).param_groups:
        assert group["betas"] == (0.9, 0.98)


def test_accumulated_micro_batches_equal_the_whole_batch(small):
    config = small()
    tokens = torch.from_numpy(config.process.sample(6, length=12).tokens.astype(int))
    updates = []
    for parts in (1, 2, 3):
        model = config.build_model().double()
        loss, norm = update(Objective(model), make_optimizer(model, config), tokens.chunk(parts), rate=0.003, clip=0.1)
        updates.append([loss, norm, *(parameter.detach() for parameter in model.parameters())])
    for other in updates[1:]:
        for value, expected in zip(other, updates[0], strict=True):
            torch.testing.assert_close(value, expected, rtol=1e-6, atol=1e-6, check_dtype=False)  # losses are float32


def test_learning_rate_rises_then_falls_along_a_cosine():
    config = n2n.TrainConfig(graph="single", steps=100, lr=1.0, warmup=0.1, final_lr=0.1)
    rates = [learning_rate(config, step) for step in range(100)]
    assert rates[:10] == pytest.approx([(step + 1) / 11 for step in range(10)])
    assert rates[10] == pytest.approx(1.0)
    assert rates[55] == pytest.approx(0.55)  # halfway between the peak and a tenth of it
    assert rates[-1] == pytest.approx(0.1, abs=1e-3)
    flat = n2n.TrainConfig(graph="single", steps=1, lr=1.0, warmup=0.0)
    assert learning_rate(flat, 0) == 1.0


@pytest.mark.parametrize("arch", n2n.models.names())
def test_weight_decay_applies_only_to_matrices(small, arch):
    model = small(arch=arch).build_model()
    decayed, spared = make_optimizer(model, small()).param_groups
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.1, 0.0)
    assert all(parameter.ndim >= 2 for parameter in decayed["params"])
    assert all(parameter.ndim < 2 for parameter in spared["params"])
    assert len(decayed["params"]) + len(spared["params"]) == len(list(model.parameters()))


def test_the_constant_rate_stays_after_the_warmup():
    config = n2n.TrainConfig(graph="single", steps=100, lr=0.5, warmup=0.1, schedule="constant")
    assert [learning_rate(config, step) for step in range(10)] == pytest.approx([0.5 * (k + 1) / 11 for k in range(10)])
    assert {learning_rate(config, step) for step in range(10, 100)} == {0.5}


def test_warmup_stable_decay_decays_linearly_at_the_end():
    fields = {"graph": "single", "steps": 100, "lr": 1.0, "warmup": 0.1, "decay": 0.2, "final_lr": 0.1}
    config = n2n.TrainConfig(schedule="wsd", **fields)
    rates = [learning_rate(config, step) for step in range(100)]
    assert set(rates[10:81]) == {1.0}
    assert rates[80:] == pytest.approx([1 - 0.9 * k / 20 for k in range(20)])
    no_fall = n2n.TrainConfig(schedule="wsd", **{**fields, "decay": 0.0})
    assert learning_rate(no_fall, 99) == 1.0
    squeezed = n2n.TrainConfig(schedule="wsd", **{**fields, "warmup": 0.9, "decay": 0.5})
    assert learning_rate(squeezed, 95) == pytest.approx(1 - 0.9 * 5 / 10)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("arch", n2n.models.names())
def test_a_traced_model_is_updated_as_an_eager_one(small, arch, precision):
    """torch.compile traces the backward pass too, under the precision of the forward pass. Kernels stay as they are."""
    config = small(arch=arch)
    tokens, losses = config.process.sample(4, length=12).tokens, []
    for traced in (False, True):
        model = config.build_model()
        if traced:
            model.compile(backend="aot_eager")
        objective, optimizer = Objective(model), make_optimizer(model, config)
        batch = [torch.from_numpy(tokens).long()]
        steps = [update(objective, optimizer, batch, 1e-2, 1.0, precision) for _ in range(3)]
        losses.append(torch.tensor(steps))
    torch.testing.assert_close(*losses, rtol=1e-5 if precision == "float32" else 1e-2, atol=0)
