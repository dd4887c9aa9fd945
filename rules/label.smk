# A rule's command, log, resources and retries follow from its script and its name: common/step.smk.
rule label_listwise:
    """Let a model choose among all candidates of each train record, in one call a record."""
    input:
        **asking("label.listwise", shards="recall_labeled"),
        rows="<results>/{recipe}/recall.jsonl",
        splits="<results>/{recipe}/splits.jsonl",
        passages="<results>/{recipe}/passages.jsonl",
    output:
        rows="<results>/{recipe}/recall_labeled.jsonl",
        meta="<results>/{recipe}/recall_labeled.meta.json",
    wildcard_constraints:
        recipe=recipes_where(lambda recipe: recipe.label and recipe.label.listwise),
    conda:
        "../envs/data.yaml"
    params:
        **of("label/label_listwise.py"),
    shell:
        STEP


use rule label_listwise as label_listwise_shard with:
    output:
        **shard_of("recall_labeled"),


rule label_relevance:
    """Judge each reranked passage against its question, one call a passage; train records only."""
    input:
        **asking("label.model", shards="pointwise_labeled"),
        rows="<results>/{recipe}/reranked.jsonl",
        splits="<results>/{recipe}/splits.jsonl",
        passages="<results>/{recipe}/passages.jsonl",
    output:
        rows="<results>/{recipe}/pointwise_labeled.jsonl",
        meta="<results>/{recipe}/pointwise_labeled.meta.json",
    wildcard_constraints:
        recipe=recipes_with("label"),
    conda:
        "../envs/data.yaml"
    params:
        **of("label/label_relevance.py", prompt=relevance_prompt),
    shell:
        STEP


use rule label_relevance as label_relevance_shard with:
    output:
        **shard_of("pointwise_labeled"),


use rule label_relevance as label_relevance_second with:
    input:
        **asking("label.second", shards="pointwise_labeled_second"),
        rows="<results>/{recipe}/reranked.jsonl",
        splits="<results>/{recipe}/splits.jsonl",
        passages="<results>/{recipe}/passages.jsonl",
    output:
        rows="<results>/{recipe}/pointwise_labeled_second.jsonl",
        meta="<results>/{recipe}/pointwise_labeled_second.meta.json",
    wildcard_constraints:
        recipe=recipes_where(lambda recipe: recipe.label and recipe.label.second),
    params:
        **of(
            "label/label_relevance.py",
            prompt=relevance_prompt,
            asks="label.second",
        ),


use rule label_relevance_second as label_relevance_second_shard with:
    output:
        **shard_of("pointwise_labeled_second"),


rule filter_passages:
    """Decide by the judges' labels which passages count as relevant, and report how far the judges agree."""
    input:
        rows="<results>/{recipe}/pointwise_labeled.jsonl",
        listwise=listwise_labels,
        second=second_labels,
    output:
        rows="<results>/{recipe}/relevant.jsonl",
        dropped="<results>/{recipe}/relevant.dropped.jsonl",
        report="<results>/{recipe}/label_report.json",
        meta="<results>/{recipe}/relevant.meta.json",
    wildcard_constraints:
        recipe=recipes_with("label"),
    conda:
        "../envs/data.yaml"
    params:
        **of("label/filter_passages.py"),
    shell:
        STEP


rule pair_gold:
    """Make the pairs that the labeller is calibrated on: those that people labelled, and planted ones."""
    input:
        rows="<results>/{recipe}/recall.jsonl",
        splits="<results>/{recipe}/splits.jsonl",
        passages="<results>/{recipe}/passages.jsonl",
        gold=gold_files,
    output:
        rows="<results>/{recipe}/calibration/pairs.jsonl",
        dropped="<results>/{recipe}/calibration/pairs.dropped.jsonl",
        meta="<results>/{recipe}/calibration/pairs.meta.json",
    wildcard_constraints:
        recipe=recipes_where(lambda recipe: recipe.label and recipe.label.calibration),
    conda:
        "../envs/data.yaml"
    params:
        **of("label/pair_gold.py", source=digest_of(gold_files)),
    shell:
        STEP


use rule label_relevance as label_gold with:
    input:
        **asking("label.model"),
        rows="<results>/{recipe}/calibration/pairs.jsonl",
        splits="<results>/{recipe}/splits.jsonl",
        passages="<results>/{recipe}/passages.jsonl",
    output:
        rows="<results>/{recipe}/calibration/labeled.jsonl",
        meta="<results>/{recipe}/calibration/labeled.meta.json",
    wildcard_constraints:
        recipe=recipes_where(lambda recipe: recipe.label and recipe.label.calibration),
    params:
        **of("label/label_relevance.py", prompt=relevance_prompt, every_split=True),


rule report_calibration:
    """Report how good the labeller is, against people's labels and on planted passages."""
    input:
        pairs="<results>/{recipe}/calibration/labeled.jsonl",
        dropped="<results>/{recipe}/calibration/pairs.dropped.jsonl",
        labels="<results>/{recipe}/pointwise_labeled.jsonl",
        splits="<results>/{recipe}/splits.jsonl",
    output:
        report="<results>/{recipe}/label_calibration.json",
        meta="<results>/{recipe}/label_calibration.meta.json",
    wildcard_constraints:
        recipe=recipes_where(lambda recipe: recipe.label and recipe.label.calibration),
    conda:
        "../envs/data.yaml"
    params:
        **of("label/report_calibration.py"),
    shell:
        STEP


rule plot_calibration:
    """Draw a calibration: of the labeller, or of the judge of answers."""
    input:
        report="<results>/{recipe}/{report}_calibration.json",
    output:
        picture="<results>/{recipe}/plots/{report}_calibration.svg",
        meta="<results>/{recipe}/plots/{report}_calibration.meta.json",
    wildcard_constraints:
        report="label|judge",
    conda:
        "../envs/plots.yaml"
    params:
        **of("label/plot_calibration.py", title="{recipe}: {report}"),
    shell:
        STEP
