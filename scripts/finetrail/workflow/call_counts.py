"""How many calls a rule makes: what a plan bounds, and what the time of a job with a server of its own follows from."""

from finetrail.config.recipe import RecipeConfig


def calls_a_record(recipe: RecipeConfig, rule: str) -> int | None:
    """Return the most calls that a rule makes for one record; None where that is not known."""
    versions = recipe.synthesize.versions if recipe.synthesize else 0
    questions = recipe.synthesize.questions if recipe.synthesize else 0
    most = {
        "make_queries": int(recipe.queries.enabled),
        "search_passages": recipe.queries.count if recipe.queries.enabled else 1,
        "label_listwise": 1,
        "label_relevance": recipe.rerank.keep_chunks,
        "label_relevance_second": recipe.rerank.keep_chunks,
        "generate_answers": versions,
        "write_reasoning": versions,
        "judge_answers": versions,
        "generate_qa": 1,
        "describe_images": len(recipe.vision.classes) if recipe.vision else 0,  # an image of each class
        "link_captions": len(recipe.vision.classes) if recipe.vision else 0,
        "summarize_discussions": 1,
        "validate_qa": questions,
        "judge_texts": 2 * len(recipe.vision.classes) if recipe.vision else 0,  # a caption and a summary of each image
        "judge_predictions": int(recipe.evaluate is not None and recipe.evaluate.judge is not None),
    }
    return most.get(rule)
