"""`.env.example` is the settings' documentation: what is in one is in the other, with the same default."""

import re
from itertools import pairwise

import pytest

from gateway.settings import App, Settings, app_of
from tests.processes import PROJECT

EXAMPLE = (PROJECT / ".env.example").read_text()
LINE = re.compile(r"^#(?P<name>[A-Z][A-Z0-9_]+)=(?P<value>.*)$", re.MULTILINE)
PROVIDERS = ("HUBSPOT", "SALESFORCE", "PIPEDRIVE", "ZOHO")
ONE_SECRET = {f"GATEWAY_{provider}_CLIENT_SECRETS" for provider in ("HUBSPOT", "SALESFORCE", "PIPEDRIVE")}
COMPOSE_ALONE = {"OWNER_PASSWORD", "APP_PASSWORD", "REDIS_PASSWORD"}

DOCUMENTED = {one["name"]: one["value"] for one in LINE.finditer(EXAMPLE)}
KNOWN = {f"GATEWAY_{field.upper()}" for field in Settings.model_fields} | {
    f"GATEWAY_{provider}_{field.upper()}" for provider in PROVIDERS for field in App.model_fields
}


def test_every_setting_is_explained() -> None:
    """An operator finds in this one file whatever can be set."""
    assert sorted(KNOWN - set(DOCUMENTED) - ONE_SECRET) == [], "explain it in .env.example"


def test_nothing_is_explained_that_nobody_reads() -> None:
    """A variable that does nothing costs an operator an evening."""
    assert sorted(set(DOCUMENTED) - KNOWN - COMPOSE_ALONE) == [], "take it out of .env.example"


def test_every_line_is_commented_out_and_explained() -> None:
    """Copied as it stands, the file changes nothing."""
    lines = EXAMPLE.splitlines()
    assert [line for line in lines if line and not line.startswith("#")] == []
    bare = [line for before, line in pairwise(lines) if LINE.match(line) and not before]
    assert bare == []


@pytest.mark.parametrize("name", sorted(set(DOCUMENTED) - COMPOSE_ALONE))
def test_the_default_shown_is_the_default(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read back through the settings themselves, so that `900` and fifteen minutes are the same."""
    for known in KNOWN:
        monkeypatch.delenv(known, raising=False)
    provider = next((one for one in PROVIDERS if name.startswith(f"GATEWAY_{one}_")), None)
    model = App if provider else Settings
    field = name.removeprefix(f"GATEWAY_{provider}_" if provider else "GATEWAY_").lower()
    default = model.model_fields[field].default
    if DOCUMENTED[name] == "":
        assert not _shown(default)
        return
    monkeypatch.setenv(name, DOCUMENTED[name])
    assert getattr(app_of(provider) if provider else Settings(), field) == default


def _shown(default: object) -> object:
    return default.get_secret_value() if hasattr(default, "get_secret_value") else default
