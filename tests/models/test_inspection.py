"""Looking inside: matrices that are what the mixer does, and the stream between layers."""

import pytest
import torch
from torch.testing import assert_close

from n2n import models

VOCAB = 7
PATTERN = "mamba,hawk,transformer,mingru,minlstm"


def build(arch: str, **options) -> torch.nn.Module:
    return models.build(arch, vocab_size=VOCAB, **{"dim": 24, "layers": 2, "heads": 2, **options})


def tokens_of(batch: int, length: int) -> torch.Tensor:
    return torch.randint(VOCAB, (batch, length), generator=torch.Generator().manual_seed(0))


every_arch = pytest.mark.parametrize("arch", models.names())


@every_arch
@pytest.mark.parametrize("options", [{}, {"mlp_ratio": 0, "heads": 1}, {"mlp_ratio": 1.0, "heads": 4}])
def test_exact_matrices_times_the_values_give_the_mixer_s_output(arch, options):
    model = build(arch, **options)
    for block, stream in zip(model.blocks, model.inspect(tokens_of(3, 40)).residual.unbind(1), strict=False):
        normed = block.mixer_norm(stream)
        mixing = block.mixer.mixing(normed)
        assert (mixing.matrix.triu(1) == 0).all()
        assert_close(mixing.output, block.mixer(normed), rtol=0, atol=1e-4)


@pytest.mark.parametrize("arch", ["hawk", "mingru", "minlstm"])
def test_the_values_through_the_matrices_are_the_recurrence(arch):
    """Without the class's own ``leave``: h from the matrices equals h from the gates, a token at a time."""
    mixer, x = build(arch).blocks[0].mixer.double(), torch.randn(2, 15, 24, dtype=torch.float64)
    gates = mixer.gates(mixer.conv(mixer.enter(x)[0], None)[0])
    h, expected = 0.0, []
    for decay, weight, value in zip(*(gate.unbind(1) for gate in gates), strict=True):
        h = decay * h + weight * value
        expected.append(h)
    matrix, values, _ = mixer.mixing(x)
    assert_close((matrix @ values).squeeze(-1).transpose(1, 2), torch.stack(expected, dim=1), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("arch", ["hawk", "mingru", "minlstm"])
def test_a_head_shows_the_mean_of_its_channels(arch):
    model = build(arch, heads=4)
    found = model.inspect(tokens_of(2, 12))
    normed = model.blocks[0].mixer_norm(found.residual[:, 0])
    channels = model.blocks[0].mixer.mixing(normed).matrix.abs()  # (batch, hidden, T, T)
    heads = torch.stack([part.mean(1) for part in channels.chunk(4, dim=1)], dim=1)
    assert_close(found.mixing[:, 0], heads)


def test_attention_is_a_law_over_earlier_tokens():
    attention = build("transformer").inspect(tokens_of(2, 12)).mixing
    assert_close(attention.sum(-1), torch.ones(2, 2, 2, 12))


def test_a_minlstm_s_shares_sum_to_what_it_has_taken_in():
    """f' + i' = 1, so the shares in h_t sum to 1 - f'_1 .. f'_t."""
    mixer, x = build("minlstm").blocks[0].mixer, torch.randn(2, 12, 24)
    decay = mixer.gates(mixer.conv(x, None)[0]).decay
    assert_close(mixer.mixing(x).matrix.sum(-1), 1 - decay.cumprod(1).transpose(1, 2), rtol=1e-4, atol=1e-5)


def test_the_stream_is_what_the_blocks_read_and_write():
    model, tokens = build("hybrid", pattern=PATTERN, layers=5), tokens_of(2, 9)
    found = model.inspect(tokens)
    assert found.mixing.shape == (2, 5, 2, 9, 9)
    assert_close(found.logits, model(tokens))
    x = model.embedding(tokens)
    x[:, 0] = x[:, 0] + model.start
    for block, stream in zip(model.blocks, found.residual.unbind(1), strict=False):
        assert_close(stream, x)
        x = block(x)
    assert_close(found.residual[:, -1], x)
    assert_close(model.head(model.norm(x)), found.logits)


def test_what_is_not_asked_for_is_not_there():
    model, tokens = build("mamba"), tokens_of(1, 5)
    assert model.inspect(tokens, mixing=False).mixing is None
    assert model.inspect(tokens, residual=False).residual is None


def test_the_model_is_left_as_it_was():
    model, tokens = build("mamba", dropout=0.5), tokens_of(1, 5)
    assert_close(model.inspect(tokens).logits, model.inspect(tokens).logits)
    assert model.training


def test_bad_tokens_are_refused():
    with pytest.raises(ValueError, match="saw 9; the vocabulary is 0 to 6"):
        build("mamba").inspect(torch.tensor([[9]]))
