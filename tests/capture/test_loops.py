"""Python loops over cells run for any number of steps, or are refused with the place and the reason."""

from importlib.metadata import version

import pytest
import torch
from packaging.version import Version
from torch import nn

from rnnexport.capture import capture, parse_input_spec
from rnnexport.errors import ExportError

SERIES = "x:float32[batch,time,5]"
NEWEST = Version(version("openvino")) >= Version("2026.3")
RUN_SCANS = ["onnxruntime", "openvino"] if NEWEST else ["onnxruntime"]
"""OpenVINO before 2026.3 fails on a Scan whose body normalises."""


class StackedSteps(nn.Module):
    """The loop of the PyTorch documentation: a list of h, stacked."""

    def __init__(self):
        super().__init__()
        self.cell = nn.LSTMCell(5, 8)

    def forward(self, x):
        h, c = x.new_zeros(x.shape[0], 8), x.new_zeros(x.shape[0], 8)
        steps = []
        for t in range(x.shape[1]):
            h, c = self.cell(x[:, t], (h, c))
            steps.append(h)
        return torch.stack(steps, dim=1), c


class TwoCellsAndHead(nn.Module):
    """Two cells per step with a normalisation between them, and a head on each step."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.LSTMCell(5, 8), nn.GRUCell(8, 4)
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(4, 2)

    def forward(self, x):
        first, second, steps = None, None, []
        for step in x.unbind(1):
            first = self.first(step, first)
            second = self.second(torch.relu(self.norm(first[0])), second)
            steps.append(self.head(second))
        return torch.stack(steps, 1)


class Backwards(nn.Module):
    """Steps in reverse order, without bias; only the last state counts."""

    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(5, 8, bias=False)

    def forward(self, x):
        h = None
        for t in reversed(range(x.shape[1])):
            h = self.cell(x[:, t, :], h)
        return h


class WrittenInPlace(nn.Module):
    """Each step fills its place in an output made before the loop."""

    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(5, 8)

    def forward(self, x):
        out = x.new_zeros(x.shape[0], x.shape[1], 8)
        h = x.new_zeros(x.shape[0], 8)
        for t in range(x.size(1)):
            h = self.cell(x[:, t], h)
            out[:, t] = h
        return out


class Bidirectional(nn.Module):
    """Two loops, one in each direction, joined."""

    def __init__(self):
        super().__init__()
        self.forwards, self.backwards = nn.GRUCell(5, 8), nn.GRUCell(5, 8)

    def forward(self, x):
        first, second = [], []
        h = b = x.new_zeros(x.shape[0], 8)
        for t in range(x.shape[1]):
            h = self.forwards(x[:, t], h)
            first.append(h)
        for t in range(x.shape[1] - 1, -1, -1):
            b = self.backwards(x[:, t], b)
            second.append(b)
        return torch.cat([torch.stack(first, 1), torch.stack(second[::-1], 1)], -1)


MODULES = {
    "stacked": StackedSteps,
    "two-cells": TwoCellsAndHead,
    "backwards": Backwards,
    "in-place": WrittenInPlace,
    "bidirectional": Bidirectional,
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name == "in-place")) for name in MODULES]
)
def test_a_loop_over_a_cell_becomes_fused_nodes_for_any_number_of_steps(name, check, ops):
    captured = check(MODULES[name](), SERIES)
    fused = [op for op in ops(captured) if op in ("LSTM", "GRU")]
    assert len(fused) == (2 if name in ("two-cells", "bidirectional") else 1)
    assert not {"Loop", "Scan"} & set(ops(captured))


class Decoder(nn.Module):
    """What a step gives is what the next one takes."""

    def __init__(self):
        super().__init__()
        self.cell, self.head = nn.GRUCell(5, 8), nn.Linear(8, 5)

    def forward(self, x):
        step, h, steps = x[:, 0], x.new_zeros(x.shape[0], 8), []
        for _ in range(x.shape[1]):
            h = self.cell(step, h)
            step = self.head(h)
            steps.append(step)
        return torch.stack(steps, 1)


class DecaysState(nn.Module):
    """The state is changed between two steps."""

    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(5, 8)

    def forward(self, x):
        h = x.new_zeros(x.shape[0], 8)
        for t in range(x.shape[1]):
            h = 0.9 * self.cell(x[:, t], h)
        return h


class EverySecondStep(nn.Module):
    """Which cell runs depends on the step's number."""

    def __init__(self):
        super().__init__()
        self.even, self.odd = nn.GRUCell(5, 8), nn.GRUCell(5, 8)

    def forward(self, x):
        h = x.new_zeros(x.shape[0], 8)
        for t in range(x.shape[1]):
            h = (self.even if t % 2 == 0 else self.odd)(x[:, t], h)
        return h


