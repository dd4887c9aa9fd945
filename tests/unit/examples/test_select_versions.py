from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetrail.errors import FinetrailError
from finetrail.examples import select
from finetrail.examples.select import Drop, select_versions
from finetrail.text.equal import normalise


def version(record: str, number: int, answer: str, correct: bool = True) -> dict[str, Any]:
    verdict = {"correct": correct, "call": "c"}
    row = {"id": f"{record}v{number}", "record_id": record, "version": number, "answer": answer}
    return {**row, "verdict": verdict}


def choose(judged: list[dict[str, Any]], contexts: dict[str, str], **changed: Any) -> select.Selection:
    return select_versions(judged, contexts, **{"keep": "all", "refusal_share": 0.0, "seed": 0, **changed})


def test_normalisation_folds_what_makes_no_difference() -> None:
    same = ["In 1995.", "  in  1995", "\u201cIN\u00a01995!\u201d", "'In\n1995'."]
    assert {normalise(text) for text in same} == {"in 1995"}
    assert normalise("cafe\u0301") == normalise("Caf\u00c9")
    assert len({normalise(text) for text in ("5", "-5", ".5", "$5", "5%", "(5", "5\u00b2", "52")}) == 8
    assert normalise("in 1995, or 1996") != normalise("in 1995 or 1996")


def test_equal_answers_to_one_record_count_once() -> None:
    judged = [
        version("a", 1, "Paris."),
        version("a", 0, "paris"),
        version("a", 2, "Lyon", False),
        version("a", 3, "P"),
    ]
    got = choose(judged, {"a": "q"})
    assert got.kept == ["av0", "av3"]
    assert got.dropped_versions == [Drop("av1", select.REPEATED, "av0"), Drop("av2", select.NOT_CORRECT)]


def test_equal_answers_to_equal_questions_of_other_records_count_once() -> None:
    judged = [version(record, 0, "Paris") for record in "abc"]
    got = choose(judged, {"a": "Capital?", "b": "capital", "c": "Largest city?"})
    assert got.kept == ["av0", "cv0"]
    assert got.dropped_versions == [Drop("bv0", select.REPEATED_ELSEWHERE, "av0")]
    assert got.dropped_records == [Drop("b", select.ALL_ELSEWHERE)]


def test_best_is_what_most_versions_say_then_the_earliest() -> None:
    judged = [version("a", n, answer) for n, answer in enumerate(["x", "y", "Y", "z"])]
    judged += [version("b", n, answer) for n, answer in enumerate(["x", "y"])]
    got = choose(judged, {"a": "q", "b": "r"}, keep="best")
    assert got.kept == ["av1", "bv0"]
    assert Drop("av0", select.NOT_BEST, "av1") in got.dropped_versions
    assert Drop("av2", select.REPEATED, "av1") in got.dropped_versions


@pytest.mark.parametrize(("share", "refused"), [(0.0, 0), (0.1, 1), (0.25, 3), (0.5, 9), (0.9, 20)])
def test_refusals_are_at_most_their_share_of_all_examples(share: float, refused: int) -> None:
    judged = [version(f"good{n}", 0, f"answer {n}") for n in range(9)]
    judged += [version(f"bad{n}", 0, "x", correct=False) for n in range(20)]
    contexts = {row["record_id"]: row["record_id"] for row in judged}
    got = choose(judged, contexts, refusal_share=share)
    assert len(got.refused) == refused
    assert len(got.refused) <= share * (len(got.refused) + len(got.kept)) + 1e-9
    assert [d.reason for d in got.dropped_records] == [select.NO_CORRECT] * (20 - refused)
    assert choose(judged[::-1], contexts, refusal_share=share).refused == got.refused
    if 0 < refused < 20:
        assert any(choose(judged, contexts, refusal_share=share, seed=s).refused != got.refused for s in (1, 2, 3))


def test_a_record_without_versions_is_reported_and_never_refused() -> None:
    got = choose([version("a", 0, "x")], {"a": "q", "b": "r"}, refusal_share=0.9)
    assert got.refused == []
    assert got.dropped_records == [Drop("b", select.NO_VERSION)]


