"""The straightforward way to what `folds.py` measures: ``folds_peer.py RECORDS ROWS``, on pandas and datasketch."""

import sys

import pandas as pd
from datasketch import MinHash, MinHashLSH

THRESHOLD, SHINGLE, SLOTS = 0.8, 5, 128


def runs(text: str, size: int) -> set[str]:
    """Return the runs of `size` words."""
    words = text.lower().split()
    return {" ".join(words[i : i + size]) for i in range(max(1, len(words) - size + 1))}


def main() -> None:
    """Find near-duplicates, split by sessions, and look for shared 13-grams."""
    rows = pd.read_json(sys.argv[1], lines=True, nrows=int(sys.argv[2]))
    rows["text"] = rows["question"] + "\n" + rows["answer"]
    rows = rows.drop_duplicates("text")
    index = MinHashLSH(threshold=THRESHOLD, num_perm=SLOTS)
    shingles: dict[int, set[str]] = {}
    for row in rows.itertuples():
        found = runs(row.text, SHINGLE)
        sketch = MinHash(num_perm=SLOTS)
        for run in found:
            sketch.update(run.encode())
        candidates = [shingles[key] for key in index.query(sketch)]
        if not any(len(found & other) / len(found | other) >= THRESHOLD for other in candidates):
            index.insert(row.Index, sketch)
            shingles[row.Index] = found
    kept = rows.loc[list(shingles)]
    sessions = kept["session_id"].drop_duplicates().sample(frac=1, random_state=42)
    trained = set(sessions.iloc[: int(0.8 * len(sessions))])
    train, held_out = kept[kept["session_id"].isin(trained)], kept[~kept["session_id"].isin(trained)]
    known: set[str] = set().union(*(runs(text, 13) for text in held_out["text"]))
    covered: set[str] = set().union(*(runs(text, 8) for text in held_out["text"]))
    contaminated = train["text"].map(lambda text: not known.isdisjoint(runs(text, 13)))
    shared = train["text"].map(lambda text: len(covered & runs(text, 8))).sum()
    print(len(kept), int(contaminated.sum()), int(shared))


if __name__ == "__main__":
    main()
