"""Every architecture with its options: causality, states, fast paths, and refused tokens."""

import pytest
import torch
from support.architectures import VOCAB, build, build_variant, every_arch, every_variant, tokens_of
from torch.testing import assert_close

from n2n import models
from n2n.models import convolution, ops, recurrence
from n2n.models.architectures import mamba


@every_variant
def test_logits_are_causal(variant):
    """Changing token s changes the logits at s, and none before s."""
    model, tokens = build_variant(variant), tokens_of(2, 24)
    before = model(tokens)
    assert before.shape == (2, 24, VOCAB)
    for s in (0, 7, 23):
        changed = tokens.clone()
        changed[:, s] = (changed[:, s] + 1) % VOCAB
        after = model(changed)
        assert_close(after[:, :s], before[:, :s], rtol=0, atol=1e-7)
        assert not torch.allclose(after[:, s], before[:, s])


@every_variant
def test_the_number_of_repetitions_of_a_token_is_distinguished(variant):
    """Without the start vector, attention over relative positions cannot distinguish the contexts v, vv and vvv."""
    model, tokens = build_variant(variant), torch.full((1, 8), 3)
    distances = torch.cdist(model(tokens)[0], model(tokens)[0])  # of the logits after v, vv, vvv, ..
    assert (distances[~torch.eye(8, dtype=torch.bool)] > 1e-3).all()


@every_variant
def test_the_start_vector_enters_only_at_the_first_token(variant):
    """In ``forward``, ``resume`` and ``step``, another start vector changes only the input at the first token."""
    model, tokens = build_variant(variant), tokens_of(2, 9)
    inputs = []
    model.blocks[0].register_forward_pre_hook(lambda _, arguments: inputs.append(arguments[0]))
    resume = model.blocks[0].resume
    model.blocks[0].resume = lambda x, state: inputs.append(x) or resume(x, state)

    def streams() -> list[torch.Tensor]:
        """Return the first block's input ``(batch, T, dim)`` for each way of reading the tokens."""
        streams_by_pieces = []
        for pieces in ([9], [4, 5], [1] * 9):
            inputs.clear()
            state = model.init_state(2)
            for piece in tokens.split(pieces, dim=1):
                _, state = model.step(piece[:, 0], state) if piece.shape[1] == 1 else model.resume(piece, state)
            streams_by_pieces.append(torch.cat(inputs, dim=1))
        inputs.clear()
        model(tokens)
        return [*streams_by_pieces, *inputs]

    with torch.no_grad():
        before = streams()
        model.start += 1.0
        for one, other in zip(before, streams(), strict=True):
            assert_close(other[:, 0] - one[:, 0], torch.ones(2, 16))
            assert torch.equal(other[:, 1:], one[:, 1:])


def test_all_architectures_have_the_same_parameters_outside_the_mixers():
    """Embedding, start vector, norm and head have the same number of parameters in all architectures."""
    tables = [models.describe(build(arch), length=8)["parameters"] for arch in models.names()]
    for name in ("embedding", "start", "norm", "head"):
        assert len({table[name] for table in tables}) == 1
    assert tables[0]["start"] == 16


@every_variant
def test_the_last_logits_depend_on_every_token(variant):
    """The gradient of the last logits is not zero at any position."""
    model, tokens = build_variant(variant), tokens_of(1, 20)
    embedded = []
    model.embedding.register_forward_hook(lambda *call: embedded.append(call[-1].requires_grad_()) or call[-1])
    (gradient,) = torch.autograd.grad(model(tokens)[0, -1, 3], model_input := embedded[0])
    assert model_input.shape == (1, 20, 16)
    assert (gradient.abs().sum(-1) > 0).all()


@every_variant
def test_sequences_of_a_batch_are_independent(variant):
    model, tokens = build_variant(variant), tokens_of(5, 12)
    assert_close(model(tokens)[3:4], model(tokens[3:4]), rtol=1e-5, atol=1e-6)


@every_variant
@torch.no_grad()
def test_steps_equal_the_parallel_pass(variant):
    model, tokens = build_variant(variant), tokens_of(3, 70)
    expected = model(tokens)
    state, logits = model.init_state(3), []
    for token in tokens.unbind(1):
        next_logits, state = model.step(token, state)
        logits.append(next_logits)
    assert_close(torch.stack(logits, dim=1), expected, rtol=0, atol=1e-5)


@every_variant
@torch.no_grad()
@pytest.mark.parametrize("first", [1, 2, 5, 40])
def test_two_pieces_equal_the_parallel_pass(variant, first):
    model, tokens = build_variant(variant), tokens_of(3, 47)
    before, state = model.resume(tokens[:, :first], model.init_state(3))
    copies = [value.clone() for value in tensors_of(state.mixers)]
    after, last = model.resume(tokens[:, first:], state)
    assert_close(torch.cat([before, after], dim=1), model(tokens), rtol=0, atol=1e-5)
    assert last.position == 47
    assert all(torch.equal(one, other) for one, other in zip(copies, tensors_of(state.mixers), strict=True))


