"""Draw examples, find out what each runtime makes of them, and boil every disagreement down to its cause.

Disagreements are taken in the order in which they were drawn. One that a known cause explains is counted for that
cause; the first that none explains is shrunk, with hypothesis kept away from what is known, and gives a new cause.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from rnnexport.conformance.causes import Ask, Cause, find_cause, with_space
from rnnexport.conformance.drawing import Block, blocks, draw, shrink
from rnnexport.conformance.examples import Example, complexity
from rnnexport.conformance.judging import Judge, Outcome

_SHRINK_RUNS = {"crash": 30, "refused": 300, "wrong": 600}
"""How many new examples a shrink may run; after a crash each costs the start of a process."""
_ATTEMPTS = 4
"""A shrink may slip to another cause than the one it began with; then it begins again."""


@dataclass(slots=True)
class CauseSearch:
    """What was drawn and what became of it."""

    outcomes: dict[Example, Outcome] = field(default_factory=dict)
    causes: list[Cause] = field(default_factory=list)

    def cause_of(self, example: Example, outcome: Outcome) -> Cause | None:
        """The first cause that explains an example.

        What a runtime gets wrong alone it may well refuse in company, so a cause of another kind explains a refusal.
        """
        explaining = [cause for cause in self.causes if cause.explains(example)]
        same = (cause for cause in explaining if cause.outcome.kind == outcome.kind)
        return next(same, explaining[0] if explaining and outcome.kind == "refused" else None)

    def add(self, cause: Cause) -> None:
        """Add a cause in place of narrower ones, with the simplest of their examples."""
        same_kind = [known for known in self.causes if known.outcome.kind == cause.outcome.kind]
        narrower = [known for known in same_kind if cause.explains(known.example)]
        simplest = min([cause, *narrower], key=lambda each: complexity(each.example))
        self.causes = [known for known in self.causes if known not in narrower]
        self.causes.append(replace(cause, example=simplest.example, outcome=simplest.outcome))


def search(judge: Judge, examples: int, seed: int, on_progress: Callable[[str], None] = lambda _: None) -> CauseSearch:
    """Draw and judge so many different examples, and find the causes of all that are not right."""
    found = CauseSearch()
    origins: dict[Example, Block] = {}
    for block, example in _drawn(seed):
        if len(found.outcomes) == examples:
            break
        outcome = judge(example)
        if outcome.kind != "unclear" and example not in origins:
            found.outcomes[example] = outcome
            origins[example] = block
            on_progress(f"example {len(found.outcomes)} of {examples}")
    for kind in ("crash", "wrong", "refused"):
        for example in [each for each, outcome in found.outcomes.items() if outcome.kind == kind]:
            on_progress(f"finding causes: {len(found.causes)} so far")
            _explain(judge, found, example, origins[example])
    return found


def _drawn(seed: int) -> Iterator[tuple[Block, Example]]:
    return ((block, example) for block in blocks(seed) for example in draw(block))


def _explain(judge: Judge, found: CauseSearch, example: Example, block: Block) -> None:
    """Add causes until one explains the example; as a last resort the example itself, as it was drawn."""

    def judge_what_is_new(candidate: Example) -> Outcome:
        """What known causes explain would only lead back to them."""
        outcome = judge(candidate)
        return Outcome("unclear") if outcome.kind != "right" and found.cause_of(candidate, outcome) else outcome

    for _ in range(_ATTEMPTS):
        if found.cause_of(example, judge(example)):
            return
        found.add(find_cause(_smallest_like(judge, judge_what_is_new, example, block), judge_what_is_new))
    if not found.cause_of(example, judge(example)):
        found.add(find_cause(example, judge_what_is_new))


def _smallest_like(judge: Judge, judge_what_is_new: Ask, example: Example, block: Block) -> Example:
    """Shrink a disagreement, keeping away from those that known causes explain."""
    outcome = judge(example)
    last_run = judge.asked + _SHRINK_RUNS[outcome.kind]

    def resembles(candidate: Example) -> bool:
        return (judge.asked < last_run or judge.known(candidate)) and judge_what_is_new(candidate).resembles(outcome)

    smallest = shrink(block, lambda candidate: resembles(candidate) or resembles(with_space(candidate))) or example
    return smallest if resembles(smallest) else with_space(smallest)
