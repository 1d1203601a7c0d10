"""What is wrong with a rule that someone wants to save: where it is, in words, and what was probably meant."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from difflib import get_close_matches


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to mend.

    path  where in the document, such as `rules[0].then[1].with.due`; empty for a bare expression.
    text  a sentence for the person who wrote the rule; it quotes their own text only, never a fact's value.
    at    offset in characters inside the expression, when it is known.
    """

    path: str
    text: str
    at: int | None = None

    def under(self, path: str) -> "Problem":
        """The same problem, seen from the document that holds it."""
        joined = path + self.path if self.path.startswith("[") else ".".join(filter(None, (path, self.path)))
        return replace(self, path=joined)

    def __str__(self) -> str:
        return f"{self.path}: {self.text}" if self.path else self.text


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """` Did you mean "x"?` for the nearest of `choices`, or nothing when none is near. Starts with a space."""
    near = get_close_matches(word[:120], list(choices), n=1, cutoff=0.6)
    return f' Did you mean "{near[0]}"?' if near else ""
