"""Architectures by name: options, hybrids, and registration of a new architecture."""

import sys

import pytest
import torch
from support.architectures import RECURRENT, VOCAB, build, every_arch, tokens_of
from torch.testing import assert_close

import n2n
from n2n import models
from n2n.models import architectures
from n2n.utils.strict import nearest_name


def test_names():
    assert models.names() == ["hawk", "mamba", "mingru", "minlstm", "transformer"]


@every_arch
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dim": 10, "heads": 3}, "heads: saw 3, which does not divide"),
        ({"dim": -4}, "dim: saw -4"),
        ({"layers": 0}, "layers: saw 0"),
        ({"hedas": 2}, "unknown parameter 'hedas'; did you mean 'heads'"),
        ({"dropout": 1}, "dropout: saw 1"),
        ({"kernels": "cuda"}, "kernels: saw 'cuda'"),
        ({"tied": "perhaps"}, "tied: saw 'perhaps'"),
    ],
)
def test_bad_options_are_refused(arch, options, message):
    with pytest.raises(ValueError, match=message):
        build(arch, **options)


@pytest.mark.parametrize("arch", [*RECURRENT, "mamba"])
@pytest.mark.parametrize("width", [1, 5, -2])
def test_other_convolution_widths_are_refused(arch, width):
    with pytest.raises(ValueError, match=f"conv_width: saw {width}; it must be 0, 2, 3 or 4"):
        build(arch, conv_width=width)


def test_unknown_architectures_are_refused():
    with pytest.raises(ValueError, match="unknown architecture 'mmba'; did you mean 'mamba'"):
        build("mmba")
    assert nearest_name("lstm", models.names()) == "; did you mean 'minlstm'?"


def test_an_option_of_another_architecture_is_refused():
    assert build("mamba", state_dim=8).config.state_dim == 8
    with pytest.raises(ValueError, match="unknown parameter 'state_dim'"):
        build("transformer", state_dim=8)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without fused kernels")
def test_missing_fused_kernels_are_refused_before_the_model_is_built():
    with pytest.raises(ValueError, match="kernels: saw 'fused', but these do not import"):
        build("mamba", kernels="fused")


def test_a_hybrid_has_the_layers_of_its_pattern():
    model = build("hybrid", pattern="mamba,mamba,transformer", layers=6, state_dim=8, rotary_base=50.0)
    kinds = [type(block.mixer).__module__.rsplit(".", 1)[1] for block in model.blocks]
    assert kinds == ["mamba", "mamba", "transformer"] * 2
    assert [block.mlp is None for block in model.blocks] == [True, True, False] * 2  # each with its own default
    assert model.blocks[0].mixer.parts[1] == 8
    assert models.configure("hybrid", vocab_size=3, pattern=["hawk", "mamba"]).layers == 2
    assert {block.mixer.chunk for block in build("hybrid", pattern="mamba, mamba", chunk=3).blocks} == {3}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pattern": "mamba,transfomer"}, "pattern: unknown architecture 'transfomer'; did you mean 'transformer'"),
        ({"pattern": ""}, "pattern: unknown architecture ''"),
        ({}, r"pattern: saw \(\); architectures' names are needed"),
        ({"pattern": 3}, "pattern: saw 3; architectures' names are needed"),
        ({"pattern": ["mamba", 3]}, "pattern: unknown architecture 3"),
        ({"pattern": "mamba,mamba,hawk"}, "layers: saw 2; the pattern of 3 needs a multiple of 3"),
        ({"pattern": "mamba,hawk", "rotary_base": 3.0}, "unknown parameter of mamba, hawk 'rotary_base'"),
        ({"pattern": "mamba,hawk", "state_dmi": 3}, "did you mean 'state_dim'"),
        ({"pattern": "mamba,transformer", "dim": 6, "heads": 2, "expand": 2}, "does not divide dim 6"),
    ],
)
def test_bad_patterns_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        build("hybrid", **options)


def test_a_pattern_is_refused_for_other_architectures():
    with pytest.raises(ValueError, match="unknown parameter 'pattern'"):
        build("mamba", pattern="mamba,transformer")


SIXTH = """
from torch import nn
from n2n.models.mixer import ModelConfig, SequenceMixer

class Config(ModelConfig):
    gain: float = 1.0

class Mixer(SequenceMixer):
    def __init__(self, config):
        super().__init__()
        self.gain = config.gain
        self.out = nn.Linear(config.dim, config.dim, bias=False)

    def forward(self, x):
        return self.out(self.gain * x.cumsum(1))
"""


@pytest.fixture
def sixth(tmp_path, monkeypatch):
    (tmp_path / "summer.py").write_text(SIXTH)
    monkeypatch.setattr(architectures, "__path__", [*architectures.__path__, str(tmp_path)])
    yield "summer"
    sys.modules.pop("n2n.models.architectures.summer", None)


def test_a_new_file_registers_an_architecture(sixth, small):
    """A mixer with only ``forward`` trains, matches, steps, generates and joins hybrids; only its mixing is missing."""
    assert sixth in models.names()
    model, tokens = build(sixth, gain=0.5), tokens_of(2, 9)
    logits, state = model.resume(tokens[:, :4], model.init_state(2))
    more, _ = model.resume(tokens[:, 4:], state)
    assert_close(torch.cat([logits, more], dim=1), model(tokens), rtol=0, atol=1e-6)
    assert model.generate(tokens, 3).shape == (2, 12)
    assert models.match(sixth, parameters=30_000, vocab_size=VOCAB).options["dim"] > 16
    assert build("hybrid", pattern=f"{sixth},mamba", gain=2.0).blocks[0].mixer.gain == 2.0
    with pytest.raises(ValueError, match=r"n2n\.models\.architectures\.summer does not say how it mixes tokens"):
        model.inspect(tokens)
    assert model.inspect(tokens, mixing=False).residual.shape == (2, 3, 9, 16)
    assert n2n.train(small(arch=sixth, model_options={"gain": 0.5})).status["state"] == "done"


def test_a_mixer_without_forward_is_refused():
    with pytest.raises(TypeError, match="defines neither forward"):
        type("Mixer", (models.mixer.SequenceMixer,), {})
