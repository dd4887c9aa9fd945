"""Section of a recipe whose model searches and chooses for itself when it is deployed."""

from typing import Literal

from finetrail.config.sections.fields import Count, Section, Text, result


class Student(Section):
    """The tuned model writes its search queries, and chooses its passages, on its own history.

    Train rows teach it both: the queries that `queries.model` wrote, where `queries.enabled`, and the chunks that were
    labelled relevant. At prediction nobody else is asked.
    """

    choice: Literal["model", "reranker"] = result(
        "model",
        "who chooses among the reranked chunks: `model`: the student, which is trained on answers from the relevant "
        "ones alone; `reranker`: the first `folds.evidence` are shown, as in training",
    )
    query_prompt: Text = result(
        "Write web search queries that would find what answers the last question, one a line, the best first.",
        "system message of the rows that teach it to write queries, and of its prompts for them",
    )
    choice_prompt: Text = result(
        "Name the numbered passages that help to answer the question, such as: 1, 3. If none does, say: none",
        "system message of the rows that teach it to choose, and of its prompts for that",
    )
    max_tokens: Count = result(64, "longest list of queries, or of numbers, in tokens")
