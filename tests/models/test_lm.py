"""One suite over every architecture and its options."""

import sys

import numpy as np
import pytest
import torch
from torch.testing import assert_close

import n2n
from n2n import models
from n2n.models import architectures, convolution, ops, recurrence
from n2n.models.architectures import mamba
from n2n.utils.strict import nearest_name

VOCAB = 11
RECURRENT = ["hawk", "mingru", "minlstm"]

# Every architecture as it comes, with each of its options, and hybrids.
VARIANTS = {name: (name, {}) for name in models.names()}
VARIANTS |= {f"{name} without convolution": (name, {"conv_width": 0}) for name in [*RECURRENT, "mamba"]}
VARIANTS |= {f"{name}, convolution of 2": (name, {"conv_width": 2}) for name in [*RECURRENT, "mamba"]}
VARIANTS |= {f"{name} without mlp": (name, {"mlp_ratio": 0}) for name in [*RECURRENT, "transformer"]}
VARIANTS |= {f"{name}, tied": (name, {"tied": True}) for name in models.names()}
VARIANTS |= {f"{name}, one head": (name, {"heads": 1}) for name in models.names()}
VARIANTS |= {f"{name}, wide": (name, {"expand": 2}) for name in RECURRENT}
VARIANTS |= {f"{name}, positive": (name, {"candidate": "positive"}) for name in ("mingru", "minlstm")}
VARIANTS |= {
    "mamba, small chunks": ("mamba", {"chunk": 4, "state_dim": 8}),
    "mamba with mlp": ("mamba", {"mlp_ratio": 2, "expand": 1}),
    "transformer, other rotary base": ("transformer", {"rotary_base": 100.0}),
    "mamba and transformer": ("hybrid", {"pattern": "mamba,transformer"}),
    "three kinds": ("hybrid", {"pattern": "mingru,hawk,minlstm", "layers": 3, "conv_width": 3}),
}
every_arch = pytest.mark.parametrize("arch", models.names())
every_variant = pytest.mark.parametrize("variant", VARIANTS)


def build(arch: str, seed: int = 0, **options) -> torch.nn.Module:
    return models.build(arch, vocab_size=VOCAB, seed=seed, **{"dim": 16, "layers": 2, "heads": 2, **options})


def varied(variant: str, **options) -> torch.nn.Module:
    arch, own = VARIANTS[variant]
    return build(arch, **{**own, **options})


