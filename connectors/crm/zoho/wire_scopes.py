"""Which scopes a request takes: Zoho says that some are missing, not which. Pure.

Source: the security lists of oas-3.1, read 2026-11.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from connectors.crm.zoho.manifest import VERSION
from connectors.request import Request

_RIGHTS = {"GET": "READ", "POST": "CREATE", "PUT": "UPDATE", "PATCH": "UPDATE", "DELETE": "DELETE"}
_FROM = re.compile(r"\bfrom ([A-Za-z]\w*)")
_SETTINGS = {"fields", "modules", "layouts", "pipeline", "related_lists", "tags"}


def scopes_for(request: Request) -> tuple[str, ...]:
    """All of them, in the order they are named; of a composite request those of its parts too."""
    return _scopes(request.method, request.path, request.json)


def _scopes(method: str, path: str, body: object) -> tuple[str, ...]:
    right = _RIGHTS.get(method, "READ")
    parts = path.partition("?")[0].strip("/").split("/")
    if parts[:2] != ["crm", VERSION] or len(parts) < 3:
        return ()
    told: Mapping[str, object] = body if isinstance(body, dict) else {}
    match parts[2:]:
        case ["__composite_requests"]:
            return _of_parts(told)
        case ["coql"]:
            module = _FROM.search(str(told.get("select_query", "")))
            return ("ZohoCRM.coql.READ", *((_module(module[1], "READ"),) if module else ()))
        case ["org" | "users" as area, *_]:
            return (f"ZohoCRM.{area}.READ",)
        case ["settings", area, *_] if area in _SETTINGS:
            return (f"ZohoCRM.settings.{area}.{right}",)
        case ["actions", "watch"]:
            return (f"ZohoCRM.notifications.{right}",)
        case [_, _, "actions", "add_tags" | "remove_tags"]:
            return ("ZohoCRM.settings.tags.ALL",)
        case [module, "search"]:
            return (_module(module, "READ"), "ZohoSearch.securesearch.READ")
        case [_, _, "Notes"]:
            return (_module("Notes", right),)
        case [module, *_]:
            return (_module(module, right),)
    return ()


def _of_parts(told: Mapping[str, object]) -> tuple[str, ...]:
    listed = told.get("__composite_requests")
    found = ["ZohoCRM.composite_requests.CUSTOM"]
    for part in listed if isinstance(listed, list) else []:
        found += _scopes(str(part.get("method")), str(part.get("uri")), part.get("body"))
    return tuple(dict.fromkeys(found))


def _module(name: str, right: str) -> str:
    return f"ZohoCRM.modules.{name.lower()}.{right}"
