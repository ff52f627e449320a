from n2n.notebook import parameters

TYPED = 'steps: int = 100  # how many\nlr: float = 0.1\narch: str = "mamba"'


def namespace(*cells: str, **own) -> dict:
    """What a kernel's namespace is once these cells ran."""
    values = {"In": ["", *cells], "Out": {}, "_": "", "get_ipython": print, **own}
    for cell in cells:
        exec(cell, values)
    return values


def test_the_typed_cell_is_read():
    assert parameters(namespace(TYPED)) == {"steps": 100, "lr": 0.1, "arch": "mamba"}


def test_what_papermill_injects_counts_misspelt_or_not():
    found = parameters(namespace(TYPED, "# Parameters\nsteps = 5\nstep = 7\n"))
    assert found == {"steps": 5, "lr": 0.1, "arch": "mamba", "step": 7}


def test_a_reader_s_own_variables_do_not_count():
    found = parameters(namespace(TYPED, "x = 3", "n: int = 4", "import math", own="mine"))
    assert set(found) == {"steps", "lr", "arch"}


def test_a_misspelling_counts_until_it_is_corrected():
    wrong = TYPED.replace("steps", "step")
    assert set(parameters(namespace(wrong))) == {"step", "lr", "arch"}
    assert set(parameters(namespace(wrong, TYPED))) == {"steps", "lr", "arch"}


def test_a_line_taken_out_no_longer_counts():
    assert set(parameters(namespace(TYPED + "\nstepz: int = 3", TYPED))) == {"steps", "lr", "arch"}


def test_a_longer_typed_cell_of_the_reader_s_does_not_replace_the_parameters():
    own = "\n".join(f"x{i}: int = {i}" for i in range(9))
    assert set(parameters(namespace(TYPED, own))) == {"steps", "lr", "arch"}


def test_an_edited_value_is_the_one_that_counts():
    assert parameters(namespace(TYPED, "x = 3", TYPED.replace("100", "200")))["steps"] == 200


def test_cells_with_magics_are_passed_over():
    values = namespace(TYPED)
    values["In"] += ["%matplotlib inline", "!ls", "def broken("]
    assert set(parameters(values)) == {"steps", "lr", "arch"}


def test_without_a_history_every_plain_value_counts():
    values = namespace(TYPED)
    values["In"] = [""]
    assert parameters(values) == {"steps": 100, "lr": 0.1, "arch": "mamba"}
