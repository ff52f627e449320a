"""The files of a dataset are checked field by field before they are used."""

import io
import json
import shutil

import numpy as np
import pytest

import n2n
from n2n.data import generate, generate_part
from n2n.data.sidecar import plan

PROCESS = n2n.Process(n2n.Graph.preset("single"), seed=5)
FIELDS = ("format", "graph", "kernels", "seed", "dtype", "split", "count", "length", "vocab_size", "sha256")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return generate(PROCESS, tmp_path_factory.mktemp("made") / "t.npy", 6, 8)


@pytest.fixture
def store(dataset, tmp_path):
    for suffix in (".npy", ".json"):
        shutil.copy(dataset.path.with_suffix(suffix), tmp_path)
    return tmp_path / "t.npy"


def fields_of(store) -> dict:
    return json.loads(store.with_suffix(".json").read_text())


def openers(store):
    """Yield all functions that open a dataset."""
    config = {"graph": "single", "process_seed": 5, "seq_len": 8, "batch_size": 2, "steps": 3, "dim": 8, "heads": 1}
    yield lambda: n2n.TokenStore(store)
    yield lambda: generate(PROCESS, store, 6, 8)
    yield lambda: n2n.train(n2n.TrainConfig(**config, data=store, run_dir=store.parent / "run"))


def assert_refused(store, message: str) -> None:
    before = {path: path.read_bytes() for path in store.parent.rglob("*")}
    for open_dataset in openers(store):
        with pytest.raises(ValueError, match=message) as caught:
            open_dataset()
        assert len(str(caught.value)) < 1000
    assert {path: path.read_bytes() for path in store.parent.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("field", FIELDS)
def test_every_field_is_required(store, field):
    fields = fields_of(store)
    assert set(fields) == set(FIELDS)
    del fields[field]
    store.with_suffix(".json").write_text(json.dumps(fields))
    assert_refused(store, rf"data: \S+t.json does not describe a dataset \({field}: missing\)")


WRONG = [
    ("count", 100.0, "count: saw 100.0"),
    ("count", "6", "count: saw '6'"),
    ("count", True, "count: saw True"),
    ("count", 0, "count: saw 0"),
    ("count", -6, "count: saw -6"),
    ("count", None, "count: saw None"),
    ("length", 8.0, "length: saw 8.0"),
    ("length", [8], r"length: saw \[8\]"),
    ("vocab_size", 8.5, "vocab_size: saw 8.5"),
    ("vocab_size", 7, "vocab_size: saw 7; the graph has"),
    ("seed", -1, "seed: saw -1"),
    ("seed", "5", "seed: saw '5'"),
    ("kernels", 5, "kernels: saw 5"),
    ("kernels", {"Z": "x"}, "kernels.Z: saw 'x'"),
    ("kernels", [1, 2], r"kernels: saw \[1, 2\]"),
    ("graph", 3, "graph: saw 3"),
    ("graph", {}, "- nodes: missing"),
    ("graph", {"nodes": [{"name": "X"}]}, "- num_states: missing"),
    ("format", 2, "format: saw 2"),
    ("format", "1", "format: saw '1'"),
    ("split", "tset", "split: saw 'tset'; .*did you mean 'test'"),
    ("dtype", "float64", "dtype: saw 'float64'"),
    ("dtype", "uint16", "dtype: saw 'uint16'; .* symbols are stored as"),
    ("sha256", "abc", "sha256: saw 'abc'"),
    ("sha256", 7, "sha256: saw 7"),
    ("cuont", 6, "unknown parameter 'cuont'; did you mean 'count'"),
]


@pytest.mark.parametrize(("field", "value", "message"), WRONG, ids=[message for _, _, message in WRONG])
def test_wrong_fields_are_refused(store, field, value, message):
    store.with_suffix(".json").write_text(json.dumps({**fields_of(store), field: value}))
    assert_refused(store, rf"data: \S+t.json does not describe a dataset \((graph: .*)?{message}")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "JSONDecodeError"),
        (b"[]", "saw a value of type list; an object is needed"),
        (b"null", "saw a value of type NoneType"),
        (b'{"count": 6', "JSONDecodeError"),
        (b"\xff\xfe\x00", "UnicodeDecodeError"),
        (b"[" * 100_000, "nested too deeply"),
        (None, "FileNotFoundError"),
    ],
)
def test_a_sidecar_that_is_not_an_object_is_refused(store, content, message):
    sidecar = store.with_suffix(".json")
    sidecar.unlink() if content is None else sidecar.write_bytes(content)
    assert_refused(store, rf"data: \S+t.json does not describe a dataset \(.*{message}")