class NormedCell(nn.Module):
    """A cell of the user's own, with normalised gates, and a mask that keeps the state."""

    def __init__(self):
        super().__init__()
        self.from_x, self.from_h = nn.Linear(5, 32, bias=False), nn.Linear(8, 32, bias=False)
        self.norm_x, self.norm_h, self.norm_c = nn.LayerNorm(32), nn.LayerNorm(32), nn.LayerNorm(8)

    def forward(self, x):
        h, c, steps = x.new_zeros(x.size(0), 8), x.new_zeros(x.size(0), 8), []
        for t in range(x.size(1)):
            i, f, g, o = (self.norm_x(self.from_x(x[:, t])) + self.norm_h(self.from_h(h))).chunk(4, 1)
            new_c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            new_h = torch.sigmoid(o) * torch.tanh(self.norm_c(new_c))
            kept = (x[:, t, :1] > 0).to(x.dtype)
            h, c = kept * new_h + (1 - kept) * h, kept * new_c + (1 - kept) * c
            steps.append(h)
        return torch.stack(steps, 1), (h, c)


class ResetByEpisode(nn.Module):
    """An LSTM called step by step, whose states are cleared where an episode begins."""

    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(5, 8, num_layers=2)

    def forward(self, x):
        done = (x[..., 0] > 1).to(x.dtype).t()
        h, c, steps = x.new_zeros(2, x.shape[0], 8), x.new_zeros(2, x.shape[0], 8), []
        for features, ended in zip(x.transpose(0, 1), done, strict=True):
            kept = (1 - ended).view(1, -1, 1)
            y, (h, c) = self.rnn(features.unsqueeze(0), (kept * h, kept * c))
            steps.append(y)
        return torch.cat(steps).transpose(0, 1), h


class LightGru(nn.Module):
    """A first state of one row for all, and operators that change what a step computed in place."""

    def __init__(self):
        super().__init__()
        self.from_x, self.from_h = nn.Linear(5, 16), nn.Linear(8, 16, bias=False)
        self.register_buffer("first", torch.zeros(1, 8))

    def forward(self, x):
        h, steps = self.first, []
        for t in range(x.shape[1]):
            a, z = (self.from_x(x[:, t]) + self.from_h(h)).chunk(2, 1)
            z = torch.sigmoid(z)
            new = torch.nn.functional.relu(a * 1.0, inplace=True)
            new.data.masked_fill_(new > 3, 0.5)
            h = z * h + (1 - z) * new
            steps.append(h)
        return torch.stack(steps, 1)


class CountsSteps(nn.Module):
    """A step keeps the states of series that have ended by its own number."""

    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(5, 8)

    def forward(self, x):
        ends = 1 + (x[:, 0, 0] > 0).long() * 4
        h = x.new_zeros(x.shape[0], 8)
        for t in range(x.shape[1]):
            h = torch.where((t < ends).unsqueeze(1), self.cell(x[:, t], h), h)
        return h


