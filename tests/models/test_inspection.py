"""Inspection: mixing matrices that reproduce the mixer's output, and the residual stream between layers."""

import pytest
import torch
from support.architectures import VOCAB, build, every_arch, tokens_of
from torch.testing import assert_close

PATTERN = "mamba,hawk,transformer,mingru,minlstm"


@every_arch
@pytest.mark.parametrize("options", [{}, {"mlp_ratio": 0, "heads": 1}, {"mlp_ratio": 1.0, "heads": 4}])
def test_matrices_times_values_give_the_mixer_s_output(arch, options):
    model = build(arch, **options)
    for block, stream in zip(model.blocks, model.inspect(tokens_of(3, 40)).residual.unbind(1), strict=False):
        normed = block.mixer_norm(stream)
        mixing = block.mixer.mixing(normed)
        assert (mixing.matrix.triu(1) == 0).all()
        assert_close(mixing.output, block.mixer(normed), rtol=0, atol=1e-4)


@pytest.mark.parametrize("arch", ["hawk", "mingru", "minlstm"])
def test_matrices_times_values_equal_the_recurrence(arch):
    """Before ``leave``, h from the matrices equals h from the gates, computed one token at a time."""
    mixer, x = build(arch).blocks[0].mixer.double(), torch.randn(2, 15, 16, dtype=torch.float64)
    gates = mixer.gates(mixer.conv(mixer.enter(x)[0], None)[0])
    h, expected = 0.0, []
    for decay, weight, value in zip(*(gate.unbind(1) for gate in gates), strict=True):
        h = decay * h + weight * value
        expected.append(h)
    matrix, values, _ = mixer.mixing(x)
    assert_close((matrix @ values).squeeze(-1).transpose(1, 2), torch.stack(expected, dim=1), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("arch", ["hawk", "mingru", "minlstm"])
def test_a_head_s_matrix_is_the_mean_of_its_channels(arch):
    model = build(arch, heads=4)
    inspection = model.inspect(tokens_of(2, 12))
    normed = model.blocks[0].mixer_norm(inspection.residual[:, 0])
    channels = model.blocks[0].mixer.mixing(normed).matrix.abs()  # (batch, hidden, T, T)
    heads = torch.stack([part.mean(1) for part in channels.chunk(4, dim=1)], dim=1)
    assert_close(inspection.mixing[:, 0], heads)


def test_attention_weights_sum_to_one():
    attention = build("transformer").inspect(tokens_of(2, 12)).mixing
    assert_close(attention.sum(-1), torch.ones(2, 2, 2, 12))


def test_minlstm_weights_sum_to_one_minus_the_total_decay():
    """Because f' + i' = 1, the weights in h_t sum to 1 - f'_1 .. f'_t."""
    mixer, x = build("minlstm").blocks[0].mixer, torch.randn(2, 12, 16)
    decay = mixer.gates(mixer.conv(x, None)[0]).decay
    assert_close(mixer.mixing(x).matrix.sum(-1), 1 - decay.cumprod(1).transpose(1, 2), rtol=1e-4, atol=1e-5)


def test_the_residual_stream_is_the_blocks_input_and_output():
    model, tokens = build("hybrid", pattern=PATTERN, layers=5), tokens_of(2, 9)
    inspection = model.inspect(tokens)
    assert inspection.mixing.shape == (2, 5, 2, 9, 9)
    assert_close(inspection.logits, model(tokens))
    x = model.embedding(tokens)
    x[:, 0] = x[:, 0] + model.start
    for block, stream in zip(model.blocks, inspection.residual.unbind(1), strict=False):
        assert_close(stream, x)
        x = block(x)
    assert_close(inspection.residual[:, -1], x)
    assert_close(model.head(model.norm(x)), inspection.logits)


def test_unrequested_parts_are_none():
    model, tokens = build("mamba"), tokens_of(1, 5)
    assert model.inspect(tokens, mixing=False).mixing is None
    assert model.inspect(tokens, residual=False).residual is None


def test_inspection_leaves_the_model_unchanged():
    model, tokens = build("mamba", dropout=0.5), tokens_of(1, 5)
    assert_close(model.inspect(tokens).logits, model.inspect(tokens).logits)
    assert model.training


def test_bad_tokens_are_refused():
    with pytest.raises(ValueError, match="saw 11; the vocabulary is 0 to 10"):
        build("mamba").inspect(torch.tensor([[VOCAB]]))
