# What the rules of the label phase share: the prompt, and which judges there are.


def relevance_prompt(wildcards):
    """Return the name of the prompt for `label.scale`."""
    graded = CONFIG.recipe(wildcards.recipe).label.scale == "graded"
    return "grade_relevance" if graded else "label_relevance"


def listwise_labels(wildcards):
    """Return the choice among all candidates; nothing where none is made."""
    chosen = CONFIG.recipe(wildcards.recipe).label.listwise
    return [f"{RESULTS}/{wildcards.recipe}/recall_labeled.jsonl"] if chosen else []


def second_labels(wildcards):
    """Return the second judge's labels; nothing where there is none."""
    second = CONFIG.recipe(wildcards.recipe).label.second
    folder = f"{RESULTS}/{wildcards.recipe}"
    return [f"{folder}/pointwise_labeled_second.jsonl"] if second else []


def gold_files(wildcards):
    """Return the files of people's labels."""
    return [
        Path(path) for path in originals.gold_files(CONFIG.recipe(wildcards.recipe))
    ]