def tokens_of(batch: int, length: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(VOCAB, (batch, length), generator=torch.Generator().manual_seed(seed))


def test_names():
    assert models.names() == ["hawk", "mamba", "mingru", "minlstm", "transformer"]


@every_variant
def test_logits_are_causal(variant):
    """Changing token s changes no logit before s, and does change the one at s."""
    model, tokens = varied(variant), tokens_of(2, 24)
    before = model(tokens)
    assert before.shape == (2, 24, VOCAB)
    for s in (0, 7, 23):
        changed = tokens.clone()
        changed[:, s] = (changed[:, s] + 1) % VOCAB
        after = model(changed)
        assert_close(after[:, :s], before[:, :s], rtol=0, atol=1e-7)
        assert not torch.allclose(after[:, s], before[:, s])


@every_variant
def test_how_often_the_only_token_was_seen_is_told_apart(variant):
    """The contexts v, vv, vvv, which attention over relative positions alone cannot tell apart."""
    model, tokens = varied(variant), torch.full((1, 8), 3)
    apart = torch.cdist(model(tokens)[0], model(tokens)[0])  # of the logits after v, vv, vvv, ..
    assert (apart[~torch.eye(8, dtype=torch.bool)] > 1e-3).all()


@every_variant
def test_the_start_is_at_the_first_token_alone(variant):
    """In ``forward``, ``resume`` and ``step`` alike: with another start vector the first token's input changes."""
    model, tokens = varied(variant), tokens_of(2, 9)
    entered = []
    model.blocks[0].register_forward_pre_hook(lambda _, inputs: entered.append(inputs[0]))
    resume = model.blocks[0].resume
    model.blocks[0].resume = lambda x, state: entered.append(x) or resume(x, state)

    def streams() -> list[torch.Tensor]:
        """What the first block is given by each way of reading the tokens, ``(batch, T, dim)``."""
        found = []
        for pieces in ([9], [4, 5], [1] * 9):
            entered.clear()
            state = model.init_state(2)
            for piece in tokens.split(pieces, dim=1):
                _, state = model.step(piece[:, 0], state) if piece.shape[1] == 1 else model.resume(piece, state)
            found.append(torch.cat(entered, dim=1))
        entered.clear()
        model(tokens)
        return [*found, *entered]

    with torch.no_grad():
        before = streams()
        model.start += 1.0
        for one, other in zip(before, streams(), strict=True):
            assert_close(other[:, 0] - one[:, 0], torch.ones(2, 16))
            assert torch.equal(other[:, 1:], one[:, 1:])


def test_every_architecture_counts_the_start_alike():
    """The parameters of every part but the mixers' are the same in all of them."""
    tables = [models.describe(build(arch), length=8)["parameters"] for arch in models.names()]
    for name in ("embedding", "start", "norm", "head"):
        assert len({table[name] for table in tables}) == 1
    assert tables[0]["start"] == 16


@every_variant
def test_every_earlier_token_is_seen(variant):
    """The last logits' gradient reaches the embedding of every position."""
    model, tokens = varied(variant), tokens_of(1, 20)
    embedded = []
    model.embedding.register_forward_hook(lambda *call: embedded.append(call[-1].requires_grad_()) or call[-1])
    (gradient,) = torch.autograd.grad(model(tokens)[0, -1, 3], model_input := embedded[0])
    assert model_input.shape == (1, 20, 16)
    assert (gradient.abs().sum(-1) > 0).all()


@every_variant
def test_a_batch_is_its_sequences(variant):
    model, tokens = varied(variant), tokens_of(5, 12)
    assert_close(model(tokens)[3:4], model(tokens[3:4]), rtol=1e-5, atol=1e-6)


@every_variant
@torch.no_grad()
def test_step_by_step_equals_all_at_once(variant):
    model, tokens = varied(variant), tokens_of(3, 70)
    expected = model(tokens)
    state, logits = model.init_state(3), []
    for token in tokens.unbind(1):
        found, state = model.step(token, state)
        logits.append(found)
    assert_close(torch.stack(logits, dim=1), expected, rtol=0, atol=1e-5)


@every_variant
@torch.no_grad()
@pytest.mark.parametrize("first", [1, 2, 5, 40])
def test_reading_in_two_pieces_equals_all_at_once(variant, first):
    model, tokens = varied(variant), tokens_of(3, 47)
    before, state = model.resume(tokens[:, :first], model.init_state(3))
    kept = [value.clone() for value in tensors_of(state.mixers)]
    after, last = model.resume(tokens[:, first:], state)
    assert_close(torch.cat([before, after], dim=1), model(tokens), rtol=0, atol=1e-5)
    assert last.position == 47
    assert all(torch.equal(one, other) for one, other in zip(kept, tensors_of(state.mixers), strict=True))


@every_variant
def test_gradients_pass_through_a_state(variant):
    """In float64, the gradients of a loss over two pieces are those of the loss over the whole."""
    model, tokens = varied(variant).double(), tokens_of(2, 20)
    before, state = model.resume(tokens[:, :9], model.init_state(2))
    after, _ = model.resume(tokens[:, 9:], state)
    parameters = list(model.parameters())
    weight = torch.linspace(-1, 1, 2 * 20 * VOCAB, dtype=torch.float64).view(2, 20, VOCAB)
    found = torch.autograd.grad((torch.cat([before, after], dim=1) * weight).sum(), parameters)
    for one, other in zip(found, torch.autograd.grad((model(tokens) * weight).sum(), parameters), strict=True):
        assert_close(one, other, rtol=1e-4, atol=1e-5)  # rotary angles are kept in float32


def tensors_of(state) -> list[torch.Tensor]:
    if isinstance(state, torch.Tensor):
        return [state]
    return [tensor for part in state or () for tensor in tensors_of(part)]


@torch.no_grad()
@every_arch
def test_the_state_of_a_recurrence_does_not_grow(arch):
    model, tokens = build(arch), tokens_of(2, 60)
    sizes = []
    for length in (10, 60):
        _, state = model.resume(tokens[:, :length], model.init_state(2))
        sizes.append(sum(tensor.numel() for tensor in tensors_of(state.mixers)))
    assert sizes[1] == (6 * sizes[0] if arch == "transformer" else sizes[0])


@every_variant
def test_parallel_equals_sequential_in_values_and_gradients(variant, monkeypatch):
    """The whole model in float64 on the fast paths, and on their sequential twins."""
    model, tokens = varied(variant).double(), tokens_of(2, 30)

    def outcome() -> list[torch.Tensor]:
        loss = model.nll(tokens)
        return [loss, *torch.autograd.grad(loss.mean(), list(model.parameters()))]

    parallel, called = outcome(), []

    def twin(function):
        return lambda *given, **options: called.append(function) or function(*given, **options)

    def without_chunks(x, step, rate, b, c, chunk, state, kernels):
        return ops.ssd_sequential(x, step, rate, b, c, state)

    monkeypatch.setattr(mamba, "ssd", twin(without_chunks))
    monkeypatch.setattr(recurrence, "linear_scan", twin(ops.linear_scan_sequential))
    monkeypatch.setattr(convolution, "causal_conv1d", twin(lambda *given: ops.causal_conv1d_sequential(*given[:4])))
    for fast, slow in zip(parallel, outcome(), strict=True):
        assert_close(fast, slow, rtol=1e-8, atol=1e-10)
    assert called or variant.startswith("transformer")


@every_variant
def test_bfloat16_is_close_to_float32(variant):
    model, tokens = varied(variant, dim=32), tokens_of(4, 40)
    expected = model.nll(tokens)
    with torch.autocast("cpu", torch.bfloat16):
        found = model.nll(tokens)
    found.mean().backward()
    assert_close(found, expected, rtol=0, atol=0.1)
    assert abs((found - expected).mean().item()) < 0.01
    for parameter in model.parameters():
        assert parameter.grad.dtype == torch.float32
        assert torch.isfinite(parameter.grad).all()


@every_arch
def test_nll_is_the_cross_entropy_of_the_next_token(arch):
    model, tokens = build(arch), tokens_of(3, 9)
    nll = model.nll(tokens)
    probability = model(tokens)[:, :-1].softmax(-1).gather(-1, tokens[:, 1:, None]).squeeze(-1)
    assert_close(nll, -probability.log(), rtol=1e-5, atol=1e-6)


@every_variant
def test_initial_weights_depend_on_the_seed_alone(variant):
    torch.manual_seed(123)
    expected_next = torch.rand(1)
    torch.manual_seed(123)
    first = varied(variant)
    assert torch.equal(torch.rand(1), expected_next)  # torch's own generator was left as it was
    torch.manual_seed(7)
    again, other = varied(variant), varied(variant, seed=1)
    for name, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
    assert any(not torch.equal(value, other.state_dict()[name]) for name, value in first.state_dict().items())


@every_variant
def test_a_new_model_predicts_nearly_uniformly(variant):
    loss = varied(variant, dim=64).nll(tokens_of(8, 64)).mean().item()
    assert loss == pytest.approx(np.log(VOCAB), abs=0.2 if "tied" in variant else 0.1)


@every_variant
def test_state_dict_round_trip(variant):
    model, other, tokens = varied(variant), varied(variant, seed=1), tokens_of(2, 8)
    other.load_state_dict(model.state_dict())
    assert torch.equal(model(tokens), other(tokens))


@every_variant
def test_overfits_one_batch(variant):
    model, tokens = varied(variant, dim=32), tokens_of(4, 16)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0)
    for _ in range(150):
        optimizer.zero_grad()
        model.nll(tokens).mean().backward()
        optimizer.step()
    assert model.nll(tokens)[:, 4:].mean().item() < 0.05  # random tokens, known by their prefix


