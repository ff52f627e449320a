"""Resources in the batch script: each text stays on its line, and each number is in Slurm's range."""

import pytest
from hypothesis import given, settings, strategies as st
from support.small_notebook import trivial

import n2n
from n2n import launch
from n2n.launch import slurm
from n2n.launch.clusters import Slurm
from n2n.launch.command import main
from n2n.launch.resources import Resources

TEXT_FIELDS = ("partition", "account", "qos", "constraint")
HOSTILE = [
    "x\ntouch INJ\n#",
    "x\r#SBATCH --uid=0",
    "x\0",
    "x\x1b[2J",
    "x\x7f",
    "x\x85y",
    "x\u2028touch INJ",
    "x\u2029",
    "x\u202etxt",  # reverses the direction of the following text
    "x y",
    "x\u00a0y",
    "x\ty",
    "",
    " ",
    "x" * 201,
    "x" * 100_000,
    "\ud800",
]


@pytest.mark.parametrize("field", TEXT_FIELDS)
@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text[:12]))
def test_unprintable_and_long_texts_are_refused(field, text):
    with pytest.raises(ValueError, match="printable characters without a space are needed") as error:
        Resources(**{field: text})
    (line,) = str(error.value).splitlines()[1:]
    assert line.startswith(f"  - {field}: saw ")
    assert len(line) < 400


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(TEXT_FIELDS), st.text(max_size=20))
def test_an_accepted_text_changes_only_its_own_line(field, text):
    plain = Slurm().header(n2n.runs.root() / "s", Resources(time=5, **{field: "plain"}), 1)
    try:
        header = Slurm().header(n2n.runs.root() / "s", Resources(time=5, **{field: text}), 1)
    except ValueError:
        return
    pairs = list(zip(plain.splitlines(), header.splitlines(), strict=True))
    (changed,) = [pair for pair in pairs if pair[0] != pair[1]] or [(f"#SBATCH --{field}=plain", "=plain")]
    assert changed[0] == f"#SBATCH --{field}=plain"
    assert changed[1].endswith(text) or "'" in changed[1]


@pytest.mark.parametrize("text", ["gpu", "a100&nvlink", "[rack1|rack2]", "intel*2", "!old", "Übung", "a'b", "a,b"])
def test_constraints_of_slurm_are_accepted(text):
    assert Resources(constraint=text).constraint == text


@pytest.mark.parametrize(
    ("fields", "message"),
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
def test_sizes_beyond_any_machine_are_refused_with_a_short_message(fields, message):
    with pytest.raises(ValueError, match=message) as error:
        Resources(**fields)
    assert len(str(error.value).splitlines()) == 2
    assert len(str(error.value)) < 500


def test_memory_is_rounded_up_to_one_megabyte():
    """For Slurm, ``--mem=0`` means all memory of a node."""
    header = Slurm().header(n2n.runs.root() / "s", Resources(time=5, mem=0.001), 1)
    assert "#SBATCH --mem=1M" in header


def test_a_partition_s_default_time_is_capped(monkeypatch):
    line = "main*|UNLIMITED|20000-00:00:00|1|8|1000|(null)|(null)\n"
    monkeypatch.setattr(slurm, "run_command", lambda *command, **options: line)
    assert slurm.resolve(Resources()).time == 10 * 366 * 24 * 60


@pytest.mark.parametrize("option", ["--account", "--qos", "--constraint", "--partition"])
def test_a_shell_reports_unprintable_texts(option, tmp_path, capsys):
    notebook = str(trivial(tmp_path / "t.ipynb"))
    assert main([notebook, "--name", "s", "--grid", "i=0", option, "x\ntouch INJ\n#"]) == 2
    assert r"saw 'x\ntouch INJ\n#'; 1 to 200 printable characters" in capsys.readouterr().err
    assert not (n2n.runs.root() / "s").exists()


@pytest.mark.parametrize(
    ("value", "minutes"),
    [(90, 90), ("90", 90), ("01:30:00", 90), ("1-00", 1440), ("1-02:30", 1590), ("2:30", 2.5), ("1-00:00:30", 1440.5)],
)
def test_times_in_slurm_s_formats(value, minutes):
    assert launch.Resources(time=value).time == pytest.approx(minutes)


@pytest.mark.parametrize(
    ("options", "message"),
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
def test_bad_resources_are_refused(options, message, tmp_path, runs):
    with pytest.raises(ValueError, match=message):
        launch.submit(trivial(tmp_path / "t.ipynb"), [{}], name="bad", **{"cluster": "local", **options})
    assert not (runs / "bad").exists()
