"""What a platform's analysis says in the tenant's own fields → `Analysis`.

Platforms let each tenant define the fields of the analysis, so there is no schema to follow. A few names are read as what
they say; all fields, these too, stay in `Analysis.data` under the tenant's own names for rules to look at.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from connectors.voice.events import Analysis, Promise
from connectors.voice.reading import items, mapping, number, text

_TYPE = ("type", "call_type", "category")
_SENTIMENT = ("sentiment", "user_sentiment", "caller_sentiment")
_INTENTS = ("intents", "intent")
_PRODUCTS = ("products", "product")
_QUESTIONS = ("questions", "question", "open_questions")
_PROMISES = ("promises", "promise")
_SCORE = ("score", "lead_score")
_SUCCESS = ("success", "successful")
_WHAT = ("what", "action", "text", "description")
_DUE = ("due", "when", "date", "deadline")

_YES = frozenset({"true", "yes", "pass", "passed", "success", "successful"})
_NO = frozenset({"false", "no", "fail", "failed", "failure", "unsuccessful"})
_NOTHING_SAID = frozenset({"unknown", "none", "null", "n/a", "not_mentioned"})


def read_analysis(
    data: Mapping[str, Any], *, sentiment: object = None, success: object = None, score: object = None
) -> Analysis | None:
    """The tenant's fields, with what the platform itself judged (it wins where both speak); None when nothing was said.

    sentiment, success, score   the platform's own words, in any JSON type.
    """
    named = {_plain(key): value for key, value in data.items()}
    judged = flag(success)
    read = Analysis(
        type=_word(_first(named, _TYPE)),
        sentiment=_word(sentiment) or _word(_first(named, _SENTIMENT)),
        intents=tuple(dict.fromkeys(word.lower() for word in _several(_first(named, _INTENTS)))),
        products=_several(_first(named, _PRODUCTS)),
        questions=_sentences(_first(named, _QUESTIONS)),
        promises=_promises(_first(named, _PROMISES)),
        score=_points(_first(named, _SCORE)) if score is None else _points(score),
        success=flag(_first(named, _SUCCESS)) if judged is None else judged,
        data=dict(data),
    )
    return None if read == Analysis() else read


def flag(value: object) -> bool | None:
    """Yes or no, where that is clear; "8", "good" and silence are not."""
    if isinstance(value, bool):
        return value
    word = value.strip().lower() if isinstance(value, str) else ""
    return True if word in _YES else False if word in _NO else None


def _first(named: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((named[name] for name in names if named.get(name) not in (None, "", [], {})), None)


def _plain(key: str) -> str:
    """callType, call-type and "Call type" are one name."""
    return re.sub(r"[\s-]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", key.strip())).lower()


def _word(value: object) -> str | None:
    word = value.strip().lower() if isinstance(value, str) else ""
    return word if word and word not in _NOTHING_SAID else None


def _points(value: object) -> float | None:
    """ "85", 85 and "85%" are 85.0: the scale is the tenant's."""
    return number(value.strip().removesuffix("%")) if isinstance(value, str) else number(value)


def _several(value: object) -> tuple[str, ...]:
    """Short names, from a list or from a string with commas, semicolons or line breaks between them; no repeats."""
    parts = re.split(r"[,;\n]", value) if isinstance(value, str) else items(value)
    found = (text(part) for part in parts)
    return tuple(dict.fromkeys(part for part in found if part and part.lower() not in _NOTHING_SAID))


def _sentences(value: object) -> tuple[str, ...]:
    parts = [value] if isinstance(value, str) else items(value)
    return tuple(part for part in map(text, parts) if part)


def _promises(value: object) -> tuple[Promise, ...]:
    """From a sentence, an object, or a list of either; an object without words about what was promised is none."""
    promises = []
    for part in [value] if isinstance(value, str | dict) else items(value):
        named = {_plain(key): inner for key, inner in mapping(part).items()}
        what = text(_first(named, _WHAT)) if named else text(part)
        if what and what.lower() not in _NOTHING_SAID:
            promises.append(Promise(what=what, due=text(_first(named, _DUE))))
    return tuple(promises)
