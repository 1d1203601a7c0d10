"""Bounds that hold before the CEL library sees an expression, and what an expression is found to read."""

import json
import subprocess
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules import scan as bounds
from rules.conditions import Checked, check
from rules.scan import closing_brace, scan
from tests.processes import PROJECT


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("call.score > 80", ["call.score"]),
        ("has(call.score) && call.score > 80", ["call.score"]),
        ("'call.score' == call.type", ["call.type"]),
        (r"r'\' + call.type == 'x'", ["call.type"]),
        ("call.summary.contains('x')", ["call.summary"]),
        ("call.data.budget > 3 && call.data['postal code'] == '1200'", ["call.data.budget", "call.data.postal code"]),
        ("call.promises.exists(p, p.what == caller.name)", ["call.promises", "caller.name"]),
        ("call.promises[0].due == local.date", ["call.promises", "local.date"]),
        ("call.intents.exists(call2, call2 == 'a') && call2 == 'b'", ["call.intents", "call2"]),
        ("true // call.score", []),
        ("{'a': call.type}['a'] == 'b'", ["call.type"]),
    ],
)
def test_reads_are_found(text: str, paths: list[str]) -> None:
    """A read that is overlooked would be neither waited for nor kept out of an owner's name."""
    found = scan(text)
    assert found.problems == ()
    assert [".".join(path) for path in found.paths] == paths


@pytest.mark.parametrize(
    ("text", "part_of_reason"),
    [
        ("", "no condition"),
        ("   // nothing", "no condition"),
        ("a" * 2_001, "2000 are allowed"),
        ("1" + "+1" * 100, "200 words"),
        ("(" * 13 + "1" + ")" * 13, "12 deep"),
        ("[" * 13 + "1" + "]" * 13, "12 deep"),
        ("true?1:" * 13 + "1", "12 deep"),
        ("call.intents.exists(a, call.products.exists(b, call.questions.exists(c, true)))", "2 deep"),
        ("call.intents.map(a, a).exists(b, true)", "computed"),
        ("(call.intents + call.intents).exists(b, true)", "computed"),
        ("call.intents.exists(a, call.products.exists(b, a + b == 'x'))", "not in a list in a list"),
        ("call.intents.exists(a, a + a + a + a + a + a + a == 'x')", "5 times"),
        ("call.intents.exists(a, call.products.map(b, b) == [])", "map may not"),
        ("call.intents.exists(a, call.products.exists(b, " + "b == a && " * 12 + "true))", "40 words"),
        ("call.intents.exists(a, a.matches('[a-z]{2}'))", "no {"),
        ("call.intents.exists(a, call.products.exists(b, b.matches('x')))", "not in a list in a list"),
        ("call.summary.matches(call.type)", "written out"),
        (r"call.summary.matches(r'\w{1,1000}')", "classes"),
        (r"call.summary.matches(r'(\w{1,20}){1,20}')", "classes"),
        ("call.summary.matches('" + "x" * 201 + "')", "200 characters"),
        (" || ".join(["call.summary.matches('x')"] * 6), "5 times"),
        ("call.intents.exists(a == 'x')", "name of your choice"),
        ("call.intents.exists(call, true)", "name of your choice"),
        ("call.summary.lowerAscii() == 'x'", "no function"),
        ("sze(call.intents) == 1", 'mean "size"'),
        ("b'x' == call.summary", "blank before"),
        ("'''x''' == call.summary", "blank before"),
        ("call.summary == 'x", "blank before"),
        ("call.score = 3", "Write =="),
        ("call.a | true", "Write ||"),
        ("call.score > 80)", "closes nothing"),
        ("(call.score > 80]", "closes nothing"),
        ("(call.score > 80", "not closed"),
        (".call.score", "between"),
        ("Call{score: 1}", "cannot stand"),
        ("has(call.data['x'])", "has()"),
        ("call.score > 8\u200b0", "invisible"),
    ],
)
def test_what_cannot_be_bounded_is_refused(text: str, part_of_reason: str) -> None:
    """Each of these can end the process, hold it for seconds, or be read differently by the library."""
    assert [problem.text for problem in scan(text).problems if part_of_reason in problem.text], scan(text).problems


