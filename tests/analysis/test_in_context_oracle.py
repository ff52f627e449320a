"""The in-context oracle of held-out evaluations: its values, its error, and where its losses are kept."""

import itertools
import math
import multiprocessing

import numpy as np
import pytest
from support.context_graphs import latent, observed

import n2n
from n2n.analysis import evaluation, in_context_oracle
from n2n.analysis.held_out import HeldOut
from n2n.analysis.in_context_oracle import InContextLosses, in_context_losses
from n2n.utils.statistics import t_interval

CHAIN = n2n.Graph([observed(recurrent=True, alpha=1.0)])


def add_one_nll(tokens: np.ndarray, num_states: int) -> np.ndarray:
    """Losses of the Bayes-optimal learner of an observed chain with Dirichlet(1) rows, written out."""
    losses = np.empty((len(tokens), tokens.shape[1] - 1))
    for row, sequence in enumerate(tokens):
        counts = np.ones((num_states, num_states))
        for t, (before, after) in enumerate(itertools.pairwise(sequence)):
            losses[row, t] = -math.log(counts[before, after] / counts[before].sum())
            counts[before, after] += 1
    return losses


@pytest.fixture
def chain_run(small) -> n2n.Run:
    return n2n.train(small(graph=CHAIN, eval_every=4))


def test_the_excess_of_an_observed_chain_is_over_its_counts(chain_run):
    tokens = HeldOut(chain_run.config.process, 8, 12).tokens
    expected = add_one_nll(tokens, CHAIN.vocab_size)
    nll = evaluation.model_nll(chain_run.model(), tokens)
    found = n2n.evaluate(chain_run)
    assert found.in_context_method == "counts"
    assert found.in_context_nll == pytest.approx(expected.mean(), abs=1e-12)
    assert found.in_context_monte_carlo_error == 0
    assert found.in_context_excess_loss == pytest.approx((nll - expected).mean(), abs=1e-12)
    assert found.in_context_excess_by_position == pytest.approx((nll - expected).mean(0), abs=1e-12)
    error = (nll - expected).mean(1).std(ddof=1) / math.sqrt(8)
    assert found.in_context_excess_standard_error == pytest.approx(error, rel=1e-9)
    assert found.prior_nll is None


def test_evaluations_during_training_have_the_same_fields(chain_run, small):
    names = {"in_context_nll", "in_context_excess_loss", "in_context_excess_by_position"}
    assert all(names <= row.keys() for row in chain_run.evaluations)
    assert chain_run.evaluation["in_context_nll"] == n2n.evaluate(chain_run).in_context_nll
    without = n2n.train(small(graph=CHAIN, in_context_precision=None))
    assert not names & without.evaluation.keys()
    assert n2n.evaluate(without).in_context_nll is None
    assert not names & n2n.train(small()).evaluation.keys()


def test_the_oracles_are_ordered_on_many_sequences():
    """A predictor that knows more has a smaller mean loss: the kernels, the pool that they come from, their prior."""
    process = n2n.Process(n2n.Graph([observed(recurrent=True, alpha=1.0)], pool=3), 0)
    data = HeldOut(process, 400, 24)
    assert data.in_context.method == "mixture"
    assert data.oracle_nll.mean() < data.in_context.nll.mean() < data.prior.nll.mean()
    assert data.prior.nll == pytest.approx(add_one_nll(data.tokens, process.graph.vocab_size), abs=1e-12)


def test_estimated_losses_are_within_their_error_of_exact_ones():
    graph = n2n.Graph([latent("Z"), observed("Z")])
    process = n2n.Process(graph, 0)
    tokens = process.sample(40, length=10, split="test").tokens
    exact = n2n.in_context_nll(process, tokens).nll.numpy()
    found = in_context_losses(process, tokens, 0.01)
    assert found.exact
    assert found.nll == pytest.approx(exact, abs=1e-12)
    guessed = n2n.in_context_nll(process, tokens, hypotheses=0, particles=256, precision=0.01)
    assert abs(guessed.mean_loss.mean - exact.mean()) < 4 * guessed.mean_loss.standard_error


