"""Every architecture and its options: causality, states, fast paths, and tokens that are refused."""

import pytest
import torch
from support.architectures import VOCAB, build, every_arch, every_variant, tokens_of, varied
from torch.testing import assert_close

from n2n import models
from n2n.models import convolution, ops, recurrence
from n2n.models.architectures import mamba


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
