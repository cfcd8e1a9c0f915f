"""The values of a tensor as numbers, while a module is traced: `lengths.tolist()`, `lengths.numpy()`.

A graph has no such list. But most code only hands it on, to `pack_padded_sequence` or back to `torch.tensor`: there
the tensor itself is taken. Whatever else is done with it is refused with the place.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from torch import SymInt, Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch._subclasses.functional_tensor import FunctionalTensor

from rnnexport.errors import ExportError


class Numbers:
    """Stands for the numbers in a tensor."""

    def __init__(self, tensor: Tensor) -> None:
        """Take the tensor whose numbers these are."""
        self.tensor = tensor

    def tolist(self) -> Numbers:
        """A list of an array's numbers are the same numbers."""
        return self

    def astype(self, *_args: Any, **_kwargs: Any) -> Numbers:
        """Another integer type has the same numbers."""
        return self

    def __getattr__(self, name: str) -> NoReturn:
        raise ExportError(
            "forward computes with the values of a tensor as numbers, and a graph computes the same steps for all "
            f"values ({name}); leave them a tensor: lengths.max() for max(lengths), torch.where for a branch, "
            "y[torch.arange(y.shape[0]), lengths - 1] for a loop over rows"
        )

    def __iter__(self) -> NoReturn:
        self.__getattr__("a loop over them")

    def __len__(self) -> NoReturn:
        self.__getattr__("len")

    def __getitem__(self, index: object) -> NoReturn:
        self.__getattr__("one of them")


def _refuse(what: str) -> Any:
    return lambda self, *_: self.__getattr__(what)


for _name, _sign in {"add": "+", "sub": "-", "mul": "*", "truediv": "/", "floordiv": "//", "mod": "%"}.items():
    setattr(Numbers, f"__{_name}__", _refuse(_sign))
    setattr(Numbers, f"__r{_name}__", _refuse(_sign))
for _name, _sign in {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "array": "a NumPy array of them"}.items():
    setattr(Numbers, f"__{_name}__", _refuse(_sign))


def are_of_any_size(x: Tensor) -> bool:
    """Whether there are integers or flags in `x`, and nobody knows how many."""
    return not x.is_floating_point() and any(isinstance(size, SymInt) for size in x.shape)


@contextmanager
def numbers_caught() -> Iterator[None]:
    """Let `tolist` of the tensors in a trace give `Numbers`, for as long as the context lasts."""
    originals = [(kind, kind.tolist) for kind in (FakeTensor, FunctionalTensor)]

    def caught(original: Any) -> Any:
        def tolist(x: Any) -> Any:
            if (known := getattr(x, "known_numbers", None)) is not None:
                return [*known]
            return Numbers(x) if are_of_any_size(x) else original(x)

        return tolist

    try:
        for kind, original in originals:
            kind.tolist = caught(original)  # type: ignore[method-assign]
        yield
    finally:
        for kind, original in originals:
            kind.tolist = original  # type: ignore[method-assign]
