"""Compares an answer with the example that a document gives of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def differences(example: Any, answer: Any, place: str = "answer") -> Iterator[str]:
    """Where ``answer`` lacks what the example has, or has it as another type.

    What the example does not show may be there. An example's null says only that the member is there; a list's first
    element stands for each element of the answer's list, which must not be empty.
    """
    if example is None:
        return
    if isinstance(example, dict):
        if not isinstance(answer, dict):
            yield f"{place} is no object: {answer!r}"
            return
        for name, value in example.items():
            if name in answer:
                yield from differences(value, answer[name], f"{place}.{name}")
            else:
                yield f"{place} has no {name!r}: {answer!r}"
    elif isinstance(example, list):
        if not isinstance(answer, list) or not answer:
            yield f"{place} is no list with something in it: {answer!r}"
            return
        for index, item in enumerate(answer):
            yield from differences(example[0], item, f"{place}[{index}]")
    elif type(answer) is not type(example):
        yield f"{place} is no {type(example).__name__}: {answer!r}"