def test_a_records_own_answer_prevents_no_refusal_and_gives_way_to_it() -> None:
    judged = [version(record, -1, f"gold {record}") for record in "abcd"]
    judged += [version(record, 0, "x", correct=False) for record in "abc"] + [version("d", 0, "right")]
    contexts = {record: record for record in "abcde"}
    none, some = (choose(judged, contexts, refusal_share=share) for share in (0.0, 0.5))
    assert none.kept == ["av-1", "bv-1", "cv-1", "dv-1", "dv0"]
    assert none.refused == []
    assert len(some.refused) == 2
    assert "d" not in some.refused
    assert sum(d.reason == select.REFUSED for d in some.dropped_versions) == 2
    assert len(some.kept) == 3
    assert some.dropped_records == [Drop("e", select.NO_VERSION)]


def test_a_question_that_was_answered_for_one_record_is_refused_for_none() -> None:
    judged = [
        version("a", -1, "x"),
        version("b", 0, "x"),
        version("a", 0, "x", correct=False),
        version("c", -1, "z"),
    ]
    got = choose(judged, {"a": "same", "b": "same", "c": "other"}, refusal_share=0.5)
    assert got.refused == []
    assert got.kept == ["av-1", "cv-1"]
    assert Drop("bv0", select.REPEATED_ELSEWHERE, "av-1") in got.dropped_versions


def test_one_question_of_two_records_is_refused_once() -> None:
    judged = [version("a", 0, "x", correct=False), version("b", 0, "y", correct=False)]
    judged += [version("b", -1, "gold"), *(version("c", n, str(n)) for n in range(9))]
    got = choose(judged, {"a": "same", "b": "same", "c": "other"}, refusal_share=0.5)
    (refused,) = got.refused
    (other,) = {"a", "b"} - {refused}
    assert got.dropped_records == [Drop(other, select.REFUSED_ELSEWHERE)]
    assert Drop("bv-1", select.REFUSED) in got.dropped_versions
    assert got.kept == [f"cv{n}" for n in range(9)]


@pytest.mark.parametrize(
    ("judged", "changed", "cause"),
    [
        ([version("z", 0, "x")], {}, "zv0: its record z is not to be trained on"),
        ([version("a", 0, "x")] * 2, {}, "av0: the id of the version occurs twice"),
        ([], {"refusal_share": 1.0}, "refusal share"),
    ],
)
def test_bad_input_is_refused(judged: list[dict[str, Any]], changed: dict[str, Any], cause: str) -> None:
    with pytest.raises(FinetrailError, match=cause):
        choose(judged, {"a": "q"}, **changed)


ROWS = st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from(["x", "X.", "y", ""]), st.booleans()), max_size=40)


@settings(max_examples=400, deadline=None)
@given(ROWS, st.sampled_from(["all", "best"]), st.sampled_from([0.0, 0.1, 1 / 3, 0.5, 0.9]), st.integers(0, 3))
def test_everything_that_comes_in_goes_somewhere(
    given_rows: list[tuple[str, str, bool]], keep: str, share: float, seed: int
) -> None:
    numbers = Counter(dict.fromkeys("ace", -1))
    judged = []
    for record, answer, correct in given_rows:
        judged.append(version(record, numbers[record], answer, correct))
        numbers[record] += 1
    contexts = {record: "same" if record in "ab" else record for record in "abcdef"}
    got = choose(judged, contexts, keep=keep, refusal_share=share, seed=seed)
    record_of = {row["id"]: row["record_id"] for row in judged}
    assert sorted([*got.kept, *(d.id for d in got.dropped_versions)]) == sorted(record_of)
    answered = {record_of[name] for name in got.kept}
    assert sorted([*answered, *got.refused, *(d.id for d in got.dropped_records)]) == sorted(contexts)
    right = {row["id"] for row in judged if row["verdict"]["correct"]}
    generated = {row["id"] for row in judged if row["version"] >= 0}
    assert set(got.kept) <= right
    assert not any(record_of[name] in got.refused for name in right & generated)
    assert {d.winner for d in got.dropped_versions} - {None} <= set(got.kept)
    solved = {contexts[record_of[name]] for name in right & generated}
    refused = [contexts[record] for record in got.refused]
    assert solved.isdisjoint(refused)
    assert len(refused) == len(set(refused))
    assert {contexts[record] for record in answered}.isdisjoint(refused)
    assert solved <= {contexts[record] for record in answered}
    if keep == "best":
        assert len(answered) == len(got.kept)
    assert len(got.refused) <= share * (len(got.refused) + len(got.kept)) + 1e-9