def _npz(tokens):
    file = io.BytesIO()
    np.savez(file, tokens=tokens)
    return file.getvalue()


def _npy(tokens, **options):
    file = io.BytesIO()
    np.lib.format.write_array(file, tokens, **options)
    return file.getvalue()


TOKENS = {
    "an archive": (_npz, "is not a complete .npy file"),
    "empty": (lambda tokens: b"", "is not a complete .npy file"),
    "cut in the header": (lambda tokens: _npy(tokens)[:40], "is not a complete .npy file"),
    "cut in the tokens": (lambda tokens: _npy(tokens)[:-3], "is not a complete .npy file"),
    "pickled": (lambda tokens: _npy(tokens.astype(object), allow_pickle=True), "is not a complete .npy file"),
    "text": (lambda tokens: b"0 1 2\n", "is not a complete .npy file"),
    "wider": (lambda tokens: _npy(tokens.astype(np.int64)), r"holds \(\(6, 8\), 'int64'\); its JSON file says"),
    "floats": (lambda tokens: _npy(tokens.astype(float)), r"holds \(\(6, 8\), 'float64'\)"),
    "big-endian": (lambda tokens: _npy(tokens.astype(">u2")), r"holds \(\(6, 8\), '>u2'\)"),
    "flat": (lambda tokens: _npy(tokens.ravel()), r"holds \(\(48,\), 'uint8'\)"),
    "transposed": (lambda tokens: _npy(np.ascontiguousarray(tokens.T)), r"holds \(\(8, 6\), 'uint8'\)"),
    "Fortran order": (lambda tokens: _npy(np.asfortranarray(tokens)), "is in Fortran order"),
}


@pytest.mark.parametrize("kind", TOKENS)
def test_other_arrays_of_tokens_are_refused(store, kind):
    make, message = TOKENS[kind]
    store.write_bytes(make(np.load(store)))
    assert_refused(store, f"data: .*t.npy {message}")


def test_a_folder_instead_of_the_tokens_is_refused(store):
    store.unlink()
    store.mkdir()
    for open_dataset in openers(store):
        with pytest.raises(ValueError, match=r"data: no dataset at \S+t.npy"):
            open_dataset()


def test_a_foreign_file_at_the_path_of_the_sidecar_is_kept(tmp_path):
    (tmp_path / "t.json").write_text('{"mine": 1}')
    with pytest.raises(ValueError, match=r"path: \S+t.json would be overwritten and does not describe a dataset"):
        generate(PROCESS, tmp_path / "t.npy", 6, 8)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"t.json": '{"mine": 1}'}


def test_the_sidecar_of_deleted_tokens_is_replaced(store):
    store.unlink()
    assert generate(PROCESS, store, 4, 8).count == 4


@pytest.mark.parametrize(
    ("content", "message"), [("{}", "format: missing"), ("[]", "saw a value of type list"), ("", "JSONDecodeError")]
)
def test_a_damaged_plan_of_an_unfinished_dataset_is_refused(tmp_path, content, message, monkeypatch):
    monkeypatch.setattr("n2n.data.generation.BLOCK", 8)
    assert generate_part(PROCESS, tmp_path / "t.npy", 6, 8, part=0, parts=2) is None
    plan = tmp_path / ".t.npy.parts" / "plan.json"
    plan.write_text(content)
    with pytest.raises(ValueError, match=rf"data: \S+plan.json does not describe a dataset \(.*{message}"):
        generate(PROCESS, tmp_path / "t.npy", 6, 8)


def test_a_block_with_a_damaged_marker_is_generated_again(tmp_path, monkeypatch, dataset):
    monkeypatch.setattr("n2n.data.generation.BLOCK", 8)
    generate_part(PROCESS, tmp_path / "t.npy", 6, 8, part=0, parts=2)
    (tmp_path / ".t.npy.parts" / "00000000.sha256").write_bytes(b"\xff\xfe")
    assert generate(PROCESS, tmp_path / "t.npy", 6, 8).sha256 == dataset.sha256


def test_datasets_of_other_pools_are_told_apart(tmp_path):
    graph = n2n.Graph.chain(1, mode="context", pool=4)
    store = generate(n2n.Process(graph), tmp_path / "t.npy", 6, 8)
    assert fields_of(store.path)["graph"]["pool"] == 4
    store.check_drawn_from(n2n.Process(graph))
    for pool in (5, None):
        with pytest.raises(ValueError, match="was drawn with another graph"):
            store.check_described(n2n.Process(graph.model_copy(update={"pool": pool})))
    assert "pool" not in plan(PROCESS, "train", 1, 2)["graph"]  # so older datasets of graphs without a pool still fit
