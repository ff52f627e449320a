import numpy as np
import pytest
import torch
from support.random_graphs import random_graph

from n2n.graph.graph import Graph
from n2n.graph.node import Node
from n2n.graph.presets import PRESETS
from n2n.process.process import Process


def entropy_of(table: np.ndarray) -> np.ndarray:
    return -(table * np.log(np.maximum(table, 1e-300))).sum(axis=-1)


@pytest.mark.parametrize(
    ("alpha", "states", "expected"),
    [(1e-3, 32, 0.049798), (0.1, 32, 1.735094), (1.0, 32, 3.058495), (0.5, 8, 1.469628)],
)
def test_mean_entropy_of_a_dirichlet_row(alpha, states, expected):
    """E[H] = psi(n alpha + 1) - psi(alpha + 1)."""
    high, low = torch.special.digamma(torch.tensor([states * alpha + 1, alpha + 1], dtype=torch.float64)).tolist()
    assert high - low == pytest.approx(expected, abs=1e-6)
    nodes = (
        Node(name="A", num_states=200),
        Node(name="B", num_states=100),
        Node(name="X", num_states=states, parents=("A", "B"), observed=True, alpha=alpha),
    )
    rows = entropy_of(Process(Graph(nodes=nodes)).kernel("X")).ravel()
    assert abs(rows.mean() - expected) < 4 * rows.std() / len(rows) ** 0.5


def test_a_small_change_of_alpha_changes_kernels_little():
    """Each entry has its own random numbers, so a rejection does not affect later entries."""
    near, far = (
        Process(Graph.preset("two_chains", alpha_z=0.5, alpha_x=alpha)).kernel("X") for alpha in (0.5, 0.5 * 1.0001)
    )
    assert np.abs(near - far).max(axis=-1).mean() < 1e-3


@pytest.mark.parametrize("seed", range(20))
def test_kernels_have_the_right_axes_and_sum_to_one(seed):
    process = Process(random_graph(seed), seed)
    for node in process.graph.nodes:
        own = (node.num_states,) if node.recurrent or not node.observed else ()
        parents = tuple(process.graph[name].num_states for name in node.parents)
        kernel = process.kernel(node.name)
        assert kernel.dtype == np.float64
        assert kernel.shape == (*own, *parents, node.num_states)
        assert kernel.sum(axis=-1) == pytest.approx(1.0, abs=1e-12)
        assert not kernel.flags.writeable


def test_a_node_keeps_its_kernel_when_others_are_added():
    process = Process(Graph.preset("two_chains"), seed=3)
    larger = Graph(nodes=(*process.graph.nodes, Node(name="Z9", num_states=5)))
    for name in ("Z1", "Z2", "X"):
        assert np.array_equal(process.kernel(name), Process(larger, seed=3).kernel(name))


def test_seeds_and_names_determine_the_kernels():
    first, second = Process(Graph.preset("two_chains"), 0), Process(Graph.preset("two_chains"), 1)
    assert not np.array_equal(first.kernel("Z1"), first.kernel("Z2"))
    assert not np.array_equal(first.kernel("Z1"), second.kernel("Z1"))
    assert first.checksums != second.checksums


@pytest.mark.parametrize("alpha", [0.5, 1e-2])
def test_a_product_of_one_factor_is_that_factor(alpha):
    """If X sees one latent, both kernel types give rows from Dirichlet(alpha) over 8 values."""
    high, low = torch.special.digamma(torch.tensor([8 * alpha + 1, alpha + 1], dtype=torch.float64)).tolist()
    expected = high - low
    for kernel in ("full", "product"):
        x = Node(name="X", num_states=8, parents=("Z",), observed=True, alpha=alpha, kernel=kernel)
        rows = entropy_of(Process(Graph(nodes=(Node(name="Z", num_states=2000, alpha=1.0), x))).kernel("X"))
        assert abs(rows.mean() - expected) < 5 * rows.std() / 2000**0.5


@pytest.mark.parametrize("kernel", ["full", "product"])
def test_tiny_concentrations_give_valid_kernels(kernel):
    """At alpha = 1e-3, each factor concentrates on a different state; their product still sums to one."""
    a, b, c = (Node(name=name, num_states=5, alpha=1e-3, kernel=kernel) for name in "ABC")
    c = c.model_copy(update={"parents": ("A", "B")})
    x = Node(name="X", num_states=7, parents=("A", "B", "C"), observed=True, alpha=1e-3, kernel=kernel)
    process = Process(Graph(nodes=(a, b, c, x)))
    for name in "ABCX":
        assert np.isfinite(process.kernel(name)).all()
        assert process.kernel(name).sum(-1) == pytest.approx(1.0, abs=1e-12)