AT_THE_BOUNDS = {
    "not": "!" * 198 + "true",
    "minus": "-" * 196 + "1 == 1",
    "sum": "1" + "+1" * 98 + " > 0",
    "or": "true" + "||true" * 99,
    "members": "call.data" + ".b" * 97 + " == 1",
    "equal": "true" + "==true" * 99,
    "parentheses": "(" * 12 + "true" + ")" * 12,
    "lists": "[" * 11 + "1" + "]" * 11 + " == [1]",
    "maps": "{1:" * 12 + "1" + "}" * 12 + " == {}",
    "choices": "true ? true : " * 12 + "true",
    "choices in parentheses": "(true ? " * 6 + "true" + " == true" * 80 + " : true)" * 6,
    "negated parentheses": "!(" * 12 + "true" + " == true" * 75 + ")" * 12,
}


IN_A_SMALL_THREAD = """
import json, sys, threading
from rules.conditions import Checked, check, evaluate
from tests.rules.builders import facts

known, came_back = facts(), []

def run(name, text):
    checked = check(text)
    if isinstance(checked, Checked):
        evaluate(checked, known)
    came_back.append(name)

threading.stack_size(192 * 1024)
for name, text in json.loads(sys.argv[1]).items():
    print(name, flush=True)
    thread = threading.Thread(target=run, args=(name, text))
    thread.start()
    thread.join()
    assert came_back[-1:] == [name]
"""


def test_the_bounds_are_safe_in_a_small_thread() -> None:
    """Workers run rules in threads, and on some systems a thread has little stack. Run apart, since a miss is a crash."""
    assert {name: scan(text).problems for name, text in AT_THE_BOUNDS.items() if scan(text).problems} == {}
    done = subprocess.run(
        [sys.executable, "-c", IN_A_SMALL_THREAD, json.dumps(AT_THE_BOUNDS)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=PROJECT,
    )
    assert done.returncode == 0, f"{done.stdout.split()[-1:]}: {done.stderr[-500:]}"


@pytest.mark.parametrize("text", ["(" * 20_000, "[" * 20_000 + "]" * 20_000, "!" * 40_000, "a." * 20_000, "'" * 40_000])
def test_nests_that_would_end_the_process_are_refused(text: str) -> None:
    """Forty kilobytes of this are a segmentation fault in the library."""
    assert not isinstance(check(text), Checked)
    # 2,000 characters of the same pass the length and must be stopped by the count.
    assert not isinstance(check(text[: bounds.MAX_CHARACTERS]), Checked)


def _words() -> st.SearchStrategy[str]:
    words = [
        "call",
        ".",
        "score",
        "data",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "?",
        ":",
        "!",
        "-",
        "&&",
        "||",
        "==",
        "in",
        "1",
    ]
    words += [
        "'x'",
        '"',
        "'",
        "has",
        "exists",
        "map",
        "filter",
        ",",
        "p",
        "matches",
        "intents",
        "${",
        " ",
        "r'",
        "//",
        "\n",
    ]
    return st.lists(st.sampled_from(words), max_size=120).map("".join)


@given(st.one_of(st.text(max_size=300), _words()))
def test_any_text_can_be_checked(text: str) -> None:
    """A text box is foreign input: every answer is a checked expression or sentences."""
    checked = check(text)
    if isinstance(checked, tuple):
        assert checked
        assert all(problem.text for problem in checked)
    else:
        assert scan(text).problems == ()


@given(_words())
def test_a_brace_that_closes_is_a_brace(text: str) -> None:
    end = closing_brace(text, 0)
    assert end is None or text[end] == "}"


def test_checking_is_safe_from_several_threads() -> None:
    """The console checks while workers decide; both use the same cache."""
    wrong: list[object] = []

    def run(number: int) -> None:
        for step in range(50):
            if not isinstance(check(f"call.score > {number * 50 + step}.5"), Checked):
                wrong.append(number)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
