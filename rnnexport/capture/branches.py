"""Branches on the values of tensors: `if mask.any():`, `assert (lengths > 0).all()`.

1. Forward is run once for each way that its branches may go, and `torch.where` chooses between the results by the
   conditions: the graph computes every way, and gives the one that the values ask for.
2. A way that ends in an error of the user's own is one that forward refuses. The graph does not check that, and takes
   the other way.
3. An assertion holds.
4. Ways whose results have other shapes, ways on which an operator fails, and too many of them are refused with the
   place.
"""

from __future__ import annotations

import dataclasses
import linecache
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.fx.experimental.proxy_tensor import get_proxy_mode
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode, statically_known_true
from torch.overrides import TorchFunctionMode

from rnnexport.capture.failures import is_user_code, place_of, users_frame, values_error

_MOST_RUNS = 8
"""How often forward is run: with three branches after each other."""

Outputs = dict[str, Tensor]


class Branches(TorchFunctionMode):
    """Runs a forward along every way of its branches.

    While it is the current mode, the truth of a tensor whose value is not known is what this run takes it to be.
    """

    def __init__(self) -> None:
        super().__init__()
        self.unchecked: list[str] = []
        """Places of conditions that forward checks and the graph does not."""
        self.assertions: dict[str, bool] = {}
        """What makes an assertion hold, by its place."""
        self.turned: set[str] = set()
        self.decisions: list[_Decision] = []
        self.ahead: list[bool] = []
        self.runs = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.__bool__ and args[0].numel() == 1 and not _is_known(args[0]):
            return self.truth(args[0])
        return func(*args, **(kwargs or {}))

    def truth(self, condition: Tensor) -> bool:
        """Which way this run takes.

        Raises:
            ExportError: There are too many ways: this may be a loop that only a value ends.
        """
        frame = users_frame()
        place = f"{frame.f_code.co_filename}:{frame.f_lineno}: " if frame is not None else ""
        line = linecache.getline(frame.f_code.co_filename, frame.f_lineno).split() if frame is not None else []
        if line[:1] == ["assert"]:
            self.unchecked.append(place)
            return self.assertions.setdefault(place, line[1:2] != ["not"])
        if len(self.decisions) >= _MOST_RUNS:
            raise values_error(place)
        taken = self.ahead[len(self.decisions)] if len(self.decisions) < len(self.ahead) else True
        self.decisions.append(_Decision(condition, taken, place))
        return taken

    def results(self, run: Callable[[], Outputs], ahead: Sequence[bool] = ()) -> Outputs:
        """Run forward, beginning with the ways `ahead`, then along every other way that this run did not take.

        Raises:
            ExportError: There are too many ways, or they give other shapes.
        """
        self.runs += 1
        self.ahead, self.decisions = list(ahead), []
        depth = len(_modules_entered())
        result: Outputs | Exception
        try:
            result = run()
        except Exception as exc:
            if not _is_the_users_own(exc):
                if self.decisions and _is_an_operators(exc):  # on values that this way is not for
                    raise values_error(self.decisions[-1].place) from exc
                raise
            _leave_modules(depth)
            if self.turned_round(exc):
                return self.results(run, ahead)
            result = exc
        made = self.decisions
        for place in range(len(made) - 1, len(ahead) - 1, -1):
            if self.runs >= _MOST_RUNS:
                raise values_error(made[place].place)
            other: Outputs | Exception
            try:
                other = self.results(run, [*(decision.taken for decision in made[:place]), False])
            except Exception as exc:
                if not _is_the_users_own(exc):
                    raise
                other = exc
            result = self.chosen(made[place], result, other)
        if isinstance(result, Exception):
            raise result
        return result

    def turned_round(self, exc: Exception) -> bool:
        """Whether an assertion failed that holds with the other value of its condition; it has that one from now on."""
        place = place_of(traceback.extract_tb(exc.__traceback__)[-1])
        if not isinstance(exc, AssertionError) or place not in self.assertions or place in self.turned:
            return False
        self.assertions[place] = not self.assertions[place]
        self.turned.add(place)
        return True

    def chosen(
        self, decision: _Decision, result: Outputs | Exception, other: Outputs | Exception
    ) -> Outputs | Exception:
        """The results of both ways as one, or those of the only way that has some."""
        if isinstance(result, Exception) or isinstance(other, Exception):
            if not (isinstance(result, Exception) and isinstance(other, Exception)):
                self.unchecked.append(decision.place)
            return other if isinstance(result, Exception) else result
        if list(result) != list(other) or not all(_are_alike(result[name], other[name]) for name in result):
            raise values_error(decision.place)
        condition = decision.condition.reshape(()).to(torch.bool)
        return {name: torch.where(condition, result[name], other[name]) for name in result}


@dataclasses.dataclass(frozen=True, slots=True)
class _Decision:
    condition: Tensor
    taken: bool
    place: str


def _modules_entered() -> dict[Any, Any]:
    """The modules whose forward is running, as the tracer knows them."""
    mode = get_proxy_mode()
    entered: dict[Any, Any] = getattr(mode.tracer, "module_stack", {}) if mode else {}
    return entered


def _leave_modules(depth: int) -> None:
    """Let the tracer forget the modules that an error left; it does not by itself."""
    entered = _modules_entered()
    while len(entered) > depth:
        entered.popitem()


def _is_known(x: Tensor) -> bool:
    """Whether a tensor of a trace is a constant whose value PyTorch remembers."""
    inner = torch._from_functional_tensor(x.elem) if hasattr(x, "elem") else x
    return not isinstance(inner, FakeTensor) or inner.constant is not None


def _are_alike(first: Tensor, second: Tensor) -> bool:
    if first.dim() != second.dim() or first.dtype != second.dtype:
        return False
    return all(bool(statically_known_true(a == b)) for a, b in zip(first.shape, second.shape, strict=True))


def _is_the_users_own(exc: Exception) -> bool:
    """Whether the user's code itself raised: `raise ValueError(…)`."""
    frames = traceback.extract_tb(exc.__traceback__)
    return len(frames) > 0 and is_user_code(frames[-1].filename)


def _is_an_operators(exc: Exception) -> bool:
    """Whether PyTorch refused what an operator was given."""
    kinds = (AssertionError, IndexError, RuntimeError, TypeError, ValueError)
    return isinstance(exc, kinds) and not isinstance(exc, GuardOnDataDependentSymNode)
