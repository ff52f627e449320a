"""Resources in the batch script: every text stays on its line, every number is in Slurm's range."""

from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st
from support.small_notebook import trivial

import n2n
from n2n import launch
from n2n.launch import slurm
from n2n.launch.clusters import Slurm
from n2n.launch.command import main
from n2n.launch.resources import Resources

WORDS = ("partition", "account", "qos", "constraint")
HOSTILE = [
    "x\ntouch INJ\n#",
    "x\r#SBATCH --uid=0",
    "x\0",
    "x\x1b[2J",
    "x\x7f",
    "x\x85y",
    "x\u2028touch INJ",
    "x\u2029",
    "x\u202etxt",  # turns what follows around
    "x y",
    "x\u00a0y",
    "x\ty",
    "",
    " ",
    "x" * 201,
    "x" * 100_000,
    "\ud800",
]


@pytest.mark.parametrize("field", WORDS)
@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text[:12]))
def test_no_text_leaves_its_line_of_the_batch_script(field, text):
    with pytest.raises(ValueError, match="printable characters without a space are needed") as told:
        Resources(**{field: text})
    (line,) = str(told.value).splitlines()[1:]
    assert line.startswith(f"  - {field}: saw ")
    assert len(line) < 400


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(WORDS), st.text(max_size=20))
def test_what_is_taken_is_one_line_of_the_script(field, text):
    """Whatever the text, the header has the lines of a harmless one, and the value on its own."""
    plain = Slurm().header(n2n.runs.root() / "s", Resources(time=5, **{field: "plain"}), 1)
    try:
        found = Slurm().header(n2n.runs.root() / "s", Resources(time=5, **{field: text}), 1)
    except ValueError:
        return
    pairs = list(zip(plain.splitlines(), found.splitlines(), strict=True))
    (changed,) = [pair for pair in pairs if pair[0] != pair[1]] or [(f"#SBATCH --{field}=plain", "=plain")]
    assert changed[0] == f"#SBATCH --{field}=plain"
    assert changed[1].endswith(text) or "'" in changed[1]


@pytest.mark.parametrize("text", ["gpu", "a100&nvlink", "[rack1|rack2]", "intel*2", "!old", "Übung", "a'b", "a,b"])
def test_what_slurm_may_have_is_taken(text):
    assert Resources(constraint=text).constraint == text


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"time": "9" * 400}, "time: saw '999.*minutes, HH:MM:SS or D-HH:MM:SS are needed"),
        ({"time": "9" * 5000}, "time: saw '999.*minutes, HH:MM:SS or D-HH:MM:SS are needed"),
        ({"time": f"{'9' * 400}-00"}, "time: saw '999.*minutes, HH:MM:SS or D-HH:MM:SS are needed"),
        ({"time": f"1:{'9' * 400}:00"}, "time: saw '1:999.*minutes, HH:MM:SS or D-HH:MM:SS are needed"),
        ({"time": "٣"}, "time: saw '٣'; minutes"),
        ({"time": "999999999-00:00:00"}, "time: saw .*it must be less than or equal to"),
        ({"time": 10**400}, "time: saw <an integer of 1,329 bits>"),
        ({"time": 1e300}, r"time: saw 1e\+300; it must be less than or equal to"),
        ({"time": float("inf")}, "time: saw inf"),
        ({"time": float("nan")}, "time: saw nan"),
        ({"time": "inf"}, "time: saw 'inf'; minutes"),
        ({"mem": 1e300}, r"mem: saw 1e\+300; it must be less than or equal to"),
        ({"mem": 1e-9}, "mem: saw 1e-09; it must be greater than or equal to 0.001"),
        ({"mem": float("inf")}, "mem: saw inf"),
        ({"mem": "9" * 400}, "mem: saw '999"),
        *[({name: 10**7}, f"{name}: saw 10000000; it must be") for name in ("gpus", "cpus", "nodes", "max_parallel")],
        *[({name: 10**400}, f"{name}: saw <an int") for name in ("gpus", "cpus", "nodes", "max_parallel", "grace")],
        *[({name: "9" * 5000}, f"{name}: saw '999") for name in ("gpus", "cpus", "nodes", "max_parallel", "grace")],
        ({"grace": 10**9}, "grace: saw 1000000000; it must be less than or equal to 86400"),
        ({"grace": True}, "grace: saw True, a boolean"),
    ],
)
def test_sizes_beyond_any_machine_are_refused_in_one_sentence(fields, said):
    with pytest.raises(ValueError, match=said) as told:
        Resources(**fields)
    assert len(str(told.value).splitlines()) == 2
    assert len(str(told.value)) < 500


