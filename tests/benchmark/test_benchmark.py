"""Tables of the benchmark: equal sizes, exact comparisons, and consistent columns."""

import time
from importlib.util import find_spec

import pytest
import torch

import n2n
from n2n.benchmark import learners, peers, timing
from n2n.benchmark.stock import StockTransformer

SMALL = n2n.benchmark.Settings(sequences=2, length=16, repeats=1, largest=2, dim=32, layers=1, batches=(2, 3))
OF_JAX = pytest.mark.filterwarnings("ignore:jax:DeprecationWarning")  # dynamax uses older names of jax
RECURRENT = ["hawk", "mamba", "mingru", "minlstm"]


@pytest.mark.parametrize("name", [learners.STOCK, *n2n.models.names()])
def test_learners_are_of_equal_size(name):
    expected = learners.build(learners.STOCK, n2n.benchmark.Settings()).num_parameters
    assert learners.build(name, n2n.benchmark.Settings()).num_parameters == pytest.approx(expected, rel=0.02)


def test_learner_table():
    table = n2n.benchmark.learner_table(SMALL)
    assert list(table["learner"]) == [learners.STOCK, "transformer", *RECURRENT] * 2
    assert list(table["batch"]) == [2] * 6 + [3] * 6
    tokens = table["batch"] * SMALL.length
    assert (table["ktokens/s"] * table["ms"]).tolist() == pytest.approx(tokens.tolist())
    assert (table["of matrix rate"] > 0).all()
    rows = table.set_index(["batch", "learner"])
    for batch, name in rows.index[1:6]:
        reference = rows.loc[(batch, name), "reference"]
        assert reference == (learners.STOCK if name == "transformer" else "transformer")
        ratio = rows.loc[(batch, name), "ktokens/s"] / rows.loc[(batch, reference), "ktokens/s"]
        assert rows.loc[(batch, name), "ratio"] == pytest.approx(ratio)
        assert rows.loc[(batch, name), "met"] == (ratio >= rows.loc[(batch, name), "target"])


def test_operation_table():
    table = n2n.benchmark.operation_table(SMALL)
    assert len(table) == 2 * (3 + 3)
    assert table["length"].max() == 64 * SMALL.length
    assert table["times the twin"].isna().equals(table["length"] > 4 * SMALL.length)
    assert (table["ms"] * 1e6).tolist() == pytest.approx(
        (table["ns/token"] * table["sequences"] * table["length"]).tolist()
    )


def test_in_context_table():
    """Exact without latents; with latents, two independent estimates agree."""
    table = n2n.benchmark.in_context_table(SMALL)
    assert list(table["method"]) == ["counts", "particles", "particles"]
    assert list(table["S"]) == [1, 16, 256]
    assert table["standard error"][0] == 0
    assert (table["standard error"][1:] > 0).all()
    assert table["agrees"].all()


def test_process_tables():
    assert n2n.benchmark.filter_table(SMALL)["exact"].all()
    growth = n2n.benchmark.growth_table(SMALL)
    assert growth["S"].tolist() == [4]
    assert n2n.benchmark.thread_table(SMALL)["threads"].iloc[0] == 1


@OF_JAX
def test_oracle_tables():
    rates = n2n.benchmark.filter_rates(SMALL)
    assert list(rates["graph"]) == [name for name in peers.PRESETS for _ in peers.BATCHES]
    assert (rates[["float64", "float32", "torch", "of limit, float64"]] > 0).all().all()
    assert rates["dynamax"].isna().all() == (find_spec("dynamax") is None)
    assert (rates["met"] == (rates[["float64", "float32"]].max(axis=1) >= 2 * rates["dynamax"])).all()
    table = n2n.benchmark.oracle_rates(SMALL)
    assert set(table["function"]) == {"smooth", "decode", "mean_field", "token_influence"}
    assert table["times"].tolist() == pytest.approx((table["torch, ms"] / table["ms"]).tolist())


@OF_JAX
@pytest.mark.skipif(find_spec("dynamax") is None, reason="dynamax is not installed: pip install dynamax")
def test_dynamax_computes_the_same():
    process = n2n.Process(n2n.Graph.preset("two_chains"))
    tokens = process.sample(4, length=30).tokens.astype(int)
    expected = -n2n.filter(process, tokens).nll.sum(1).numpy()
    assert peers.dynamax_filter(process)(tokens) == pytest.approx(expected, rel=1e-4)


def test_stock_transformer_is_causal():
    torch.manual_seed(0)
    model = StockTransformer(vocab_size=8, dim=16, layers=2, heads=2, max_length=12)
    tokens = torch.randint(8, (2, 12))
    changed = tokens.clone()
    changed[:, 7] = (tokens[:, 7] + 1) % 8
    changes = (model(tokens) - model(changed)).abs().amax((0, 2))
    assert changes[:7].max() == 0
    assert changes[7:].min() > 1e-6
    logits = model(tokens[:, :-1]).log_softmax(-1)
    by_hand = -logits.gather(-1, tokens[:, 1:, None]).squeeze(-1)
    torch.testing.assert_close(model.nll(tokens), by_hand)


def test_operations_of_the_stock_transformer_by_hand():
    """A token takes 24 dim^2 for linear maps and 4 T dim for attention in each block, and the head."""
    length, dim, vocab_size = 16, 32, 8
    model = StockTransformer(vocab_size, dim, layers=3, heads=2, max_length=length)
    flops = n2n.models.sizes.forward_flops(model, length)["Global"] / length
    assert flops == 3 * (24 * dim**2 + 4 * length * dim) + 2 * dim * vocab_size


def test_medians_alternate_and_exclude_warm_up():
    calls = []
    (slow, fast) = timing.medians(
        3, lambda: (calls.append("slow"), time.sleep(0.02)), lambda: calls.append("fast"), warm=2
    )
    assert calls == ["slow", "fast"] * 5
    assert slow >= 0.02 > fast


def test_peak_memory_excludes_earlier_allocations():
    torch.zeros(2**24).sum()  # 64 MiB, freed again
    size = 48 * 2**20 // 4
    peak = timing.peak_memory(lambda: torch.ones(size).sum(), "cpu")
    assert peak == pytest.approx(48, abs=6) or peak != peak, "nan if the system does not report it"


def test_matrix_rate_is_plausible():
    assert 1e8 < n2n.benchmark.matrix_rate(SMALL) < 1e16


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_learner_table_on_a_gpu():
    settings = SMALL.model_copy(update={"device": "cuda"})
    table = n2n.benchmark.learner_table(settings)
    assert set(table["precision"]) == {"float32", "bfloat16"}
    assert (table["MiB"] > 0).all()


def test_settings_are_checked():
    with pytest.raises(ValueError, match="batches"):
        n2n.benchmark.Settings(batches=())
    with pytest.raises(ValueError, match="unknown parameter 'layer'; did you mean 'layers'"):
        n2n.benchmark.Settings(layer=3)


def test_tables_leave_torch_s_generator_unchanged():
    before = torch.random.get_rng_state()
    n2n.benchmark.operation_table(SMALL)
    assert torch.equal(before, torch.random.get_rng_state())
