"""Which state may follow which, and what an ended delivery means for those behind it."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.outbox.states import OPEN, Release, Standing, State, Waiting, may_follow, released, together

D, P, F, W, X, H, U = (
    State.DELIVERED,
    State.PENDING,
    State.IN_FLIGHT,
    State.WAITING,
    State.DEAD,
    State.HELD,
    State.UNCERTAIN,
)


def w(name: str, seq: int, *needs: str, record: str = "") -> Waiting:
    return Waiting(name, seq, needs, record or name)


def s(name: str, seq: int, state: State, *, record: str = "") -> Standing:
    return Standing(name, seq, record or name, state)


@pytest.mark.parametrize(
    ("case", "waiting", "standing", "expected"),
    [
        ("nothing before it", [w("b", 2)], [], {"b": P}),
        ("what it needs is delivered", [w("b", 2, "a")], [s("a", 1, D)], {"b": P}),
        ("what it needs is on its way", [w("b", 2, "a")], [s("a", 1, F)], {}),
        ("what it needs is uncertain: a person decides", [w("b", 2, "a")], [s("a", 1, U)], {}),
        ("what it needs is dead", [w("b", 2, "a")], [s("a", 1, X)], {"b": H}),
        ("what it needs is held", [w("b", 2, "a")], [s("a", 1, H)], {"b": H}),
        ("what it needs is nowhere", [w("b", 2, "a")], [], {"b": H}),
        ("an earlier write of its record is open", [w("b", 2, record="r")], [s("a", 1, P, record="r")], {}),
        ("an earlier write of its record has ended", [w("b", 2, record="r")], [s("a", 1, X, record="r")], {"b": P}),
        ("a later write of its record does not matter", [w("b", 2, record="r")], [s("c", 3, P, record="r")], {"b": P}),
        ("another record's retry does not hold it up", [w("b", 2, record="r")], [s("a", 1, P, record="q")], {"b": P}),
        ("two of one record go one by one", [w("b", 2, record="r"), w("c", 3, record="r")], [], {"b": P}),
        (
            "a held one lets the next of its record pass",
            [w("b", 2, "a", record="r"), w("c", 3, record="r")],
            [s("a", 1, X)],
            {"b": H, "c": P},
        ),
        ("held goes down the chain", [w("b", 2, "a"), w("c", 3, "b")], [s("a", 1, X), s("b", 2, W)], {"b": H, "c": H}),
    ],
)  # fmt: skip
def test_what_becomes_of_those_that_wait(
    case: str, waiting: list[Waiting], standing: list[Standing], expected: dict[str, State]
) -> None:
    assert {one.id: one.state for one in released(waiting, standing)} == expected, case


names = st.sampled_from("abcdefgh")


@given(
    waiting=st.lists(
        st.tuples(names, st.sets(names, max_size=2), st.sampled_from("rst")), max_size=6, unique_by=lambda t: t[0]
    ),
    ended=st.dictionaries(names, st.sampled_from([D, X, U, H, P, F]), max_size=6),
)
def test_nothing_waits_for_what_cannot_come(waiting: list[tuple[str, set[str], str]], ended: dict[str, State]) -> None:
    """Released again and again, everything either goes on or waits for something that is still open or uncertain."""
    asked = {
        name: Waiting(name, place, tuple(needs - {name}), record) for place, (name, needs, record) in enumerate(waiting)
    }
    states = {name: state for name, state in ended.items() if name not in asked}
    records = {name: f"own-{name}" for name in states} | {name: one.record_key for name, one in asked.items()}
    seqs = {name: 100 + place for place, name in enumerate(states)} | {name: one.seq for name, one in asked.items()}
    left = dict(asked)
    for _ in range(20):
        standing = [Standing(name, seqs[name], records[name], states.get(name, W)) for name in seqs]
        step: list[Release] = released(list(left.values()), standing)
        if not step:
            break
        for freed in step:
            left.pop(freed.id)
            states[freed.id] = D if freed.state is P else H
    for stuck in left.values():
        needed = [states.get(need, W if need in left else X) for need in stuck.needs]
        assert any(state in OPEN or state is U for state in needed) or any(
            other.record_key == stuck.record_key and other.seq < stuck.seq for other in left.values()
        )


def test_an_ended_delivery_stays_ended() -> None:
    assert not any(may_follow(D, other) or may_follow(State.CANCELLED, other) for other in State)
    assert may_follow(X, P)
    assert may_follow(U, D)
    assert not may_follow(W, D)


@pytest.mark.parametrize(
    ("case", "waiting", "standing", "going", "expected"),
    [
        ("it needs what goes out", [w("b", 2, "a")], [s("a", 1, P)], "a", "b"),
        ("a whole chain", [w("b", 2, "a"), w("c", 3, "b"), w("d", 4, "a", "c")], [s("a", 1, P)], "a", "bcd"),
        ("it needs something else, which has arrived", [w("c", 3, "a", "b")], [s("a", 1, D), s("b", 2, P)], "b", "c"),
        ("it needs something else, which is away", [w("c", 3, "a", "b")], [s("a", 1, F), s("b", 2, P)], "b", ""),
        ("it needs something else, which is dead", [w("c", 3, "a", "b")], [s("a", 1, X), s("b", 2, P)], "b", ""),
        ("it needs something that nobody knows", [w("c", 3, "a", "b")], [s("b", 2, P)], "b", ""),
        ("it needs nothing that goes out", [w("c", 3, record="r")], [s("b", 2, P, record="r")], "b", ""),
        ("its record is written by what it needs", [w("b", 2, "a", record="r")], [s("a", 1, P, record="r")], "a", "b"),
        ("its record is written by one before it too", [w("c", 3, "a", record="r")],
         [s("a", 1, P), s("b", 2, P, record="r")], "ab", ""),
        ("its record is written by one that waits before it", [w("b", 2, "a", record="r"), w("c", 3, "a", record="r")],
         [s("a", 1, P)], "a", "b"),
        ("its record was written by one that has ended", [w("c", 3, "a", record="r")],
         [s("a", 1, P), s("b", 2, X, record="r")], "a", "c"),
        ("what it needs stands behind it", [w("b", 2, "c")], [s("c", 3, P)], "c", ""),
    ],
)  # fmt: skip
def test_what_goes_out_with_what_it_needs(
    case: str, waiting: list[Waiting], standing: list[Standing], going: str, expected: str
) -> None:
    assert together(waiting, standing, going) == list(expected), case


@given(
    waiting=st.lists(
        st.tuples(names, st.sets(names, max_size=2), st.sampled_from("rst")), max_size=6, unique_by=lambda t: t[0]
    ),
    others=st.dictionaries(names, st.sampled_from([D, X, U, H, P, F]), max_size=6),
)
def test_nothing_goes_out_together_that_would_not_go_out_one_by_one(
    waiting: list[tuple[str, set[str], str]], others: dict[str, State]
) -> None:
    """Had each arrived before the next, everyone would have gone on by itself."""
    asked = {
        name: Waiting(name, place + 10, tuple(needs - {name}), record)
        for place, (name, needs, record) in enumerate(waiting)
    }
    standing = {
        name: Standing(name, place, f"own-{name}", state)
        for place, (name, state) in enumerate(others.items())
        if name not in asked
    }
    going = [name for name, one in standing.items() if one.state is P]
    for name in going:
        standing[name] = replace(standing[name], state=D)
    joined = together(
        list(asked.values()), [replace(one, state=P) if one.id in going else one for one in standing.values()], going
    )
    for name in joined:
        one = asked.pop(name)
        freed = {step.id: step.state for step in released([one, *asked.values()], list(standing.values()))}
        assert freed.get(name) is P
        standing[name] = Standing(name, one.seq, one.record_key, D)
