"""Every command in README.md is run by a test: this table says which.

A command is a line of a fenced block marked `bash` or `sh`. A new one in README.md fails here until the table names
the test that runs it, with the same words; a test that is renamed or removed fails here too.
"""

import importlib
import re
from collections.abc import Iterator

import pytest

from tests.processes import PROJECT

README = PROJECT / "README.md"
FENCE = re.compile(r"^```(?:bash|sh)\n(?P<lines>.*?)^```", re.MULTILINE | re.DOTALL)

# a regular expression for the whole command → module:test that runs it
BY_HAND = "tests.flows.test_readme_commands:test_by_hand_in_one_process"
SEVERAL = "tests.flows.test_readme_commands:test_on_several_machines"
RUN_BY = {
    r"make (demo|test|check|bench|chaos|setup)( [A-Z]+=\S+)*": "tests.flows.test_make:test_a_target_sets_up_and_then_runs",
    r"\.venv/bin/gateway demo --picture docs/demo\.svg": "tests.flows.test_demo:test_a_story_is_told_to_its_end",
    r"\.venv/bin/gateway (serve|sandbox hubspot)": BY_HAND,
    r"export (GATEWAY_HUBSPOT_\w+=\S+ ?)+": BY_HAND,
    r"export PATH=.+": BY_HAND,
    r"(KEY=\$\()?gateway (tenant create|key create|key list|console|endpoint create|endpoint list|connection list|import) .+": BY_HAND,
    r"curl .+": BY_HAND,
    r"umask 077|gateway key new-sealing > sealing-keys": SEVERAL,
    r"gateway (migrate|worker|relay|doctor|key rotate|serve --host 0\.0\.0\.0 --port 8000)": SEVERAL,
    r"docker compose up( --build)?( --scale worker=\d+)?": "tests.flows.test_compose:test_the_command_exists",
}


def commands(text: str) -> Iterator[str]:
    """The commands of a document's shell blocks: one for each line, continued lines joined, comments left out."""
    for block in FENCE.finditer(text):
        begun = ""
        for line in block["lines"].replace("\\\n", " ").splitlines():
            begun += re.sub(r"(^|\s)#.*$", "", line).strip().removeprefix("$ ") + " "
            if begun.strip() and begun.count("'") % 2 == 0:  # a quoted text may go on over several lines
                yield " ".join(begun.split())
                begun = ""


def test_commands_are_read_as_a_reader_would() -> None:
    text = (
        "```bash\n# first\n$ make demo   # and look\nsay 'a\n  b'\ngateway serve \\\n  --port 0\n```\n"
        "```json\n{}\n```\n```sh\nmake test\n```\n"
    )
    assert list(commands(text)) == ["make demo", "say 'a b'", "gateway serve --port 0", "make test"]


@pytest.mark.parametrize("command", sorted(set(commands(README.read_text()))))
def test_a_command_of_the_readme_is_run_by_a_test(command: str) -> None:
    """The first command that does not work is the last that a new user tries."""
    names = [name for pattern, name in RUN_BY.items() if re.fullmatch(pattern, command)]
    assert names, "write a test that runs it, and name that test in RUN_BY"


@pytest.mark.parametrize("name", sorted(set(RUN_BY.values())))
def test_the_tests_named_here_exist(name: str) -> None:
    module, _, test = name.partition(":")
    assert callable(getattr(importlib.import_module(module), test))


@pytest.mark.parametrize("pattern", sorted(RUN_BY))
def test_the_table_holds_nothing_that_the_readme_lost(pattern: str) -> None:
    assert any(re.fullmatch(pattern, command) for command in commands(README.read_text())), "take it out of RUN_BY"