class ReadsItsOutput(nn.Module):
    """From the last step to the first, each writes into the output and the next one reads it there."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.LSTM(5, 8, batch_first=True), nn.LSTM(5, 8, batch_first=True)
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        _, state = self.encoder(x)
        output = torch.zeros_like(x)
        for t in reversed(range(x.shape[1])):
            output[:, t, :] = self.head(state[0][-1])
            _, state = self.decoder(output[:, t].unsqueeze(1), state)
        return output


SCANS = {
    "a first state of one row, and changes in place": LightGru,
    "a step computes with its number": CountsSteps,
    "a step reads what it wrote into the output": ReadsItsOutput,
    "a step is fed what the last one gave": Decoder,
    "the state decays": DecaysState,
    "a cell with normalised gates and a mask": NormedCell,
    "states are cleared": ResetByEpisode,
}


FEW = {"a step computes with its number"}


@pytest.mark.parametrize(
    "name", [name if name in FEW else pytest.param(name, marks=pytest.mark.slow) for name in SCANS]
)
def test_a_loop_whose_steps_depend_on_each_other_becomes_one_scan(name, check, ops):
    captured = check(SCANS[name](), SERIES, sizes=[(1, 1), (3, 7), (2, 13)])
    assert ops(captured).count("Scan") == 1


@pytest.mark.slow
def test_a_loop_beside_a_layer_is_compared_with_its_steps(check, ops):
    class Both(DecaysState):
        def __init__(self):
            super().__init__()
            self.rnn = nn.LSTM(5, 5, batch_first=True, bidirectional=True, proj_size=2)
            self.head = nn.Linear(4, 5)

        def forward(self, x):
            return super().forward(self.head(self.rnn(x)[0]))

    captured = check(Both(), SERIES, sizes=[(1, 1), (3, 7)])
    assert {"LSTM", "Scan"} <= set(ops(captured))


def test_a_loop_whose_steps_differ_is_refused_with_its_place():
    with pytest.raises(ExportError, match=r"test_loops\.py:\d+: forward loops over dimension 'time'.*repeat"):
        capture(EverySecondStep(), [parse_input_spec(SERIES)])


class Continues(nn.Module):
    """After the series' end, the last output is fed back for three more steps, into the same list."""

    def __init__(self):
        super().__init__()
        self.cell, self.head = nn.LSTMCell(1, 8), nn.Linear(8, 1)

    def forward(self, x):
        state, steps = None, [x[:, 0, :1]]
        for t in range(x.shape[1]):
            state = self.cell(x[:, t, :1], state)
            steps.append(self.head(state[0]))
        for _ in range(3):
            state = self.cell(steps[-1], state)
            steps.append(self.head(state[0]))
        return torch.cat(steps, 1)


class AfterTheFirst(nn.Module):
    """The first place of the output stays as it was made; the steps fill the others."""

    def __init__(self):
        super().__init__()
        self.cell, self.head = nn.GRUCell(5, 8), nn.Linear(8, 3)

    def forward(self, x):
        h, output = x.new_zeros(x.shape[0], 8), x.new_ones(x.shape[1], x.shape[0], 3)
        for t in range(1, x.shape[1]):
            h = self.cell(x[:, t - 1], h)
            output[t] = self.head(h)
        return output


@pytest.mark.slow
def test_steps_before_and_after_a_loop_join_its_results(check, ops):
    captured = check(Continues(), SERIES, sizes=[(1, 1), (3, 7), (2, 13)])
    assert ops(captured).count("LSTM") == 1


@pytest.mark.slow
def test_a_loop_from_the_second_step_on_needs_two_steps(check):
    captured = check(AfterTheFirst(), SERIES, sizes=[(1, 2), (3, 7), (2, 13)])
    assert captured.ranges["time"].minimum == 2
    assert "the graph takes time >= 2: its loop has no step at smaller sizes" in captured.notes


FRONT_ENDS = {
    "every second step": lambda x: x[:, ::2],
    "without padding": lambda x: nn.functional.avg_pool1d(x.transpose(1, 2), 5, 1).transpose(1, 2),
    "with a stride": lambda x: nn.functional.avg_pool1d(x.transpose(1, 2), 3, 2, padding=1).transpose(1, 2),
    "windows": lambda x: x.unfold(1, 6, 4).mean(-1),
}


class AfterAFrontEnd(nn.Module):
    """A loop over what is left of the steps: fewer than there are, at a rate of its own."""

    def __init__(self, front_end, unbound=False):
        super().__init__()
        self.front_end, self.unbound = FRONT_ENDS[front_end], unbound
        self.cell, self.norm = nn.GRUCell(5, 8), nn.LayerNorm(8)

    def forward(self, x):
        whole, x = x, self.front_end(x)
        h, steps = x.new_zeros(x.shape[0], 8), []
        for step in x.unbind(1) if self.unbound else (x[:, t] for t in range(x.size(1))):
            h = self.norm(self.cell(step, h))
            steps.append(h)
        return torch.stack(steps, 1), whole + whole.new_zeros(whole.shape[1], 5)


