"""Every function of tokens, states or tables accepts the same types of numbers and refuses the same types."""

import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
import torch

import n2n
from n2n.analysis.agreement import head_agreement, influence_by_lag
from n2n.analysis.mixing import token_mixing
from n2n.analysis.probe_fits import Parts
from n2n.analysis.probes import ProbeData, probe
from n2n.difficulty.compression import compression_nats
from n2n.difficulty.ngrams import fit_ngram
from n2n.graph.graph import Graph
from n2n.graph.node import Node
from n2n.oracle.mean_field import mean_field
from n2n.sweeps.line_fit import fit_line
from n2n.utils import arrays

GRAPH = Graph(
    nodes=(Node(name="Z", num_states=4), Node(name="X", num_states=4, parents=("Z",), observed=True)),
)
P = n2n.Process(GRAPH, seed=1)
SAMPLE = P.sample(3, length=5)
TOKENS = SAMPLE.tokens.astype(np.int64)
MODEL = n2n.models.build("mingru", vocab_size=4, dim=8, layers=1, heads=1)
NGRAM = fit_ngram(TOKENS, 4, 2)

FUNCTIONS = {
    "filter": lambda values: n2n.filter(P, values).nll,
    "smooth": lambda values: n2n.smooth(P, values).beliefs["Z"],
    "decode": lambda values: n2n.decode(P, values).latents["Z"],
    "in_context_nll": lambda values: n2n.in_context_nll(P, values).nll,
    "mixture_nll": lambda values: n2n.mixture_nll([P, P], values),
    "mean_field": lambda values: mean_field(P, values).nll,
    "token_influence": lambda values: n2n.token_influence(P, values),
    "markov_nll": lambda values: n2n.markov_nll(P, values, 1),
    "fit_ngram": lambda values: fit_ngram(values, 4, 2).orders[1].counts,
    "NGram.nll": lambda values: NGRAM.nll(values),
    "NGram.predictive": lambda values: NGRAM.predictive(values),
    "compression_nats": lambda values: list(compression_nats(values, 4).values()),
    "model": lambda values: MODEL(values),
    "model.nll": lambda values: MODEL.nll(values),
    "model.resume": lambda values: MODEL.resume(values, MODEL.init_state(3))[0],
    "model.generate": lambda values: MODEL.generate(values, 2),
    "model.inspect": lambda values: MODEL.inspect(values).residual,
    "token_mixing": lambda values: token_mixing(MODEL, values),
    "token_ribbons": lambda values: np.array(n2n.viz.token_ribbons(values).data[0].z),
}
# Functions of one number per sequence.
FLAT_FUNCTIONS = {
    "start": lambda values: n2n.filter(P, TOKENS, start={"Z": values}).nll,
    "model.step": lambda values: MODEL.step(values, MODEL.init_state(3))[0],
}

