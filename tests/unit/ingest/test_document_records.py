"""From a folder of documents to records: every file is accounted for, and every chunk is found again exactly."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from finetrail.errors import FinetrailError
from finetrail.rows.records import read_rows, read_table
from ingest import chunk_documents, ingest_records, read_documents
from ingest.readers import documents

BUNDLED = Path(__file__).resolve().parents[3] / "data/documents"
FAULTS = Path(__file__).resolve().parents[2] / "data/faults/pairs"
READING = {"documents": {"max_file_mb": 50, "seconds_per_file": 60.0, "memory_mb_per_file": 2000}}
CUTTING = {"unit": "characters", "chunk_size": 700, "overlap": 120, "tokenizer": None}


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, clean_environment: None) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FINETRAIL_RUN", str(tmp_path / "run"))
    yield tmp_path


def read(*places: Path | str) -> int:
    files = ["--out", "documents.jsonl", "--report", "ingest_report.json", "--meta", "d.meta.json"]
    return read_documents.main([*files, "--settings", json.dumps(READING), "--files", *map(str, places)])


def cut(**changes: Any) -> int:
    files = ["--rows", "documents.jsonl", "--out", "chunks.jsonl", "--meta", "c.meta.json"]
    return chunk_documents.main([*files, "--settings", json.dumps({"documents": CUTTING | changes})])


def report() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(Path("ingest_report.json").read_text(encoding="utf-8"))
    return content


def assert_spans() -> None:
    texts = {name: row["text"] for name, row in read_table(Path("documents.jsonl")).items()}
    for chunk in read_rows(Path("chunks.jsonl")):
        assert chunk["text"] == texts[chunk["document"]][chunk["start"] : chunk["end"]]


def test_the_bundled_documents_are_all_accounted_for_and_their_chunks_are_exact() -> None:
    assert read(BUNDLED / "files") == 0
    told = report()
    files = {
        path.relative_to(BUNDLED / "files").as_posix() for path in (BUNDLED / "files").rglob("*") if path.is_file()
    }
    assert {entry["file"] for entry in told["entries"]} == files
    assert told["files"] == told["read"] + told["not_read"] == len(files)
    assert {entry["file"] for entry in told["entries"] if entry["status"] == "not read"} == {
        "encodings/empty.txt", "encodings/whitespace_only.txt",
    }  # fmt: skip
    assert cut() == 0
    assert_spans()
    chunks = list(read_rows(Path("chunks.jsonl")))
    assert {chunk["document"] for chunk in chunks} == set(read_table(Path("documents.jsonl")))
    assert max(chunk["end"] - chunk["start"] for chunk in chunks) <= CUTTING["chunk_size"]
    assert len({chunk["id"] for chunk in chunks}) == len(chunks)


def test_chunks_by_the_tokens_of_a_named_tokenizer(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.txt").write_text("One two three four. " * 50, encoding="utf-8")
    assert read("in") == 0
    named = {"path": "tokenizer.json", "hub": None, "revision": None}
    assert cut(unit="tokens", chunk_size=20, overlap=5, tokenizer=named) == 0
    assert_spans()
    chunks = list(read_rows(Path("chunks.jsonl")))
    assert {len(tokenizer.encode(chunk["text"]).tokens) for chunk in chunks[:-1]} == {20}
    assert all(chunk["length"] == len(tokenizer.encode(chunk["text"]).tokens) for chunk in chunks)


def test_an_edit_changes_the_ids_of_the_chunks_that_it_touches_only(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    path = tmp_path / "in/a.md"
    parts = [f"# Part {number}\n\n" + f"Sentence of part {number}. " * 20 for number in range(6)]
    path.write_text("\n\n".join(parts), encoding="utf-8")
    assert read("in") == cut() == 0
    before = [chunk["id"] for chunk in read_rows(Path("chunks.jsonl"))]
    path.write_text("\n\n".join([*parts[:5], parts[5] + "More."]), encoding="utf-8")
    assert read("in") == cut() == 0
    after = [chunk["id"] for chunk in read_rows(Path("chunks.jsonl"))]
    assert after[:5] == before[:5]
    assert after[5:] != before[5:]


def test_links_hidden_files_and_odd_names_are_reported(tmp_path: Path) -> None:
    (tmp_path / "in/.git").mkdir(parents=True)
    (tmp_path / "in/.git/a.txt").write_text("hidden")
    (tmp_path / "secret.txt").write_text("outside")
    (tmp_path / "in/link.txt").symlink_to(tmp_path / "secret.txt")
    (tmp_path / "in/good.txt").write_text("good")
    Path(os.fsdecode(os.fsencode(str(tmp_path / "in")) + b"/b\xff.txt")).write_text("odd name")
    assert read("in") == 0
    entries = {entry["file"]: entry.get("reason") for entry in report()["entries"]}
    assert entries["good.txt"] is None
    assert entries[".git/a.txt"] == "hidden"
    assert str(entries["link.txt"]).startswith("a link")
    assert entries["b\\xff.txt"] is None
    assert "outside" not in Path("documents.jsonl").read_text(encoding="utf-8")


def test_what_cannot_be_opened_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in/locked").mkdir(parents=True)
    (tmp_path / "in/locked/a.txt").write_text("out of reach")
    (tmp_path / "in/good.txt").write_text("good")
    (tmp_path / "in/no.txt").symlink_to("gone")
    scandir = os.scandir

    def refuse(path: Any = ".") -> Any:
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    (tmp_path / "in/bad.txt").write_bytes(b"\0")
    assert read("in") == 0
    entries = {entry["file"]: entry.get("reason", "") for entry in report()["entries"]}
    assert entries.keys() == {"bad.txt", "good.txt", "locked", "no.txt"}
    assert entries["locked"] == "a folder that cannot be opened: none of its files was read"


def test_where_nothing_can_be_read_the_reasons_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").mkdir()
    assert read("in") == 1
    assert "no document could be read: there are no files" in capsys.readouterr().err
    for name, content in (("a.txt", ""), ("b.txt", ""), ("c.csv", "1,2")):
        (tmp_path / "in" / name).write_text(content)
    assert read("in") == 1
    said = "no document could be read: empty (2); of no kind that can be read (.csv) (1). Look at source.files"
    assert said in capsys.readouterr().err


def test_a_folder_that_is_missing_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert read("gone") == 1
    assert "gone: does not exist" in capsys.readouterr().err


def test_chunks_and_existing_pairs_become_records(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.md").write_text("# Head\n\nA sentence.", encoding="utf-8")
    assert read("in") == cut() == 0
    Path("p.json").write_text(json.dumps({"data": [{"instruction": " Q1? ", "output": "A1", "document": "a.md"}]}))
    Path("p.csv").write_text('question,answer\n"Q2, with\na line?",A2\nQ4\u2028of one\x0crow?,A4\n', encoding="utf-8")
    Path("p.jsonl").write_text('{"question":"Q3?","answer":"A3","context":"C","tag":1}\n')
    settings = {"limit": None, "source": {"format": "documents", "images": None, "fetch": None}}
    files = ["chunks.jsonl", "p.json", "p.csv", "p.jsonl"]
    arguments = [
        "--out",
        "records.jsonl",
        "--meta",
        "r.meta.json",
        "--settings",
        json.dumps(settings),
        "--files",
        *files,
    ]
    assert ingest_records.main(arguments) == 0
    chunk, *pairs = read_rows(Path("records.jsonl"))
    assert chunk["chunk"]["headings"] == ["Head"]
    assert [(pair["question"], pair["answer"]) for pair in pairs] == [
        ("Q1?", "A1"),
        ("Q2, with\na line?", "A2"),
        ("Q4\u2028of one\x0crow?", "A4"),
        ("Q3?", "A3"),
    ]
    assert pairs[0]["group_keys"]["document"] == chunk["group_keys"]["document"] == "a.md"
    assert pairs[3]["pair"]["context"] == "C"
    assert pairs[3]["extra"] == {"tag": 1}


@pytest.mark.parametrize(
    ("name", "content", "cause"),
    [
        ("a.json", "[1]", "a.json: entry 1: expected a JSON object, found int"), ("a.json", "{", "cannot be read"),
        ("a.jsonl", '{"question":"Q"}\n', "`answer` is missing"),
        ("chunks.jsonl", '{"question":"Q","answer":"A"}\n', "chunks.jsonl:1: no chunk of a document"),
        ("a.csv", "", "the file is empty"), ("a.json", '"text"', "expected a list"), ("a.json", "", "not valid JSON"),
        ("a.json", '{"a": [], "b": []}', "an object with one list"),
        ("a.json", '{"data": [{"question": "Q", "answer": "A", "answer": "B"}]}', "the key 'answer' occurs twice"),
        ("a.json", '[{"question": "Q", "answer": "A", "score": -Infinity}]', "entry 1: not valid JSON: -Infinity"),
        ("a.jsonl", '{"question": "Q", "answer": "A", "score": 1e999}\n', ":1: not valid JSON: the number 1e999"),
        ("a.csv", "frage,antwort\nQ,A\n", "no column `question` and `answer` .columns: frage, antwort"),
        ("a.csv", "question,answer\nQ,A, cut off\n", "a.csv:1: 3 cells, but the first line has 2"),
        ("a.csv", "question,answer\n", "no row below the first line"),
    ],
)  # fmt: skip
def test_bad_files_of_pairs_are_named(name: str, content: str, cause: str) -> None:
    Path(name).write_text(content)
    with pytest.raises(FinetrailError, match=cause):
        list(documents.read_records([Path(name)], images_root=None))


def pairs_of(*files: Path) -> list[tuple[str, str]]:
    return [(row["question"], row["answer"]) for row in documents.read_records(files, images_root=None)]


def test_what_an_instruction_is_about_is_part_of_the_question() -> None:
    asked = [question for question, _ in pairs_of(FAULTS / "alpaca_input.jsonl")]
    assert asked == [
        "Translate to French.\n\nThe harbour opens at seven.", "Translate to French.\n\nThe pier is closed.",
    ]  # fmt: skip
    rows = [{"input": "What?", "output": "A"}, {"instruction": "Say it.", "input": "", "output": "B"}]
    Path("a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert pairs_of(Path("a.jsonl")) == [("What?", "A"), ("Say it.", "B")]


@pytest.mark.parametrize(
    ("name", "cause"), [("nan_extra.json", "NaN is not JSON"), ("surrogate.json", "half of a surrogate pair")]
)
def test_a_list_is_held_to_what_lines_are_held_to(name: str, cause: str) -> None:
    with pytest.raises(FinetrailError, match=f"{name}: entry 1: .*{cause}"):
        pairs_of(FAULTS / name)


@pytest.mark.parametrize("sign", [",", ";", "\t", "|"])
@pytest.mark.parametrize("header", [("question", "answer"), (" Question ", "ANSWER"), ("Prompt", "re-sponse")])
def test_a_table_is_read_whatever_divides_its_columns(
    sign: str, header: tuple[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    named = (*(name.replace("re-", "Re") for name in header), "My Tag")
    rows = [named, ("When?", '"At seven, or ; at\t|nine"', "t"), ("Who?", '"Nobody\nknows"', "")]
    text = "\r\n".join(sign.join(row) for row in rows)
    Path("a.csv").write_text(f"\ufeff{text}\r\n\r\n", encoding="utf-8", newline="")
    assert pairs_of(Path("a.csv")) == [("When?", "At seven, or ; at\t|nine"), ("Who?", "Nobody\nknows")]
    (row, _) = documents.read_records([Path("a.csv")], images_root=None)
    assert row["extra"] == {"My Tag": "t"}
    assert "a.csv: columns that are only kept (`extra`): My Tag" in caplog.text


def only_record(reader: str) -> dict[str, Any]:
    """Ingest `a.jsonl` and return its one record."""
    settings = json.dumps({"limit": None, "source": {"format": reader, "images": None, "fetch": None}})
    made = ["--out", "records.jsonl", "--meta", "r.meta.json", "--settings", settings, "--files", "a.jsonl"]
    assert ingest_records.main(made) == 0
    (row,) = read_rows(Path("records.jsonl"))
    return row


def test_control_characters_are_taken_out_of_every_kind_of_record() -> None:
    Path("a.jsonl").write_text(
        '{"question": "Wh\\u0000en?\\u001b[0m", "answer": "At\\u0007 seven\\n.", "tag": "\\u0001x"}\n'
    )
    row = only_record("documents")
    assert (row["question"], row["answer"], row["extra"]) == ("When?[0m", "At seven\n.", {"tag": "x"})
    assert json.loads(Path("r.meta.json").read_text())["control_characters"] == 4


def test_control_characters_are_taken_out_of_a_case_but_not_of_the_name_of_its_file() -> None:
    element = {
        "image_rel_path": "a\u0001.gif",
        "cond_name": "scp",
        "caption": "A low\u0007 is west. It is wide. Air rises. So storms form.",
    }
    case = {"case": "2020_md0001", "global_summary": "Storms\u001b.", "discussion": "Air\u0000 rises."}
    Path("a.jsonl").write_text(json.dumps(case | {"elements": [element]}) + "\n")
    row = only_record("weatherqa")
    assert row["answer"] == row["case"]["summary"] == "Storms."
    held = json.dumps(row["case"])
    assert [name for name in ("\\u0000", "\\u0007", "\\u001b", "\\u0001") if name in held] == ["\\u0001"]