@pytest.mark.parametrize(
    ("front_end", "unbound", "least"),
    [
        ("every second step", False, 1),
        pytest.param("without padding", True, 5, marks=pytest.mark.slow),
        pytest.param("with a stride", True, 1, marks=pytest.mark.slow),
        ("windows", False, 6),
    ],
)
def test_a_loop_over_what_a_front_end_leaves_runs_for_any_number_of_steps(check, ops, front_end, unbound, least):
    sizes = [(batch, least + more) for batch, more in ((1, 0), (2, 1), (3, 2), (2, 3), (3, 36), (1, 37))]
    captured = check(AfterAFrontEnd(front_end, unbound), SERIES, engines=RUN_SCANS, sizes=sizes)
    assert ops(captured).count("Scan") == 1
    assert captured.ranges["time"].minimum == least


class Peephole(nn.Module):
    """An LSTM written out, whose steps read parts of one parameter."""

    def __init__(self):
        super().__init__()
        self.w, self.u = nn.Parameter(torch.randn(5, 24) / 3), nn.Parameter(torch.randn(6, 24) / 3)
        self.v = nn.Parameter(torch.randn(18) / 3)

    def forward(self, x):
        h, c, steps = x.new_zeros(x.size(0), 6), x.new_zeros(x.size(0), 6), []
        for t in range(x.size(1)):
            gates = x[:, t] @ self.w + h @ self.u
            i, f = gates[:, :6] + c * self.v[:6], gates[:, 6:12] + c * self.v[6:12]
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(gates[:, 12:18])
            h = torch.sigmoid(gates[:, 18:] + c * self.v[12:]) * torch.tanh(c)
            steps.append(h.unsqueeze(0))
        return torch.cat(steps).transpose(0, 1), c


class ThreeCells(nn.Module):
    """As many states, made before the loop, as a short loop has steps."""

    def __init__(self):
        super().__init__()
        self.cells = nn.ModuleList([nn.LSTMCell(5, 6), nn.LSTMCell(6, 6), nn.LSTMCell(6, 6)])

    def forward(self, x):
        states = [(x.new_zeros(x.size(0), 6), x.new_zeros(x.size(0), 6)) for _ in self.cells]
        steps = []
        for t in range(x.size(1)):
            h = x[:, t]
            for place, cell in enumerate(self.cells):
                states[place] = cell(h, states[place])
                h = states[place][0] + (h if place else 0)
            steps.append(h)
        return torch.stack(steps, 1), torch.stack([h for h, _ in states])


class OverAWindow(nn.Module):
    """Each step folds the last three states."""

    def __init__(self):
        super().__init__()
        self.cell, self.fold = nn.GRUCell(5, 4), nn.Conv1d(4, 4, 3)

    def forward(self, x):
        h, window, steps = x.new_zeros(x.size(0), 4), x.new_zeros(x.size(0), 4, 3), []
        for step in x.unbind(1):
            h = self.cell(step, h)
            window = torch.cat([window[..., 1:], h[..., None]], -1)
            steps.append(self.fold(window).squeeze(-1))
        return torch.stack(steps, 1)


class InGroups(nn.Module):
    """A step reshapes its state by the size of the batch, and a range goes backwards."""

    def __init__(self):
        super().__init__()
        self.cell, self.norm = nn.GRUCell(5, 8), nn.LayerNorm(4)

    def forward(self, x):
        batch, steps = x.size(0), range(x.size(1))
        h, found = x.new_zeros(batch, 8), []
        for t in reversed(steps):
            h = self.norm(self.cell(x[:, t], h).view(batch, 2, 4)).view(batch, -1)
            found.append(h)
        return torch.stack(found, 1)


class FromThreeStepsAgo(nn.Module):
    """A step reads what the third step before it computed."""

    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(10, 5)

    def forward(self, x):
        h = x.new_zeros(x.size(0), 5)
        last, steps = [h, h + 1, h + 2], []
        for t in range(x.size(1)):
            h = self.cell(torch.cat([x[:, t], last[0]], -1), h)
            last = [*last[1:], h]
            steps.append(h)
        return torch.stack(steps, 1)


@pytest.mark.parametrize(
    ("module", "node"),
    [
        (Peephole, "Scan"),
        (InGroups, "Scan"),
        pytest.param(OverAWindow, "Scan", marks=pytest.mark.slow),
        pytest.param(ThreeCells, "LSTM", marks=pytest.mark.slow),
        pytest.param(FromThreeStepsAgo, "Scan", marks=pytest.mark.slow),
    ],
)
def test_what_a_step_reads_may_be_a_part_a_list_or_from_long_ago(check, ops, module, node):
    captured = check(module(), SERIES, engines=RUN_SCANS, sizes=[(1, 1), (3, 2), (2, 4), (3, 13)])
    assert ops(captured).count(node) == (3 if node == "LSTM" else 1)