def test_the_seed_also_determines_the_sequences():
    """Two processes with the same kernels and different seeds draw different sequences."""
    first, second = Process(Graph.preset("sparse"), 0), Process(Graph.preset("sparse"), 1)
    second.__dict__["kernels"] = first.kernels
    assert not np.array_equal(first.sample(1, length=64).tokens, second.sample(1, length=64).tokens)


def table_of(mode: str, kernel: str = "full") -> np.ndarray:
    nodes = (
        Node(name="A", num_states=3),
        Node(name="B", num_states=4, parents=("A",), mode=mode, kernel=kernel),
        Node(name="X", num_states=2, parents=("B",), observed=True),
    )
    return Process(Graph(nodes=nodes), seed=5).kernel("B")


@pytest.mark.parametrize("kernel", ["full", "product"])
@pytest.mark.parametrize("mode", ["slow", "dead"])
def test_modes_move_the_largest_entry(mode, kernel):
    kernel_before, kernel_after = table_of("default", kernel), table_of(mode, kernel)
    for own in range(4):
        for parent in range(3):
            home = own if mode == "slow" else 0
            expected = kernel_before[own, parent].copy()
            largest = expected.argmax()
            expected[largest], expected[home] = expected[home], expected[largest]
            assert np.array_equal(kernel_after[own, parent], expected)


def test_stickiness_mixes_with_staying():
    """The kernel becomes s I + (1 - s) K, and sampled states stay with the resulting probability."""
    free, sticky = Node(name="Z", num_states=4), Node(name="Z", num_states=4, stickiness=0.9)
    x = Node(name="X", num_states=4, parents=("Z",), observed=True)
    kernel, sticky_kernel = (Process(Graph(nodes=(node, x))).kernel("Z") for node in (free, sticky))
    assert sticky_kernel == pytest.approx(0.9 * np.eye(4) + 0.1 * kernel, abs=1e-15)
    states = Process(Graph(nodes=(sticky, x))).sample(2000, length=200).latents["Z"]
    stayed = (states[:, 1:] == states[:, :-1])[states[:, :-1] == 2]
    assert stayed.mean() == pytest.approx(sticky_kernel[2, 2], abs=5 * stayed.std() / len(stayed) ** 0.5)


def test_a_sticky_child_stays_for_every_parent_state():
    a = Node(name="A", num_states=3)
    b = Node(name="B", num_states=2, parents=("A",), stickiness=0.5, mode="slow")
    kernel = Process(Graph(nodes=(a, b, Node(name="X", num_states=2, parents=("B",), observed=True)))).kernel("B")
    for own in range(2):  # half from stickiness, and most of the other half from the slow mode
        assert (kernel[own, :, own] >= 0.75).all()


def test_a_product_kernel_is_a_product():
    """log p(z' | z, a) = f(z, z') + g(a, z') + c(z, a): differences over z' have no interaction between z and a."""
    logs = np.log(table_of("default", "product"))
    contrast = logs[..., 1:] - logs[..., :1]  # c(z, a) cancels
    interaction = contrast - contrast[:1] - contrast[:, :1] + contrast[:1, :1]
    assert interaction == pytest.approx(0.0, abs=1e-9)
    full = np.log(table_of("default"))
    contrast = full[..., 1:] - full[..., :1]
    assert np.abs(contrast - contrast[:1] - contrast[:, :1] + contrast[:1, :1]).max() > 0.1


def test_kernels_and_tokens_are_pinned():
    """Published numbers must not change with a new numpy, numba or n2n; a change here breaks every stored seed."""
    sparse, switch = (Process(Graph.preset(name), seed=0) for name in ("sparse", "slow_switch"))
    assert [sparse.checksums["Z1"], sparse.checksums["X"]] == pytest.approx(SUMS, rel=1e-9)
    assert sparse.sample(1, length=16, start=7041).tokens[0].tolist() == SPARSE
    assert switch.sample(1, length=16, split="test").tokens[0].tolist() == SWITCH


SUMS = [-0.7034531452759027, 5.606985700198933]
SPARSE = [0, 14, 12, 0, 27, 15, 26, 14, 12, 16, 0, 15, 2, 1, 30, 29]
SWITCH = [0, 122, 68, 106, 84, 47, 58, 69, 16, 69, 58, 127, 39, 43, 84, 2]


