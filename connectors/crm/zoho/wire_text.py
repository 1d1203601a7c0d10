"""Texts on their way into Zoho's fields: harmless wherever they are shown, and short enough. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from connectors.json_text import clean

LONGEST_TEXT = 32_000  # of a description or a note
CUT_NOTE = "[cut here: longer than Zoho takes]"
UNCHECKED = "From the call, not checked"


def harmless(text: str) -> str:
    """Text from outside, fit for a composite request, which follows "@{…}", and for whoever shows it as a page: a space
    after "<" and after "@" keeps both from being read as what they were not meant to be."""
    return re.sub(r"<(?=[A-Za-z/!?])", "< ", clean(text).replace("@{", "@ {"))


def plain(body: str, unchecked: str, *, extra: Sequence[str] = (), marker: str | None = None) -> str:
    """Text; what was said in the call under its heading; the marker as the last line. Cut as little as makes it fit."""

    def build(body: str, unchecked: str) -> str:
        parts = [body.strip(), *extra, f"{UNCHECKED}:\n{unchecked.strip()}" if unchecked.strip() else ""]
        parts.append(f"Ref. {marker}" if marker else "")
        return "\n\n".join(part for part in parts if part)

    return _fitted(build, harmless(body), harmless(unchecked))


def _fitted(build: Callable[[str, str], str], body: str, unchecked: str) -> str:
    """The end of the call's words goes first."""
    excess = len(build(body, unchecked)) - LONGEST_TEXT
    if excess <= 0:
        return build(body, unchecked)
    room = max(0, len(body) + len(unchecked) - excess - 2 * (len(CUT_NOTE) + 2))
    mine, theirs = body[:room], unchecked[: max(0, room - len(body))]
    mine += f"\n\n{CUT_NOTE}" if len(mine) < len(body) else ""
    theirs += f"\n\n{CUT_NOTE}" if len(theirs) < len(unchecked) else ""
    return build(mine, theirs)


def title(text: str, most: int = 255) -> str:
    """One line."""
    return " ".join(harmless(text).split())[:most]
