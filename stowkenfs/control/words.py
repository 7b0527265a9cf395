"""The words by which control files are asked for something, and what each may say."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from stowkenfs.errors import BadRequest

REQUIRED: Final = object()
"""The default of a word that has to be there."""


@dataclass(frozen=True, slots=True)
class Word:
    """One ``name=value``, or a ``bare`` value that says by itself what it is.

    ``value(text)`` is what the text means, or raises ValueError; ``allowed`` says in words what
    does not. ``what`` is what the word is for. Without it ``default`` counts, which a reader is
    shown as ``shown``; ``form`` is what else may stand there, in short.
    """

    name: str
    what: str
    allowed: str
    value: Callable[[str], Any]
    default: Any = None
    shown: str = ""
    bare: bool = False
    form: str = "…"

    @property
    def key(self) -> str:
        """The name as an argument of a function."""
        return self.name.replace("-", "_")

    def parse(self, text: str) -> Any:
        """Raises BadRequest, which says what is allowed."""
        try:
            return self.value(text)
        except ValueError:
            raise BadRequest(f"{self.name} is {self.allowed}, not {text!r}") from None


def whole(
    name: str,
    what: str,
    least: int,
    most: int,
    default: int | None = None,
    called: str = "a whole number",
) -> Word:
    """A whole number within limits."""

    def value(text: str) -> int:
        if not (text.isascii() and text.isdigit()) or not least <= int(text) <= most:
            raise ValueError
        return int(text)

    allowed = f"{called} from {least:,} to {most:,}"
    return Word(name, what, allowed, value, default, "…" if default is None else str(default))


def share(name: str, what: str, default: float) -> Word:
    """A number above 0 and up to 1."""

    def value(text: str) -> float:
        number = float(text)
        if not 0 < number <= 1:  # also what is not a number
            raise ValueError
        return number

    return Word(name, what, "a number above 0 and up to 1", value, default, str(default))


def yes_or_no(name: str, what: str) -> Word:
    """``yes`` or ``no``; no is the default."""

    def value(text: str) -> bool:
        if text not in ("yes", "no"):
            raise ValueError
        return text == "yes"

    return Word(name, what, "yes or no", value, default=False, shown="no", form="yes")


def text_of(written: bytes) -> str:
    """What was written, without the end of its line; ``1`` is as good as nothing."""
    try:
        text = written.decode().strip()
    except UnicodeDecodeError as error:
        raise BadRequest(f"not UTF-8 text: {error}") from error
    return "" if text == "1" else text


def parse_words(text: str, words: Sequence[Word]) -> dict[str, Any]:
    """``{key: value}`` of all ``words``, those that are not written by their defaults.

    Raises BadRequest, which says what is allowed.
    """
    named = {word.name: word for word in words if not word.bare}
    bare = [word for word in words if word.bare]
    values = {word.key: word.default for word in words}
    seen: set[str] = set()
    for written in text.split():
        name, equals, value = written.partition("=")
        if equals and name in named:
            word = named[name]
        elif not equals and bare:
            word, value = bare[0], written
        else:
            raise BadRequest(f"unknown word {written!r}; write {choices(words)}")
        if word.name in seen:
            raise BadRequest(f"{word.name} is given twice")
        seen.add(word.name)
        values[word.key] = word.parse(value)
    for word in words:
        if values[word.key] is REQUIRED:
            raise BadRequest(f"{word.name} is missing: write {word.allowed}")
    return values


def choices(words: Sequence[Word]) -> str:
    """What can be written, in short: ``1 or level=…``."""
    bare = [f"the {word.name}" for word in words if word.bare]
    named = [f"{word.name}={word.form}" for word in words if not word.bare]
    return " or ".join([*(bare or ["1"]), *named])


def explain(words: Sequence[Word]) -> str:
    """A line for each word, with what it says if it is not written."""
    shown = [word.allowed if word.bare else f"{word.name}={word.shown}" for word in words]
    width = max(map(len, shown), default=0)
    return "".join(
        f"  {left:<{width}}  {word.what}" + ("\n" if word.bare else f": {word.allowed}\n")
        for left, word in zip(shown, words, strict=True)
    )