@pytest.mark.parametrize("common", [True, False], ids=["common to all sequences", "independent"])
def test_the_interval_of_the_excess_covers(common):
    """The true mean lies in the interval in at least 95% of tables with both kinds of error, less chance."""
    rng, sequences, covered = np.random.default_rng(0), 12, 0
    for _ in range(600):
        noise = rng.normal(0, 0.05, (1, 1)) if common else rng.normal(0, 0.05 * math.sqrt(sequences), (sequences, 1))
        nll = rng.normal(1.0, 0.2, (sequences, 1))
        oracle = InContextLosses(np.zeros((sequences, 1)) + noise, np.zeros((sequences, 1)), 0.05, "particles", False)
        found = evaluation.excess_over(oracle, nll, "in_context")
        mean, error = found["in_context_excess_loss"], found["in_context_excess_standard_error"]
        low, high = t_interval(mean, error, sequences)
        covered += low <= 1.0 <= high
    assert covered / 600 > 0.95 - 3 * math.sqrt(0.95 * 0.05 / 600)


def test_losses_are_computed_once(monkeypatch):
    process = n2n.Process(CHAIN, 0)
    tokens = process.sample(4, length=9).tokens
    first = in_context_losses(process, tokens, 0.01)
    calls, real = [], in_context_oracle.in_context_nll
    monkeypatch.setattr(in_context_oracle, "in_context_nll", lambda *a, **k: calls.append(1) or real(*a, **k))
    again = in_context_losses(process, tokens, 0.01)
    assert not calls
    assert (again.nll == first.nll).all()
    assert again.method == first.method
    others = [
        (n2n.Process(CHAIN, 1), tokens, 0.01),
        (process, (tokens + 1) % 3 * (np.arange(9) > 0), 0.01),
        (process, tokens[:3], 0.01),
        (process, tokens, 0.02),
        (n2n.Process(n2n.Graph([observed(recurrent=True, alpha=2.0)]), 0), tokens, 0.01),
    ]
    for number, other in enumerate(others, 1):
        in_context_losses(*other)
        assert len(calls) == number


def test_the_interval_of_theexcess_over_estimated_losses_covers():
    """In 200 evaluations with few particles of models whose expected excess over the exact oracle is 0.1."""
    process, covered = n2n.Process(n2n.Graph([latent("Z", alpha=0.3), observed("Z", alpha=0.3)]), 0), 0
    rng = np.random.default_rng(0)
    tokens = process.sample(200 * 12, length=8).tokens
    exact = n2n.in_context_nll(process, tokens)
    assert exact.exact
    found = n2n.in_context_nll(process, tokens, hypotheses=0, particles=4, repeats=4)
    estimated, errors = (found.nll - found.bias).numpy(), found.log_likelihood_standard_error.numpy()
    nll = exact.nll.numpy() + rng.normal(0.1, 0.01, (len(tokens), 1))
    spread = (estimated - exact.nll.numpy()).mean(1).std()
    assert spread > 0.01, "the error of the oracle is no small part"
    for rows in np.arange(len(tokens)).reshape(200, 12):
        mean_error = float(np.sqrt((errors[rows] ** 2).sum()) / estimated[rows].size)
        oracle = InContextLosses(estimated[rows], np.zeros_like(estimated[rows]), mean_error, "particles", False)
        fields = evaluation.excess_over(oracle, nll[rows], "in_context")
        mean, error = fields["in_context_excess_loss"], fields["in_context_excess_standard_error"]
        low, high = t_interval(mean, error, 12)
        covered += low <= 0.1 <= high
    assert covered / 200 > 0.95 - 3 * math.sqrt(0.95 * 0.05 / 200)


def test_a_precision_out_of_reach_is_said_once_a_call_and_widens_the_interval(monkeypatch):
    process = n2n.Process(n2n.Graph([latent("Z", num_states=3), observed("Z", num_states=6)]), 0)
    monkeypatch.setattr(in_context_oracle, "MAX_WORK", 1)
    data = HeldOut(process, 6, 40, in_context_precision=1e-4)
    with pytest.warns(RuntimeWarning, match="in_context_precision: .* a standard error of .* not 0.0001") as caught:
        assert data.in_context is data.in_context
    assert len(caught) == 1
    assert not data.in_context.exact
    found = evaluation.excess_over(data.in_context, data.in_context.nll + 1.0, "in_context")
    assert found["in_context_excess_loss"] == pytest.approx(1.0)
    assert found["in_context_excess_standard_error"] == data.in_context.mean_standard_error > 1e-4
    with pytest.warns(RuntimeWarning, match="in_context_precision"):  # losses that are kept are no better
        in_context_losses(process, data.tokens, 1e-4)


def test_the_number_of_particles_is_limited_by_the_work():
    small, large = n2n.Graph([latent("Z"), observed("Z")]), n2n.Graph([latent("Z", num_states=4096), observed("Z")])
    assert in_context_oracle._effort(small, (512, 64)) == {"particles": 256, "max_particles": 2**14, "repeats": 8}
    effort = in_context_oracle._effort(large, (512, 64))
    assert effort["particles"] == effort["max_particles"] < 256
    assert 8 * 4096 * 512 * 63 * effort["max_particles"] <= 2**36


