"""How many examples hypothesis draws: few by default, many with `pytest --hypothesis-profile thorough`."""

from __future__ import annotations

from hypothesis import settings

# No deadline: the machine may do other work, too.
settings.register_profile("quick", deadline=None, max_examples=25)
settings.register_profile("thorough", deadline=None, max_examples=100)


def few_examples() -> settings:
    """Of a test whose every example loads models in a runtime."""
    return settings(max_examples=settings.default.max_examples // 5)