@every_arch
def test_learns_an_in_context_markov_chain_better_than_the_unigram(arch):
    """Each sequence has a transition matrix of its own, so the counts of its tokens so far are what can be had."""
    rng = np.random.default_rng(0)
    model = build(arch, dim=32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0)
    for _ in range(200):
        optimizer.zero_grad()
        model.nll(torch.from_numpy(chains(rng, 32, 48))).mean().backward()
        optimizer.step()
    held_out = chains(rng, 256, 48)
    with torch.no_grad():
        loss = model.nll(torch.from_numpy(held_out))[:, 16:].mean().item()
    unigram = n2n.fit_ngram(chains(rng, 256, 48), VOCAB, 1).nll(held_out)[:, 16:].mean()
    assert loss < unigram - 0.1


def chains(rng: np.random.Generator, count: int, length: int, states: int = 3) -> np.ndarray:
    """Markov chains whose rows are Dirichlet(1/2) for each sequence."""
    cumulated = rng.dirichlet(np.full(states, 0.5), size=(count, states)).cumsum(-1)
    tokens = np.zeros((count, length), np.int64)
    for t in range(1, length):
        rows = cumulated[np.arange(count), tokens[:, t - 1]]
        tokens[:, t] = np.minimum((rng.random((count, 1)) > rows).sum(-1), states - 1)
    return tokens