WIDTHS = [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
KINDS = {
    "lists": lambda x: x.tolist(),
    "tuples": lambda x: tuple(map(tuple, x.tolist())) if x.ndim == 2 else tuple(x.tolist()),
    **{width: lambda x, width=width: x.astype(width) for width in WIDTHS},
    **{f"torch.{width}": lambda x, width=width: torch.from_numpy(x.astype(width)) for width in WIDTHS},
    "objects": lambda x: x.astype(object),
    "big-endian": lambda x: x.astype(">i4"),
    "backwards": lambda x: x[::-1].copy()[::-1],
    "nothing masked": lambda x: np.ma.array(x, mask=False),
    "list of tensors": lambda x: (
        [torch.from_numpy(row) for row in np.asarray(x, np.uint8)]
        if x.ndim == 2
        else [torch.tensor(value) for value in x]
    ),
    "pandas": lambda x: _pandas(x),
    "pandas Int64": lambda x: _pandas(x).astype("Int64"),
    "pandas UInt8": lambda x: _pandas(x).astype("UInt8"),
    "pandas objects": lambda x: _pandas(x).astype(object),
    "list of series": lambda x: [pd.Series(row, dtype="Int64") for row in x] if x.ndim == 2 else list(x),
}


def _pandas(x):
    return pd.DataFrame(x) if x.ndim == 2 else pd.Series(x)


def _masked_tensor():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns that masked tensors are a prototype
        return torch.masked.masked_tensor(torch.tensor([[0, 1]]), torch.tensor([[True, False]]))


REFUSED = {
    "masked": (np.ma.array([[0, 1, 2]], mask=[[0, 1, 0]]), "saw 1 masked values"),
    "a list of masked rows": ([np.ma.array([0, 1, 2], mask=[0, 1, 0])], "saw 1 masked values"),
    "the masked constant": ([[0, np.ma.masked]], "masked values"),
    "a masked tensor": (_masked_tensor(), "saw a masked tensor"),
    "NA": (pd.DataFrame([[0, None]]).astype("Int64"), "saw 1 missing values"),
    "NaN in a frame": (pd.DataFrame([[0, np.nan]]), "saw 1 missing values"),
    "NA in a list": ([[0, pd.NA]], "saw a missing value"),
    "None in a list": ([[0, None]], "saw a missing value"),
    "floats": ([[0.5, 1.0]], "type float64; integers are needed"),
    "whole floats": (np.zeros((1, 3)), "type float64; integers are needed"),
    "whole floats in a frame": (pd.DataFrame([[0.0, 1.0]]), "type float64; integers are needed"),
    "a float tensor": (torch.zeros(1, 3), "type float32; integers are needed"),
    "booleans": (np.zeros((1, 3), bool), "type bool; integers are needed"),
    "a boolean among integers": ([[True, 0]], "saw a boolean"),
    "a boolean tensor": (torch.zeros(1, 3, dtype=torch.bool), "type bool; integers are needed"),
    "complex": ([[0, 1j]], "type complex128; integers are needed"),
    "text": ([["0", "1"]], "integers are needed"),
    "text in a frame": (pd.DataFrame([["0", "1"]]), "integers are needed"),
    "times": (np.array([["2020"]], "M8[D]"), "integers are needed"),
    "ragged": ([[0, 1], [0]], "saw rows of unequal lengths"),
    "nothing": (None, "NoneType of type object; integers are needed"),
    "a set": ({1, 2}, "set of type object; integers are needed"),
    "too large": (np.array([[0, 2**63]], np.uint64), "saw 9223372036854775808; integers below"),
    "too large in torch": (torch.tensor([[0, 2**64 - 1]], dtype=torch.uint64), "saw 18446744073709551615; integers"),
    "far too large": ([[0, -(2**70)]], "integers below"),
    "sparse": (torch.zeros(1, 3, dtype=torch.int64).to_sparse(), "a dense one is needed"),
}


def same(result, expected) -> bool:
    return np.array_equal(np.asarray(result), np.asarray(expected))


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_every_function_accepts_every_type_of_integers(kind):
    for functions, plain in ((FUNCTIONS, TOKENS), (FLAT_FUNCTIONS, SAMPLE.latents["Z"][:, 0].astype(np.int64))):
        values = KINDS[kind](plain)
        wrong = [
            name
            for name, function in functions.items()
            if not same(function(values), function(torch.from_numpy(plain)))
        ]
        assert not wrong


@pytest.mark.parametrize("function", [*FUNCTIONS, *FLAT_FUNCTIONS])
def test_every_function_refuses_other_types(function):
    for label, (values, message) in REFUSED.items():
        with pytest.raises(ValueError, match=message) as caught:
            (FUNCTIONS | FLAT_FUNCTIONS)[function](values)
        assert len(str(caught.value)) < 200, label
        assert "\n" not in str(caught.value)


@torch.no_grad()
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # a warning of torch.compile about torch itself
def test_a_compiled_model_accepts_narrow_integers():
    model = n2n.models.build("mingru", vocab_size=4, dim=8, layers=1, heads=1)
    model.compile(backend="eager")
    for values in (torch.from_numpy(SAMPLE.tokens), torch.from_numpy(TOKENS)):
        assert torch.allclose(model(values), MODEL(TOKENS), atol=1e-6)
        assert torch.allclose(model.nll(values), MODEL.nll(TOKENS), atol=1e-6)


@pytest.mark.parametrize("pair", [(2, 1), [(2, 1)], np.array([2, 1]), torch.tensor([[2, 1]]), pd.Series([2, 1])])
def test_an_intervention_is_a_pair_of_any_type(pair):
    assert (P.sample(9, length=5, do={"Z": pair}).latents["Z"][:, 2] == 1).all()
    assert same(P.sample(9, length=5, do={"Z": pair}).tokens, P.sample(9, length=5, do={"Z": (2, 1)}).tokens)


@pytest.mark.parametrize("pair", [np.ma.array([2, 1], mask=[0, 1]), (2, None), (2, 1.0), (True, 1), pd.NA])
def test_an_intervention_of_another_type_is_refused(pair):
    with pytest.raises(ValueError, match="do: Z: saw"):
        P.sample(9, length=5, do={"Z": pair})


ROWS = torch.randn(4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).softmax(-1).numpy()
# Ways to pass ROWS, and the largest rounding error of an entry.
TABLES = {
    "lists": (lambda: ROWS.tolist(), 0),
    "float64": (lambda: ROWS, 0),
    "pandas": (lambda: pd.DataFrame(ROWS), 0),
    "pandas Float64": (lambda: pd.DataFrame(ROWS).astype("Float64"), 0),
    "torch": (lambda: torch.from_numpy(ROWS), 0),
    "with gradients": (lambda: torch.from_numpy(ROWS).requires_grad_(), 0),
    "nothing masked": (lambda: np.ma.array(ROWS, mask=False), 0),
    "list of rows with gradients": (lambda: [torch.tensor(row).requires_grad_() for row in ROWS], 0),
    "float32": (lambda: ROWS.astype(np.float32), 1e-7),
    "lists of float32": (lambda: [list(row) for row in ROWS.astype(np.float32)], 1e-7),
    "softmax in float32": (lambda: torch.from_numpy(ROWS).float().log().softmax(-1), 3e-7),
    "softmax with gradients": (lambda: torch.nn.Parameter(torch.from_numpy(ROWS).float().log()).softmax(-1), 3e-7),
    "float16": (lambda: ROWS.astype(np.float16), 1e-3),
    "bfloat16": (lambda: torch.from_numpy(ROWS).bfloat16(), 1e-2),
}


@pytest.mark.parametrize("kind", TABLES)
def test_a_table_of_any_type_is_accepted_and_normalised(kind):
    make, tolerance = TABLES[kind]
    direct = n2n.Process.from_kernels(GRAPH, {"Z": make(), "X": make()})
    config = n2n.TrainConfig(graph=GRAPH, tables={"Z": make(), "X": make()})
    for process in (direct, config.process):
        kernel = process.kernel("Z")
        assert np.abs(kernel - ROWS).max() <= tolerance
        assert np.abs(kernel.sum(-1) - 1).max() < 1e-15
    assert direct.kernel("X").tolist() == config.process.kernel("X").tolist(), "equal bit for bit"
    assert n2n.TrainConfig(**config.model_dump(mode="json")).tables == config.tables


def test_rows_of_a_wide_softmax_in_float32_are_accepted():
    """For 40 tables of up to 4,096 states, some nearly certain, some nearly uniform."""
    for i in range(40):
        width = (3, 64, 1000, 4096)[i % 4]
        logits = torch.randn(20, width, generator=torch.Generator().manual_seed(i)) * (0.01, 1, 10)[i % 3]
        for rows in (logits.softmax(-1), torch.from_numpy(np.exp(logits.numpy()))):
            rows = rows / rows.sum(-1, keepdim=True)
            assert np.abs(arrays.probabilities(rows, "Z").sum(-1) - 1).max() < 1e-14


NOT_TABLES = {
    "masked": (lambda: np.ma.array(ROWS, mask=np.eye(4)), "saw 4 masked values"),
    "rows masked": (lambda: [np.ma.array(row, mask=[0, 0, 0, 1]) for row in ROWS], "masked value"),
    "NA": (lambda: pd.DataFrame(ROWS).astype("Float64").replace(ROWS[0, 0], pd.NA), "saw 1 missing values"),
    "NaN": (lambda: np.where(np.eye(4), np.nan, ROWS), "saw an entry of nan; entries are probabilities"),
    "None": (lambda: [[None, 0.5, 0.5, 0.0]] * 4, "saw a missing value"),
    "text": (lambda: np.eye(4).astype(str).tolist(), "real numbers are needed"),
    "complex": (lambda: ROWS * 1j, "real numbers are needed"),
    "complex with gradients": (lambda: torch.from_numpy(ROWS * 1j).requires_grad_(), "real numbers are needed"),
    "booleans": (lambda: np.eye(4, dtype=bool), "real numbers are needed"),
    "negative": (lambda: ROWS - 2 * np.eye(4), "saw an entry of -"),
    "ragged": (lambda: [[1.0], [0.5, 0.5]], "unequal lengths"),
    "float64 rows off as float32's would be": (lambda: ROWS * (1 + 5e-8), r"row \(\d,\) sums to 1.00000005"),
    "float32 rows off by more": (lambda: (ROWS * (1 + 1e-5)).astype(np.float32), r"row \(\d,\) sums to 1.0000"),
    "a word": (lambda: "uniform", "real numbers are needed"),
    "nothing": (lambda: None, "real numbers are needed"),
}


@pytest.mark.parametrize("kind", NOT_TABLES)
def test_other_values_are_refused_as_tables(kind):
    make, message = NOT_TABLES[kind]
    with pytest.raises(ValueError, match=f"Z: .*{message}"):
        n2n.Process.from_kernels(GRAPH, {"Z": make(), "X": ROWS})
    with pytest.raises(ValueError, match=f"tables: Z: .*{message}"):
        n2n.TrainConfig(graph=GRAPH, tables={"Z": make(), "X": ROWS})


@pytest.mark.parametrize("axis", ["x", "y", "at"])
def test_fit_line_refuses_masked_points(axis):
    points = {"x": np.arange(4.0), "y": np.arange(4.0), "at": np.arange(4.0)}
    points[axis] = np.ma.array(points[axis], mask=[0, 1, 0, 0])
    with pytest.raises(ValueError, match=f"{axis}: saw 1 masked values"):
        fit_line(points["x"], points["y"], range(4), points["at"])


def test_a_probe_refuses_masked_features_and_ignores_gradients():
    data = ProbeData(P, 2, 5)
    features = np.random.default_rng(0).normal(size=(2, 4, 3))
    plain = probe(data, {"features": Parts(features, features)})
    tensors = torch.from_numpy(features).requires_grad_()
    assert probe(data, {"features": Parts(tensors, tensors)}).equals(plain)
    with pytest.raises(ValueError, match="features: saw 24 masked values"):
        probe(data, {"features": Parts(features, np.ma.array(features, mask=True))})


def test_agreement_refuses_masked_matrices():
    influence = np.abs(np.random.default_rng(0).normal(size=(3, 9, 9)))
    masked = np.ma.array(influence, mask=influence < 0.1)
    with pytest.raises(ValueError, match=r"influence: saw \d+ masked values"):
        influence_by_lag(masked)
    with pytest.raises(ValueError, match=r"mixing: saw \d+ masked values"):
        head_agreement(masked[:, None, None], influence)


def test_checking_integers_does_not_import_torch():
    code = "import sys; from n2n.utils.arrays import integers; integers([[0, 1]]); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