def test_without_particles_left_there_is_no_estimate(monkeypatch, small):
    run = n2n.train(small(graph=CHAIN, in_context_precision=None))
    data = HeldOut(run.config.process, 8, 12)
    unknown = InContextLosses(np.ones((8, 11)), np.full((8, 11), np.nan), math.inf, "particles", False)
    monkeypatch.setattr(in_context_oracle, "_compute", lambda *_: unknown)
    with pytest.warns(RuntimeWarning, match="cannot be estimated: no particles are left"):
        found = evaluation.evaluate_model(run.model(), data)
    assert found.in_context_nll is found.prior_nll is None
    assert math.isfinite(found.excess_loss)


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 cut off", b"text"])
def test_damaged_losses_are_computed_anew(damage):
    process = n2n.Process(CHAIN, 0)
    tokens = process.sample(4, length=9).tokens
    first = in_context_losses(process, tokens, 0.01)
    (kept,) = (n2n.runs.root() / in_context_oracle.FOLDER).iterdir()
    whole = kept.read_bytes()
    kept.write_bytes(damage)
    assert (in_context_losses(process, tokens, 0.01).nll == first.nll).all()
    assert len(kept.read_bytes()) == len(whole)


def test_no_damaged_byte_is_an_error_or_another_loss():
    process = n2n.Process(CHAIN, 0)
    tokens = process.sample(2, length=4).tokens
    first = in_context_losses(process, tokens, 0.01)
    (kept,) = (n2n.runs.root() / in_context_oracle.FOLDER).iterdir()
    whole = kept.read_bytes()
    for place in range(0, len(whole), 7):
        kept.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        found = in_context_oracle._read(kept, first.nll.shape)
        assert found is None or (found.nll == first.nll).all()


def _repeatedly(seed: int) -> float:
    process = n2n.Process(CHAIN, 0)
    tokens = process.sample(3, length=6).tokens
    for _ in range(20):
        (n2n.runs.root() / in_context_oracle.FOLDER / "x").parent.mkdir(parents=True, exist_ok=True)
        for kept in (n2n.runs.root() / in_context_oracle.FOLDER).glob("*.npz"):
            kept.unlink(missing_ok=True)
        losses = in_context_losses(process, tokens, 0.01)
    return float(losses.nll.sum())


def test_processes_may_keep_the_same_losses_at_once():
    with multiprocessing.get_context("fork").Pool(2) as pool:
        sums = pool.map(_repeatedly, range(2))
    assert sums[0] == sums[1]
    process = n2n.Process(CHAIN, 0)
    assert in_context_losses(process, process.sample(3, length=6).tokens, 0.01).nll.sum() == sums[0]
    assert not list((n2n.runs.root() / in_context_oracle.FOLDER).glob(".*.part"))


def test_losses_are_computed_where_they_cannot_be_kept(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("N2N_RUNS", str(tmp_path / "file"))
    process = n2n.Process(CHAIN, 0)
    assert in_context_losses(process, process.sample(4, length=9).tokens, 0.01).exact


def test_graphs_without_an_in_context_oracle_are_refused_by_the_configuration(small):
    product = n2n.Graph([latent("Z1"), latent("Z2"), observed("Z1", "Z2", kernel="product")])
    with pytest.raises(ValueError, match=r"X: saw kernel 'product' over 2 variables .* in_context_precision=None eval"):
        small(graph=product)
    assert small(graph=product, in_context_precision=None).in_context_precision is None
    with pytest.raises(ValueError, match="batch_size") as error:
        small(graph=product, in_context_precision=None, batch_size=3, processes=2, steps=-1)
    assert "product" not in str(error.value)
    huge = CHAIN.model_copy(update={"pool": 70_000})
    with pytest.raises(ValueError, match="saw a pool of 70000 kernel sets"):
        small(graph=huge)


def test_a_table_of_runs_has_the_interval_of_the_in_context_excess(chain_run):
    row = n2n.runs.table(chain_run.path.parent).loc[chain_run.path.name]
    error, t = chain_run.evaluation["in_context_excess_standard_error"], 2.364624251592785  # of 7 degrees of freedom
    assert row["in_context_low"] == pytest.approx(row["in_context_excess_loss"] - t * error)
    assert row["in_context_high"] == pytest.approx(row["in_context_excess_loss"] + t * error)