@pytest.mark.parametrize("name", PRESETS)
def test_sample_shapes_and_first_tokens(name):
    process = Process(Graph.preset(name))
    sample = process.sample(5, length=9)
    assert sample.tokens.shape == (5, 9)
    assert sample.tokens.dtype == np.uint8
    assert list(sample.latents) == list(process.graph.latent_names)
    for node in process.graph.latents:
        assert sample.latents[node.name].shape == (5, 9)
        assert sample.latents[node.name].max() < node.num_states
    assert not sample.tokens[:, 0].any()
    assert process.sample(5, length=9, latents=False).latents == {}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "vaild"}, "unknown split 'vaild'; did you mean 'valid'"),
        ({"count": 0}, "count: saw 0"),
        ({"length": -1}, "length: saw -1"),
        ({"start": -1}, "start: saw -1"),
        ({"length": 2.5}, "length: saw 2.5"),
        ({"start": 2**63}, "start: saw 9223372036854775808"),
        ({"count": True}, "count: saw True"),
    ],
)
def test_bad_requests_are_refused(arguments, message):
    process = Process(Graph.preset("single"))
    with pytest.raises(ValueError, match=message):
        process.sample(**{"count": 2, "length": 4, **arguments})


def test_numpy_integers_are_accepted():
    process = Process(Graph.preset("single"))
    sample = process.sample(np.uint8(200), length=np.int64(300), start=np.uint8(3))
    assert np.array_equal(sample.tokens, process.sample(200, length=300, start=3).tokens)


CHAIN = Graph(nodes=(Node(name="Z", num_states=2), Node(name="X", num_states=3, parents=("Z",), observed=True)))
TABLES = {"Z": [[0.5, 0.5], [0.1, 0.9]], "X": [[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]]}


def test_explicit_kernels_are_kept_and_sampled():
    process = Process.from_kernels(CHAIN, TABLES, seed=3)
    assert np.array_equal(process.kernel("Z"), TABLES["Z"])
    assert not process.kernel("X").flags.writeable
    sample = process.sample(500, length=20)
    assert not sample.tokens[sample.latents["Z"] == 1].any()
    assert process == Process.from_kernels(CHAIN, TABLES, seed=3)
    assert process != Process.from_kernels(CHAIN, {**TABLES, "Z": np.eye(2)}, seed=3)
    assert process != Process(CHAIN, seed=3)


def test_explicit_rows_are_normalised():
    process = Process.from_kernels(CHAIN, {**TABLES, "Z": [[0.5, 0.5 + 5e-9], [0.1, 0.9]]})
    assert process.kernel("Z").sum(axis=-1) == pytest.approx(1.0, abs=1e-15)


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"Z": [[0.5, 0.5]]}, r"Z: saw a table of shape \(1, 2\); \(2, 2\) is needed"),
        ({"Z": [[0.5, 0.5], [0.1, 0.8]]}, r"Z: row \(1,\) sums to 0.9; each row must sum to 1"),
        ({"Z": [[1.5, -0.5], [0.1, 0.9]]}, "Z: saw an entry of -0.5"),
        ({"Z": [[float("nan"), 0.5], [0.1, 0.9]]}, "Z: saw an entry of nan"),
        ({"Y": [[1.0]]}, "kernels: unknown node 'Y'"),
    ],
)
def test_bad_tables_are_refused(tables, message):
    with pytest.raises(ValueError, match=message):
        Process.from_kernels(CHAIN, {**TABLES, **tables})
    with pytest.raises(ValueError, match=r"saw no table for \['X'\]"):
        Process.from_kernels(CHAIN, {"Z": TABLES["Z"]})


def test_bad_processes_are_refused():
    with pytest.raises(ValueError, match="Graph is needed"):
        Process("sparse")
    with pytest.raises(ValueError, match="seed: saw -1"):
        Process(Graph.preset("sparse"), seed=-1)
    with pytest.raises(ValueError, match="unknown node 'Z5'"):
        Process(Graph.preset("sparse")).kernel("Z5")


def test_a_process_equals_itself_without_a_look_at_its_kernels(monkeypatch):
    """Each call of the oracle looks up the process's tables, and a comparison of large kernels takes longer."""
    process, same = Process(Graph.preset("single")), Process(Graph.preset("single"))
    assert process == same
    monkeypatch.delattr(np, "array_equal")
    assert process == process
