"""ROUGE: n-grams and the longest common subsequence that a text shares with its reference, by the reference library.

Source: Lin 2004, "ROUGE: A Package for Automatic Evaluation of Summaries"; F-measures, words stemmed (Porter).
"""

from collections.abc import Iterator, Sequence

KINDS = {"rouge1": "ROUGE-1", "rougeL": "ROUGE-L"}


def rouge(pairs: Sequence[tuple[str, str]]) -> Iterator[dict[str, float]]:
    """Yield the F-measures of each (text, reference), from 0 to 1, by the names of `KINDS`."""
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(list(KINDS), use_stemmer=True)
    for text, reference in pairs:
        found = scorer.score(reference, text)
        yield {kind: round(found[kind].fmeasure, 6) for kind in KINDS}
