"""What a prompt template gets: flat strings, safe to put into a sentence. Pure (security.md §7).

Text from a CRM was typed by anybody, a caller among them, and ends in the prompt of a language model and in templates
with `{{…}}`. Hence short facts only, on one line, without the characters that templates and markup are made of.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

LONGEST = 120  # characters of one value
LARGEST = 2048  # bytes of all names and values together
_MARKUP = frozenset("{}<>`")
_PLAIN = re.compile(r"[!-;=?-_a-z|~]+(?: [!-;=?-_a-z|~]+)*")  # ASCII without markup, single spaces between words
_NO_TEXT = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})  # control, bidi and zero-width, surrogates, private, unassigned


def one_line(text: str | None, longest: int = LONGEST) -> str:
    """`text` as NFC on one line, without control, bidi, zero-width and markup characters; "" for None.

    Line breaks and other white space become one space each run; what is longer is cut.
    """
    if not text:
        return ""
    if len(text) <= longest and _PLAIN.fullmatch(text):
        return text  # as most are, at a tenth of the price
    spaced = " ".join(unicodedata.normalize("NFC", text[: 8 * longest]).split())
    kept = "".join(c for c in spaced if c not in _MARKUP and unicodedata.category(c) not in _NO_TEXT)
    return " ".join(unicodedata.normalize("NFC", kept).split())[:longest].rstrip()


def safe(values: Mapping[str, str | None]) -> dict[str, str]:
    """`values` made safe, every name kept (a platform that declared a variable fails without it), 2 KB in all."""
    longest = LONGEST
    while True:
        made = {name: one_line(value, longest) for name, value in values.items()}
        if longest == 0 or sum(len(name) + len(value.encode()) for name, value in made.items()) <= LARGEST:
            return made
        longest //= 2
