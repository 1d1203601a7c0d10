"""`/docs`: the OpenAPI document as one page, rendered here.

No script and nothing from elsewhere: the usual viewers load theirs from a third party, need inline styles that our CSP
refuses, and show nothing without the internet (security.md §3). `/openapi.json` feeds any viewer or generator.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse, HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from gateway import errors
from gateway.api import promised
from gateway.settings import Settings

router = APIRouter(include_in_schema=False)

TAGS: list[dict[str, Any]] = [
    {"name": name, "description": about}
    for name, about in (
        ("lookup", "Who is calling, while it rings."),
        ("calls", "What happened on a call: told by you, or read again with what was decided and written."),
        ("voice endpoints", "Addresses for Vapi, Retell and others, which then tell about calls by themselves."),
        ("voice platforms", "What those platforms send to such an address; it is answered in their own shape."),
        ("connections", "The tenant's accounts at CRMs."),
        ("CRMs", "What a CRM sends to an address of ours when its records change."),
        ("rules", "What is to happen after a call, and when."),
        ("deliveries", "What was promised to a CRM, and what became of it."),
        ("settings", "The tenant's own document: zone, languages, hours, retention and the like."),
        (promised.TAG, "Addresses that are settled and answer 501 until what they are for is built."),
    )
]
"""The parts of the API, in the order in which somebody new needs them. Each route's first tag is one of these."""

_HERE = Path(__file__).parent
_METHODS = ("get", "post", "put", "patch", "delete")


@dataclass(frozen=True)
class Field:
    """One field of a body, by its path."""

    name: str
    type: str
    needed: bool
    about: str


@dataclass(frozen=True)
class Operation:
    """One method at one path, as the page shows it."""

    id: str
    method: str
    path: str
    summary: str
    about: str
    authorized: bool
    parameters: tuple[Field, ...]
    fields: tuple[Field, ...]
    example: str | None
    answers: tuple[tuple[str, str, str | None], ...]  # status, description, example


def operations(document: dict[str, Any]) -> dict[str, list[Operation]]:
    """Every operation of an OpenAPI document by its first tag, tags and operations in the document's order. Pure."""
    found: dict[str, list[Operation]] = {tag["name"]: [] for tag in document.get("tags", ())}
    for path, methods in document.get("paths", {}).items():
        for method in _METHODS:
            if method in methods:
                stated = methods[method]
                found.setdefault((stated.get("tags") or ["other"])[0], []).append(
                    _operation(document, method, path, stated)
                )
    return {tag: listed for tag, listed in found.items() if listed}


def _operation(document: dict[str, Any], method: str, path: str, stated: dict[str, Any]) -> Operation:
    body = stated.get("requestBody", {}).get("content", {}).get("application/json", {})
    schema = body.get("schema", {})
    return Operation(
        id=stated.get("operationId", f"{method}-{path}"),
        method=method.upper(),
        path=path,
        summary=stated.get("summary", ""),
        about=stated.get("description", ""),
        authorized=bool(stated.get("security")),
        parameters=tuple(
            Field(
                f"{parameter['in']}.{parameter['name']}",
                _type(document, parameter.get("schema", {})),
                bool(parameter.get("required")),
                parameter.get("description", ""),
            )
            for parameter in stated.get("parameters", ())
        ),
        fields=tuple(_fields(document, schema)),
        example=_example(document, body),
        answers=tuple(
            (
                status,
                answer.get("description", ""),
                None
                if errors.MEDIA_TYPE in answer.get("content", {})  # all of one shape, described once at the end
                else next((_example(document, content) for content in answer.get("content", {}).values()), None),
            )
            for status, answer in sorted(stated.get("responses", {}).items())
        ),
    )


def _resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        found: Any = document
        for part in schema["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        schema = found
    return schema


def _type(document: dict[str, Any], schema: dict[str, Any]) -> str:
    schema = _resolved(document, schema)
    for choice in ("anyOf", "oneOf"):
        if choice in schema:
            return " or ".join(dict.fromkeys(_type(document, one) for one in schema[choice]))
    if "enum" in schema:
        return " | ".join(json.dumps(value) for value in schema["enum"])
    if "const" in schema:
        return json.dumps(schema["const"])
    if schema.get("type") == "array":
        return f"list of {_type(document, schema.get('items', {}))}"
    return str(schema.get("format") or schema.get("type") or "any")


def _fields(document: dict[str, Any], schema: dict[str, Any], prefix: str = "", depth: int = 0) -> list[Field]:
    schema = _resolved(document, schema)
    found: list[Field] = []
    for name, value in schema.get("properties", {}).items():
        inner = _resolved(document, value)
        about = value.get("description") or inner.get("description", "")
        found.append(Field(prefix + name, _type(document, value), name in schema.get("required", ()), about))
        if depth < 3:
            lists = inner.get("type") == "array"
            found += _fields(
                document,
                inner.get("items", {}) if lists else inner,
                f"{prefix}{name}{'[]' if lists else ''}.",
                depth + 1,
            )
    return found


def _example(document: dict[str, Any], content: dict[str, Any]) -> str | None:
    """The example stated for this content, else its schema's."""
    if "example" in content:
        return _pretty(content["example"])
    for named in content.get("examples", {}).values():
        return _pretty(named.get("value"))
    schema = _resolved(document, content.get("schema", {}))
    examples = schema.get("examples") or ([schema["example"]] if "example" in schema else [])
    return _pretty(examples[0]) if examples else None


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


@cache
def _pages() -> Environment:
    pages = Environment(
        loader=FileSystemLoader(_HERE / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    pages.filters["prose"] = prose
    return pages


def prose(text: str) -> Markup:
    """A docstring as HTML: escaped, with `words in backticks` as code and empty lines between paragraphs."""
    marked = re.sub(r"`([^`\n]+)`", r"<code>\1</code>", str(escape(text)))
    return Markup("</p><p>".join(part for part in marked.split("\n\n") if part.strip()))  # noqa: S704 - escaped above


@router.get("/docs")
async def page(request: Request) -> Response:
    """The page. Rendered once per process: routes do not change while it runs."""
    text = getattr(request.app.state, "docs", None)
    if text is None:
        document = request.app.openapi()
        settings: Settings = request.app.state.parts.settings
        text = request.app.state.docs = (
            _pages()
            .get_template("docs.html")
            .render(
                info=document["info"],
                groups=operations(document),
                about={tag["name"]: tag["description"] for tag in TAGS},
                problems=errors.family(),
                example=_pretty(errors.Invalid("body.zone", "is not an IANA time zone such as Europe/Zurich").body()),
                origin=settings.public_url,
            )
        )
    return HTMLResponse(text)


@router.get("/docs/docs.css")
async def style() -> Response:
    return FileResponse(
        _HERE / "static" / "docs.css", media_type="text/css", headers={"Cache-Control": "public, max-age=3600"}
    )