@every_arch
def test_gradients_are_finite_over_a_long_sequence(arch):
    model = build(arch)
    model.nll(tokens_of(1, 4097)).mean().backward()
    for parameter in model.parameters():
        assert parameter.grad is not None
        assert torch.isfinite(parameter.grad).all()


@pytest.mark.parametrize("arch", [*RECURRENT, "mamba"])
def test_gates_that_are_shut_or_open_give_finite_gradients(arch):
    model = build(arch)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("mixer.project.weight", "mixer.gate_weight", "mixer.step.weight")):
                parameter.mul_(1000.0)
    model.nll(tokens_of(2, 30)).mean().backward()
    for parameter in model.parameters():
        assert torch.isfinite(parameter.grad).all()


@every_arch
def test_dropout_is_for_training_alone(arch):
    model, plain, tokens = build(arch, dropout=0.5), build(arch), tokens_of(2, 12)
    assert not torch.allclose(model(tokens), model(tokens))
    assert torch.equal(model.eval()(tokens), plain(tokens))


@every_arch
def test_bad_tokens_are_refused(arch):
    model = build(arch, max_length=10)
    model(tokens_of(1, 10))
    for tokens, said in [
        (tokens_of(1, 11), "saw 11 of them; max_length is 10"),
        (tokens_of(1, 10)[0], r"saw shape \(10,\)"),
        (tokens_of(1, 10)[:, :0], r"saw shape \(1, 0\)"),
        (torch.tensor([[1, VOCAB]]), f"saw {VOCAB}; the vocabulary is 0 to {VOCAB - 1}"),
        (torch.tensor([[1, -1]]), "saw -1; the vocabulary"),
        (torch.ones(1, 3), "saw Tensor of type float32"),
    ]:
        with pytest.raises(ValueError, match=said):
            model(tokens)
    with pytest.raises(ValueError, match="saw 12; the vocabulary"):
        model.nll(torch.tensor([[1, 12]]))
    _, state = model.resume(tokens_of(2, 10), model.init_state(2))
    with pytest.raises(ValueError, match="saw 11 of them; max_length is 10"):
        model.step(tokens_of(2, 1)[:, 0], state)
    with pytest.raises(ValueError, match="saw a batch of 3; the state is of 2 sequences"):
        model.resume(tokens_of(3, 1), model.init_state(2))
    with pytest.raises(ValueError, match=r"token: saw shape \(2, 1\)"):
        model.step(tokens_of(2, 1), model.init_state(2))
    with pytest.raises(ValueError, match="batch: saw 0"):
        model.init_state(0)


