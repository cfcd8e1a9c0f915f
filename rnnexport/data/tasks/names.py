"""Surnames: which language a name comes from, read letter by letter."""

from __future__ import annotations

from collections import Counter
from importlib import import_module

import numpy as np
from numpy.typing import NDArray

from rnnexport.data.defaults import TrainingDefaults
from rnnexport.data.task import Dataset, Split, Task, split_off_validation
from rnnexport.errors import InputError

LANGUAGES = {
    "Croatian": "hr_HR",
    "Dutch": "nl_NL",
    "English": "en_US",
    "Estonian": "et_EE",
    "Finnish": "fi_FI",
    "French": "fr_FR",
    "German": "de_DE",
    "Indian": "en_IN",
    "Irish": "ga_IE",
    "Italian": "it_IT",
    "Spanish": "es_ES",
    "Swedish": "sv_SE",
}
AT_MOST = 500
"""Names of a language, so that none rules."""
HELD_OUT = 0.2


def load(seed: int) -> Dataset:
    """Read the names from faker; a fifth is the test part for every seed, a fifth of the rest, by seed, validation.

    Raises:
        InputError: faker is not installed.
    """
    by_language = {language: _read(locale) for language, locale in LANGUAGES.items()}
    owners = Counter(name for names in by_language.values() for name in names)
    chosen = [
        (name, label)
        for label, names in enumerate(by_language.values())
        for name in _sample(sorted(name for name in names if owners[name] == 1))
    ]
    vocabulary = tuple(sorted({letter for name, _ in chosen for letter in name}))
    labels = np.array([label for _, label in chosen], np.int64)
    rest, test = split_off_validation(Split([encode(n, vocabulary) for n, _ in chosen], labels), HELD_OUT, 0)
    train, validation = split_off_validation(rest, HELD_OUT, seed)
    return Dataset(train, validation, test, tuple(LANGUAGES), vocabulary)


def encode(text: str, vocabulary: tuple[str, ...]) -> NDArray[np.int64]:
    """Return a text's letters, in lower case, as places in the vocabulary.

    Raises:
        InputError: A letter is not in it, or there is none.
    """
    letters = text.lower()
    if not letters:
        raise InputError("an empty text has no letters; leave it out")
    places = {letter: place for place, letter in enumerate(vocabulary)}
    if unknown := [letter for letter in letters if letter not in places]:
        raise InputError(f"text {text!r} has the character {unknown[0]!r}, which the model was not trained on")
    return np.array([places[letter] for letter in letters], np.int64)


def _read(locale: str) -> set[str]:
    try:
        provider = import_module(f"faker.providers.person.{locale}").Provider
    except ImportError as exc:
        raise InputError("task 'names' needs faker; run: pip install \"rnnexport[train]\"") from exc
    return {name.lower() for name in provider.last_names}


def _sample(names: list[str]) -> list[str]:
    order = np.random.default_rng(0).permutation(len(names))[:AT_MOST]
    return [names[place] for place in order]


TASK = Task(
    name="names",
    description=f"Surnames of {len(LANGUAGES)} languages, at most {AT_MOST} each, letter by letter; the class is the "
    "language. Names that occur in two languages are left out.",
    citation="D. Faraglia and others: Faker, provider lists `faker.providers.person`, https://github.com/joke2k/faker.",
    licence="MIT (faker)",
    metric="accuracy",
    num_outputs=len(LANGUAGES),
    defaults=TrainingDefaults(
        hidden_size=64, epochs=40, batch_size=32, learning_rate=3e-3, dropout=0.3, weight_decay=0.05, patience=8
    ),
    load=load,
    target=0.6,
    published="None on these lists.",
)