@every_variant
def test_gradients_pass_through_a_state(variant):
    """In float64, a loss over two pieces has the same gradients as the loss over the whole sequence."""
    model, tokens = build_variant(variant).double(), tokens_of(2, 20)
    before, state = model.resume(tokens[:, :9], model.init_state(2))
    after, _ = model.resume(tokens[:, 9:], state)
    parameters = list(model.parameters())
    weight = torch.linspace(-1, 1, 2 * 20 * VOCAB, dtype=torch.float64).view(2, 20, VOCAB)
    gradients = torch.autograd.grad((torch.cat([before, after], dim=1) * weight).sum(), parameters)
    for one, other in zip(gradients, torch.autograd.grad((model(tokens) * weight).sum(), parameters), strict=True):
        assert_close(one, other, rtol=1e-4, atol=1e-5)  # rotary angles are float32


def tensors_of(state) -> list[torch.Tensor]:
    if isinstance(state, torch.Tensor):
        return [state]
    return [tensor for part in state or () for tensor in tensors_of(part)]


@torch.no_grad()
@every_arch
def test_only_the_state_of_a_transformer_grows(arch):
    model, tokens = build(arch), tokens_of(2, 60)
    sizes = []
    for length in (10, 60):
        _, state = model.resume(tokens[:, :length], model.init_state(2))
        sizes.append(sum(tensor.numel() for tensor in tensors_of(state.mixers)))
    assert sizes[1] == (6 * sizes[0] if arch == "transformer" else sizes[0])


@every_variant
def test_parallel_equals_sequential_in_values_and_gradients(variant, monkeypatch):
    """In float64, the fast paths and their sequential twins give the same loss and gradients of the model."""
    model, tokens = build_variant(variant).double(), tokens_of(2, 30)

    def outcome() -> list[torch.Tensor]:
        loss = model.nll(tokens)
        return [loss, *torch.autograd.grad(loss.mean(), list(model.parameters()))]

    parallel, calls = outcome(), []

    def twin(function):
        return lambda *args, **options: calls.append(function) or function(*args, **options)

    def without_chunks(x, step, rate, b, c, chunk, state, kernels):
        return ops.ssd_sequential(x, step, rate, b, c, state)

    monkeypatch.setattr(mamba, "ssd", twin(without_chunks))
    monkeypatch.setattr(recurrence, "linear_scan", twin(ops.linear_scan_sequential))
    monkeypatch.setattr(convolution, "causal_conv1d", twin(lambda *args: ops.causal_conv1d_sequential(*args[:4])))
    for fast, slow in zip(parallel, outcome(), strict=True):
        assert_close(fast, slow, rtol=1e-8, atol=1e-10)
    assert calls or variant.startswith("transformer")


@every_variant
def test_bfloat16_is_close_to_float32(variant):
    model, tokens = build_variant(variant, dim=32), tokens_of(4, 40)
    expected = model.nll(tokens)
    with torch.autocast("cpu", torch.bfloat16):
        nll = model.nll(tokens)
    nll.mean().backward()
    assert_close(nll, expected, rtol=0, atol=0.1)
    assert abs((nll - expected).mean().item()) < 0.01
    for parameter in model.parameters():
        assert parameter.grad.dtype == torch.float32
        assert torch.isfinite(parameter.grad).all()


@every_arch
def test_bad_tokens_are_refused(arch):
    model = build(arch, max_length=10)
    model(tokens_of(1, 10))
    for tokens, message in [
        (tokens_of(1, 11), "saw 11 of them; max_length is 10"),
        (tokens_of(1, 10)[0], r"saw shape \(10,\)"),
        (tokens_of(1, 10)[:, :0], r"saw shape \(1, 0\)"),
        (torch.tensor([[1, VOCAB]]), f"saw {VOCAB}; the vocabulary is 0 to {VOCAB - 1}"),
        (torch.tensor([[1, -1]]), "saw -1; the vocabulary"),
        (torch.ones(1, 3), "saw Tensor of type float32"),
    ]:
        with pytest.raises(ValueError, match=message):
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
def test_cpu_and_gpu_agree(variant):
    model, tokens = build_variant(variant), tokens_of(4, 50)
    expected = model.nll(tokens)
    assert_close(model.cuda().nll(tokens.cuda()).cpu(), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@every_arch
def test_fused_and_torch_kernels_agree(arch):
    pytest.importorskip("mamba_ssm", reason="needs mamba-ssm and causal-conv1d")
    tokens, outcomes = tokens_of(4, 100).cuda(), []
    for kernels in ("fused", "torch"):
        model = build(arch, dim=128, kernels=kernels).cuda()
        loss = model.nll(tokens)
        outcomes.append([loss, *torch.autograd.grad(loss.mean(), list(model.parameters()))])
    for fused, plain in zip(*outcomes, strict=True):
        assert_close(fused, plain, rtol=2e-2, atol=2e-2 * plain.abs().max().item())
