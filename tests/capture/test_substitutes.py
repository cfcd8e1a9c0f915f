"""Functions that the tracer freezes, or that have no ONNX form, are written with others."""

import pytest
import torch
from torch import nn
from torch.nn import functional

SERIES = "x:float32[batch,time,5]"


class Calls(nn.Module):
    """forward is the function given."""

    def __init__(self, function, **parts):
        super().__init__()
        self.function = function
        self.rnn = nn.GRU(5, 8, batch_first=True)
        self.register_buffer("flag", torch.tensor(1))
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, *inputs):
        return self.function(self, *inputs)


def test_a_branch_on_a_constant(check):
    module = Calls(lambda m, x: m.rnn(x)[0] if m.flag.item() > 0 else x)
    check(module, SERIES, engines=["onnxruntime"], sizes=[(1, 1), (3, 7)])


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_bags_of_tokens(check, mode):
    bag = Calls(lambda m, tokens: m.bag(tokens), bag=nn.EmbeddingBag(10, 5, mode=mode))
    check(bag, "tokens:int64[batch,time]", sizes=[(1, 1), (3, 7)])


def test_pooling_and_attention_without_heads(check):
    def forward(m, x):
        y = functional.max_pool1d(x.transpose(1, 2), 3, stride=1, padding=1).transpose(1, 2)
        return functional.scaled_dot_product_attention(y, x, x, is_causal=True)

    check(Calls(forward), SERIES, engines=["onnxruntime"], sizes=[(1, 1), (3, 7)])


def test_what_the_exporter_would_freeze_drop_or_refuse(check):
    def forward(m, x):
        axes = torch.arange(1, x.dim()).tolist()
        pooled = functional.adaptive_avg_pool2d(x.unsqueeze(1), (1, None)).squeeze(2).squeeze(2)
        blank = (x * 0) / (x.sum(axes, keepdim=True) * 0 + 1e-8)
        return pooled, functional.adaptive_max_pool1d(x, 1), blank, functional.logsigmoid(x * 1000)

    check(Calls(forward), SERIES, engines=["onnxruntime"], sizes=[(1, 1), (3, 7)])


def test_operators_that_are_written_with_others_or_left_out(check):
    def forward(m, x, lengths):
        y, _ = m.rnn(x)
        longest = lengths.max().item()
        moved = y.movedim(1, 0).movedim(-1, 0).movedim(0, -2)
        mask = torch.arange(x.shape[1]) < lengths[:, None]
        return moved, y.narrow(1, 0, longest), lengths.long(), x.to(torch.float64).float() * mask.float()[..., None]

    check(Calls(forward), SERIES, "lengths:int64[batch]", engines=["onnxruntime"], sizes=[(1, 1), (3, 7)])


def test_a_forward_that_was_bound_before_the_trace(check, ops):
    class Bound(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = nn.LSTM(5, 8, 2, batch_first=True, bidirectional=True)
            self.rnn.forward = self.rnn.forward  # type: ignore[method-assign]

        def forward(self, x):
            return self.rnn(x)[0]

    module = Bound()
    captured = check(module, SERIES, engines=["onnxruntime"], sizes=[(1, 1), (3, 7)])
    assert ops(captured).count("LSTM") == 2


@pytest.mark.slow
@pytest.mark.parametrize("dim", [1, -1])
def test_cumulative_operators_without_an_onnx_form(check, dim):
    check(Calls(lambda m, x: (torch.logcumsumexp(20 * x, dim) / 20, x.sigmoid().cumprod(dim=dim))), SERIES)


def test_logcumsumexp_of_no_likelihood_is_minus_infinity(check):
    """The logarithm of a weight of 0, which sums count as nothing."""
    check(Calls(lambda m, x: x.relu().log().logcumsumexp(1).isinf().to(x.dtype)), SERIES)


def test_a_range_of_a_size_is_an_index(check):
    def forward(m, x, lengths):
        y = m.rnn(x)[0]
        steps = range(x.size(1), 0, -1)
        assert isinstance(steps, range)
        return y[range(len(y)), lengths - 1], y * torch.tensor(steps)[:, None] / 10, sum(range(3)) * y

    check(Calls(forward), SERIES, "lengths:int64[batch]", engines=["onnxruntime"], sizes=[(1, 1), (3, 7)])