class Copies(nn.Module):
    """The steps of the loop are all alike."""

    def forward(self, x):
        return torch.stack([x.mean(1) for _ in range(x.size(1))], 1)


@pytest.mark.slow
def test_steps_that_all_compute_the_same_are_a_loop(check):
    check(Copies(), SERIES, sizes=[(1, 1), (3, 7)])


class RowByRow(nn.Module):
    """A layer over each row of the batch, and its step where the row ends."""

    def __init__(self, cut=False):
        super().__init__()
        self.rnn, self.cut = nn.LSTM(5, 8, 2, bidirectional=True), cut

    def forward(self, x, lengths):
        ends = []
        for row, length in zip(x, lengths, strict=True):
            steps, _ = self.rnn(row[:length] if self.cut else row)
            ends.append(steps[length - 1])
        return torch.stack(ends)


NUMBERS_OF_TENSORS = pytest.mark.skipif(
    Version(torch.__version__) < Version("2.13"),
    reason="PyTorch before 2.13 does not trace a number from a tensor here",
)


@NUMBERS_OF_TENSORS
def test_a_layer_over_each_row_takes_them_as_one_batch(check, ops):
    captured = check(RowByRow(), SERIES, "lengths:int64[batch]", sizes=[(1, 1), (3, 7)])
    assert ops(captured).count("LSTM") == 2


class StepByStep(nn.Module):
    """A layer over each step, which forgets its state."""

    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(5, 8, 2, batch_first=True)

    def forward(self, x):
        return torch.cat([self.rnn(x[:, t : t + 1])[0] for t in range(x.shape[1])], 1)


@pytest.mark.slow
def test_a_layer_over_each_step_takes_them_as_one_batch(check, ops):
    captured = check(StepByStep(), SERIES, sizes=[(1, 1), (3, 7)])
    assert ops(captured).count("LSTM") == 2


@NUMBERS_OF_TENSORS
def test_rows_that_are_cut_are_refused_with_the_place():
    with pytest.raises(ExportError, match=r"test_loops\.py:\d+: forward loops .*give the lengths to pack_padded"):
        capture(RowByRow(cut=True), [parse_input_spec(SERIES), parse_input_spec("lengths:int64[batch]")])


def test_nested_loops_are_refused_with_the_place():
    class Searches(nn.Module):
        def forward(self, x):
            return torch.stack([torch.stack([step.cumsum(0) for step in row]) for row in x])

    with pytest.raises(ExportError, match=r"test_loops\.py:\d+: .*'time', .* beside a loop over 'batch'.*decoder_step"):
        capture(Searches(), [parse_input_spec(SERIES)])

    class AtMostFive(nn.Module):
        def forward(self, x):
            return sum(x[:, t] for t in range(min(x.size(1), 5)))

    with pytest.raises(ExportError, match=r"test_loops\.py:\d+: forward turns dimension 'time' into a number"):
        capture(AtMostFive(), [parse_input_spec(SERIES)])

    class EverySecondStep(nn.Module):
        def forward(self, x):
            return torch.stack([step * (2 if t % 2 else step) for t, step in enumerate(x.unbind(1))])

    with pytest.raises(ExportError, match=r"test_loops\.py:\d+: forward loops over dimension 'time'"):
        capture(EverySecondStep(), [parse_input_spec(SERIES)])

    class OverRowsAndSteps(nn.Module):
        def forward(self, x):
            return torch.stack([step * 2 for step in x.flatten(0, 1)])

    with pytest.raises(ExportError, match=r"test_loops\.py:\d+: .* follows from dimensions 'batch' and 'time'"):
        capture(OverRowsAndSteps(), [parse_input_spec(SERIES)])

    class Transduces(nn.Module):
        def forward(self, x):
            return torch.stack([sum((step for step in row if step.sum().item() > 0), row[0]) for row in x])

    with pytest.raises(ExportError, match=r"test_loops\.py:\d+: forward depends on the values.*decoder_step"):
        capture(Transduces(), [parse_input_spec(SERIES)])