@every_arch
@pytest.mark.parametrize(
    ("options", "said"),
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
def test_bad_options_are_refused(arch, options, said):
    with pytest.raises(ValueError, match=said):
        build(arch, **options)


@pytest.mark.parametrize("arch", [*RECURRENT, "mamba"])
@pytest.mark.parametrize("width", [1, 5, -2])
def test_a_convolution_is_2_to_4_wide_or_absent(arch, width):
    with pytest.raises(ValueError, match=f"conv_width: saw {width}; it must be 0, 2, 3 or 4"):
        build(arch, conv_width=width)


def test_unknown_architectures_are_refused():
    with pytest.raises(ValueError, match="unknown architecture 'mmba'; did you mean 'mamba'"):
        build("mmba")
    assert nearest_name("lstm", models.names()) == "; did you mean 'minlstm'?"


def test_an_option_of_one_architecture_is_not_another_s():
    assert build("mamba", state_dim=8).config.state_dim == 8
    with pytest.raises(ValueError, match="unknown parameter 'state_dim'"):
        build("transformer", state_dim=8)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without fused kernels")
def test_fused_kernels_that_are_not_there_are_refused_at_once():
    with pytest.raises(ValueError, match="kernels: saw 'fused', but these do not import"):
        build("mamba", kernels="fused")


def test_a_hybrid_has_the_layers_of_its_pattern():
    model = build("hybrid", pattern="mamba,mamba,transformer", layers=6, state_dim=8, rotary_base=50.0)
    kinds = [type(block.mixer).__module__.rsplit(".", 1)[1] for block in model.blocks]
    assert kinds == ["mamba", "mamba", "transformer"] * 2
    assert [block.mlp is None for block in model.blocks] == [True, True, False] * 2  # each as it comes by itself
    assert model.blocks[0].mixer.parts[1] == 8
    assert models.configure("hybrid", vocab_size=3, pattern=["hawk", "mamba"]).layers == 2
    assert {block.mixer.chunk for block in build("hybrid", pattern="mamba, mamba", chunk=3).blocks} == {3}


@pytest.mark.parametrize(
    ("options", "said"),
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
def test_bad_patterns_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        build("hybrid", **options)


def test_a_pattern_is_for_hybrids():
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


def test_an_architecture_is_registered_by_being_there(sixth, small):
    """With a forward alone it trains, matches, steps, generates and joins hybrids; it just can't show its mixing."""
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


def test_a_mixer_that_does_nothing_is_refused():
    with pytest.raises(TypeError, match="defines neither forward"):
        type("Mixer", (models.mixer.SequenceMixer,), {})


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@every_variant
def test_the_gpu_agrees(variant):
    model, tokens = varied(variant), tokens_of(4, 50)
    expected = model.nll(tokens)
    assert_close(model.cuda().nll(tokens.cuda()).cpu(), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@every_arch
def test_fused_and_torch_kernels_agree(arch):
    pytest.importorskip("mamba_ssm", reason="needs mamba-ssm and causal-conv1d")
    tokens, found = tokens_of(4, 100).cuda(), []
    for kernels in ("fused", "torch"):
        model = build(arch, dim=128, kernels=kernels).cuda()
        loss = model.nll(tokens)
        found.append([loss, *torch.autograd.grad(loss.mean(), list(model.parameters()))])
    for fused, plain in zip(*found, strict=True):
        assert_close(fused, plain, rtol=2e-2, atol=2e-2 * plain.abs().max().item())
