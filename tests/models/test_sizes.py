"""Models of equal size, and tables of parameters and operations."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from n2n import models
from n2n.models import sizes

VOCAB = 32


# Round sizes, and two others; at the smallest, one step of the width is a large share of the parameters.
SIZES = [5_000, 20_000, 100_000, 123_457, 800_000, 5_000_000]


@pytest.mark.parametrize("arch", models.names())
@pytest.mark.parametrize("vocab_size", [3, 32, 500])
@pytest.mark.parametrize("parameters", SIZES)
def test_every_size_is_matched(arch, vocab_size, parameters):
    if vocab_size == 500 and parameters < 20_000:
        pytest.skip("embedding and head of the smallest width are larger")
    match = models.match(arch, parameters=parameters, vocab_size=vocab_size)
    model = models.build(arch, **match.options)
    assert match.parameters == model.num_parameters
    assert match.distance == pytest.approx(model.num_parameters / parameters - 1)
    assert abs(match.distance) < 0.0201 or parameters < 20_000, "the step of the finest option is wider at small sizes"
    assert abs(match.distance) <= 0.08


def test_a_matched_width_is_the_nearest():
    """No other width is closer."""
    match = models.match("mamba", parameters=300_000, vocab_size=VOCAB)
    distances = {
        dim: abs(models.build("mamba", vocab_size=VOCAB, dim=dim).num_parameters - 300_000) for dim in range(90, 190, 2)
    }
    assert match.options == {"vocab_size": VOCAB, "dim": min(distances, key=distances.get)}


def test_a_finer_option_is_set_if_no_width_is_close():
    """Widths 70 and 72 both differ by more than 2%, and no other state dimension is closer than the result."""
    match = models.match("mamba", parameters=100_000, vocab_size=VOCAB)
    distances = {
        state: abs(
            models.build("mamba", vocab_size=VOCAB, dim=match.options["dim"], state_dim=state).num_parameters - 100_000
        )
        for state in range(40, 90)
    }
    assert match.options["state_dim"] == min(distances, key=distances.get) != 64
    fixed = models.match("mamba", parameters=100_000, vocab_size=VOCAB, state_dim=64)
    assert fixed.options == {"vocab_size": VOCAB, "dim": match.options["dim"], "state_dim": 64}
    assert 0.02 < abs(fixed.distance) < 0.04


def test_options_are_kept():
    options = {"pattern": "mamba,transformer", "layers": 2, "tied": True, "heads": 2, "mlp_ratio": 2.0}
    match = models.match("hybrid", parameters=100_000, vocab_size=VOCAB, **options)
    assert options.items() <= match.options.items()
    assert models.build("hybrid", **match.options).num_parameters == match.parameters


def test_matching_leaves_torch_s_generator_unchanged():
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    models.match("hawk", parameters=100_000, vocab_size=VOCAB)
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize(
    ("arch", "options", "message"),
    [
        ("transformer", {"parameters": 10}, "saw 10; the smallest model with these options has 1,"),
        ("mamba", {"parameters": 10**15}, "saw 1,000,000,000,000,000; the largest model with these options has"),
        ("mamba", {"parameters": 2000, "heads": 32}, "smallest .* has .*; fewer heads make smaller ones possible"),
        ("mamba", {"parameters": 0}, "parameters: saw 0"),
        ("mamba", {"parameters": 1e6}, "parameters: saw 1000000.0"),
        ("mamba", {"parameters": 10**6, "dim": 64}, "dim: saw 64; match chooses it"),
        ("mambo", {"parameters": 10**6}, "did you mean 'mamba'"),
        ("mamba", {"parameters": 10**6, "state_dmi": 3}, "did you mean 'state_dim'"),
    ],
)
def test_impossible_sizes_are_refused(arch, options, message):
    with pytest.raises(ValueError, match=message):
        models.match(arch, vocab_size=VOCAB, **options)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("arch", models.names())
def test_the_parts_of_the_table_sum_to_the_whole(arch, tied):
    model = models.build(arch, vocab_size=VOCAB, dim=32, tied=tied)
    table = models.describe(model, length=16)
    assert table["parameters"].iloc[:-1].sum() == table.loc["whole", "parameters"] == model.num_parameters
    assert table["flops_per_token"].iloc[:-1].sum() == pytest.approx(table.loc["whole", "flops_per_token"])


@pytest.mark.parametrize("arch", models.names())
def test_operations_are_those_that_torch_counts(arch):
    model = models.build(arch, vocab_size=VOCAB, dim=32, layers=2, heads=2)
    own = {sizes._CPU_ATTENTION: lambda q, k, v, *_, **__: sizes._attention_flops(q, k, v)}
    with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=own) as counter:
        model(torch.zeros(1, 16, dtype=torch.int64))
    known = {name: sum(by_kind.values()) for name, by_kind in counter.get_flop_counts().items()}
    assert sizes.forward_flops(model, 16) == known


def test_operations_of_a_transformer_by_hand():
    """A token takes 2 operations for each weight, and 4 T dim for attention."""
    model = models.build("transformer", vocab_size=VOCAB, dim=32, layers=1, heads=2, mlp_ratio=2)
    flops = models.describe(model, length=16)["flops_per_token"]
    assert flops["blocks.0.mixer"] == 2 * 4 * 32 * 32 + 4 * 16 * 32
    assert flops["blocks.0.mlp"] == 2 * 3 * 32 * 64
    assert flops["head"] == 2 * 32 * VOCAB
    assert flops["embedding"] == 0


def test_describe_leaves_the_model_unchanged():
    model = models.build("mamba", vocab_size=VOCAB, dim=32)
    models.describe(model)
    assert model.training
    with pytest.raises(ValueError, match="length: saw 9000; a whole number from 1 to 8192"):
        models.describe(model, length=9000)