def test_memory_that_is_taken_is_never_zero():
    """Slurm takes ``--mem=0`` for all of a node."""
    header = Slurm().header(n2n.runs.root() / "s", Resources(time=5, mem=0.001), 1)
    assert "#SBATCH --mem=1M" in header


def test_a_cluster_s_own_time_may_be_longer_than_any_that_is_asked_for(monkeypatch):
    line = "main*|UNLIMITED|20000-00:00:00|1|8|1000|(null)|(null)\n"
    monkeypatch.setattr(slurm, "run_command", lambda *command, **given: line)
    assert slurm.resolve(Resources()).time == 10 * 366 * 24 * 60


@pytest.mark.parametrize("name", ["x" * 201, "x" * 5000, "x\n", "x\ny", "-x", "x\u2028", "x/y", "x%j"])
def test_sweeps_have_names_that_a_folder_can_have(name, tmp_path):
    with pytest.raises(
        ValueError, match=r"name: saw .*letters, digits and any of _.\+-, with a letter or digit first"
    ) as told:
        launch.submit(trivial(tmp_path / "t.ipynb"), [{}], name=name, cluster="debug")
    assert len(str(told.value)) < 300


@pytest.mark.parametrize("part", ["a\nb", "a%jb", "a\\b", "a\u2028b", "a\rb"])
def test_sweeps_lie_where_a_batch_script_can_say(part, tmp_path, monkeypatch):
    monkeypatch.setenv("N2N_RUNS", str(tmp_path / part))
    with pytest.raises(ValueError, match="which a batch script cannot hold; set N2N_RUNS"):
        launch.submit(trivial(tmp_path / "t.ipynb"), [{}], name="s", cluster="debug")
    assert not (tmp_path / part).exists()


@pytest.mark.parametrize("option", ["--account", "--qos", "--constraint", "--partition"])
def test_a_shell_says_so_in_a_sentence(option, tmp_path, capsys):
    notebook = str(trivial(tmp_path / "t.ipynb"))
    assert main([notebook, "--name", "s", "--grid", "i=0", option, "x\ntouch INJ\n#"]) == 2
    assert r"saw 'x\ntouch INJ\n#'; 1 to 200 printable characters" in capsys.readouterr().err
    assert not (n2n.runs.root() / "s").exists()


@pytest.fixture
def runs() -> Path:
    return n2n.runs.root()


@pytest.mark.parametrize(
    ("given", "minutes"),
    [(90, 90), ("90", 90), ("01:30:00", 90), ("1-00", 1440), ("1-02:30", 1590), ("2:30", 2.5), ("1-00:00:30", 1440.5)],
)
def test_times_as_slurm_has_them(given, minutes):
    assert launch.Resources(time=given).time == pytest.approx(minutes)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"time": "soon"}, "saw 'soon'; minutes, HH:MM:SS"),
        ({"time": 0}, "time: saw 0"),
        ({"gpu": 1}, "unknown parameter 'gpu'; did you mean 'gpus'"),
        ({"cpus": 0}, "cpus: saw 0"),
        ({"time": 1, "grace": 60}, "grace: saw 60 s, which leaves nothing of the 1 minutes"),
        ({"nodes": 2}, "nodes: saw 2; this machine has 1"),
        ({"cpus": 10**6}, "cpus: saw 1000000; this machine has"),
        ({"partition": "main"}, "partition: saw 'main', which only a cluster with Slurm has"),
        ({"cluster": "debug", "time": 3, "cpus": 1}, "'debug' runs jobs in this process, so it cannot set time, cpus"),
    ],
)
def test_bad_resources_are_refused(given, said, tmp_path, runs):
    with pytest.raises(ValueError, match=said):
        launch.submit(trivial(tmp_path / "t.ipynb"), [{}], name="bad", **{"cluster": "local", **given})
    assert not (runs / "bad").exists()
