rule label_listwise:
    """Let a model choose among all candidates of each train record, in one call a record."""
    input:
        rows="<results>/{recipe}/recall.jsonl",
        splits="<results>/{recipe}/splits.jsonl",
        passages="<results>/{recipe}/passages.jsonl",
        shards=shard_files("label", "recall_labeled"),
        served=served_model("label.listwise"),
    output:
        rows="<results>/{recipe}/recall_labeled.jsonl",
        meta="<results>/{recipe}/recall_labeled.meta.json",
    log:
        "<logs>/{recipe}/label_listwise.log",
    benchmark:
        "<benchmarks>/{recipe}/label_listwise.jsonl"
    wildcard_constraints:
        recipe=recipes_where(lambda recipe: recipe.label and recipe.label.listwise),
    retries: retries_of("label_listwise")
    conda:
        "../envs/data.yaml"
    threads: threads_of("label_listwise")
    resources:
        **resources_of("label_listwise", asks="label.listwise"),
    params:
        settings=settings_of(
            "label.listwise",
            "label.listwise_words",
            "label.show_image",
            "source.images",
        ),
        prompt=prompt_of("label_listwise"),
        digest=prompt_digest_of("label_listwise"),
        teacher=teacher_of("label.listwise"),
        code=code_of("label/label_listwise.py"),
        shard=shard_option,
    shell:
        "python scripts/label/label_listwise.py --recipe {wildcards.recipe} --rows {input.rows:q}"
        " --splits {input.splits:q} --passages {input.passages:q}"
        " --settings {params.settings:q} --prompt {params.prompt:q} --prompt-digest {params.digest}"
        " --shares {resources.llm} --code {params.code} {params.shard} --shards {input.shards:q}"
        " --out {output.rows:q} --meta {output.meta:q} 2> {log:q}"


use rule label_listwise as label_listwise_shard with:
    output:
        rows=temp("<results>/{recipe}/shards/recall_labeled/{shard}-of-{shards}.jsonl"),
        meta=temp(
            "<results>/{recipe}/shards/recall_labeled/{shard}-of-{shards}.meta.json"
        ),
    log:
        "<logs>/{recipe}/label_listwise.{shard}-of-{shards}.log",
    benchmark:
        "<benchmarks>/{recipe}/label_listwise.{shard}-of-{shards}.jsonl"


rule label_relevance:
    """Judge each reranked passage against its question, one call a passage; train records only."""
    input:
        rows="<results>/{recipe}/reranked.jsonl",
        splits="<results>/{recipe}/splits.jsonl",
        passages="<results>/{recipe}/passages.jsonl",
        shards=shard_files("label", "pointwise_labeled"),
        served=served_model("label.model"),
    output:
        rows="<results>/{recipe}/pointwise_labeled.jsonl",
        meta="<results>/{recipe}/pointwise_labeled.meta.json",
    log:
        "<logs>/{recipe}/label_relevance.log",
    benchmark:
        "<benchmarks>/{recipe}/label_relevance.jsonl"
    wildcard_constraints:
        recipe=recipes_with("label"),
    retries: retries_of("label_relevance")
    conda:
        "../envs/data.yaml"
    threads: threads_of("label_relevance")
    resources:
        **resources_of("label_relevance", asks="label.model"),
    params:
        settings=settings_of(
            "label.model",
            "label.scale",
            "label.relevant_from",
            "label.show_answer",
            "label.show_image",
            "source.images",
        ),
        prompt=label_prompt(prompt_of),
        digest=label_prompt(prompt_digest_of),
        teacher=teacher_of("label.model"),
        code=code_of("label/label_relevance.py"),
        shard=shard_option,
        choice="",
    shell:
        "python scripts/label/label_relevance.py --recipe {wildcards.recipe} --rows {input.rows:q}"
        " --splits {input.splits:q} --passages {input.passages:q} {params.choice}"
        " --settings {params.settings:q} --prompt {params.prompt:q} --prompt-digest {params.digest}"
        " --shares {resources.llm} --code {params.code} {params.shard} --shards {input.shards:q}"
        " --out {output.rows:q} --meta {output.meta:q} 2> {log:q}"


use rule label_relevance as label_relevance_shard with:
    output:
        rows=temp(
            "<results>/{recipe}/shards/pointwise_labeled/{shard}-of-{shards}.jsonl"
        ),
        meta=temp(
            "<results>/{recipe}/shards/pointwise_labeled/{shard}-of-{shards}.meta.json"
        ),
    log:
        "<logs>/{recipe}/label_relevance.{shard}-of-{shards}.log",
    benchmark:
        "<benchmarks>/{recipe}/label_relevance.{shard}-of-{shards}.jsonl"


use rule label_relevance as label_relevance_second with:
    input:
        rows="<results>/{recipe}/reranked.jsonl",
        splits="<results>/{recipe}/splits.jsonl",
        passages="<results>/{recipe}/passages.jsonl",
        shards=shard_files("label", "pointwise_labeled_second"),
        served=served_model("label.second"),
    output:
        rows="<results>/{recipe}/pointwise_labeled_second.jsonl",
        meta="<results>/{recipe}/pointwise_labeled_second.meta.json",
    log:
        "<logs>/{recipe}/label_relevance_second.log",
    benchmark:
        "<benchmarks>/{recipe}/label_relevance_second.jsonl"
    wildcard_constraints:
        recipe=recipes_where(lambda recipe: recipe.label and recipe.label.second),
    retries: retries_of("label_relevance_second")
    threads: threads_of("label_relevance_second")
    resources:
        **resources_of("label_relevance_second", asks="label.second"),
    params:
        settings=settings_of(
            "label.second",
            "label.scale",
            "label.relevant_from",
            "label.show_answer",
            "label.show_image",
            "source.images",
        ),
        teacher=teacher_of("label.second"),
        choice="--second",


use rule label_relevance_second as label_relevance_second_shard with:
    output:
        rows=temp(
            "<results>/{recipe}/shards/pointwise_labeled_second/{shard}-of-{shards}.jsonl"
        ),
        meta=temp(
            "<results>/{recipe}/shards/pointwise_labeled_second/{shard}-of-{shards}.meta.json"
        ),
    log:
        "<logs>/{recipe}/label_relevance_second.{shard}-of-{shards}.log",
    benchmark:
        "<benchmarks>/{recipe}/label_relevance_second.{shard}-of-{shards}.jsonl"


rule filter_passages:
    """Keep the passages that were judged relevant, list the others, and report how far judges agree."""
    input:
        rows="<results>/{recipe}/pointwise_labeled.jsonl",
        listwise=listwise_labels,
        second=second_labels,
    output:
        rows="<results>/{recipe}/relevant.jsonl",
        dropped="<results>/{recipe}/relevant.dropped.jsonl",
        report="<results>/{recipe}/label_report.json",
        meta="<results>/{recipe}/relevant.meta.json",
    log:
        "<logs>/{recipe}/filter_passages.log",
    benchmark:
        "<benchmarks>/{recipe}/filter_passages.jsonl"
    wildcard_constraints:
        recipe=recipes_with("label"),
    retries: retries_of("filter_passages")
    conda:
        "../envs/data.yaml"
    threads: threads_of("filter_passages")
    resources:
        **resources_of("filter_passages"),
    params:
        settings=settings_of("label.decide"),
        code=code_of("label/filter_passages.py"),
    shell:
        "python scripts/label/filter_passages.py --recipe {wildcards.recipe} --rows {input.rows:q}"
        " --listwise {input.listwise:q} --second {input.second:q} --settings {params.settings:q} --code {params.code}"
        " --out {output.rows:q} --dropped {output.dropped:q} --report {output.report:q}"
        " --meta {output.meta:q} 2> {log:q}"


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
    log:
        "<logs>/{recipe}/pair_gold.log",
    benchmark:
        "<benchmarks>/{recipe}/pair_gold.jsonl"
    wildcard_constraints:
        recipe=recipes_where(lambda recipe: recipe.label and recipe.label.calibration),
    retries: retries_of("pair_gold")
    conda:
        "../envs/data.yaml"
    threads: threads_of("pair_gold")
    resources:
        **resources_of("pair_gold"),
    params:
        settings=settings_of(
            "label.calibration", "label.show_answer", "rerank.chunk_words"
        ),
        source=digest_of(gold_files),
        environment=env_of("data"),
        code=code_of("label/pair_gold.py"),
    shell:
        "python scripts/label/pair_gold.py --recipe {wildcards.recipe} --rows {input.rows:q}"
        " --splits {input.splits:q} --passages {input.passages:q} --gold {input.gold:q}"
        " --settings {params.settings:q} --source {params.source} --environment {params.environment}"
        " --code {params.code} --out {output.rows:q} --dropped {output.dropped:q} --meta {output.meta:q} 2> {log:q}"


use rule label_relevance as label_gold with:
    input:
        rows="<results>/{recipe}/calibration/pairs.jsonl",
        splits="<results>/{recipe}/splits.jsonl",
        passages="<results>/{recipe}/passages.jsonl",
        shards=[],
        served=served_model("label.model"),
    output:
        rows="<results>/{recipe}/calibration/labeled.jsonl",
        meta="<results>/{recipe}/calibration/labeled.meta.json",
    log:
        "<logs>/{recipe}/label_gold.log",
    benchmark:
        "<benchmarks>/{recipe}/label_gold.jsonl"
    wildcard_constraints:
        recipe=recipes_where(lambda recipe: recipe.label and recipe.label.calibration),
    retries: retries_of("label_gold")
    threads: threads_of("label_gold")
    resources:
        **resources_of("label_gold", asks="label.model"),
    params:
        choice="--every-split",


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
    log:
        "<logs>/{recipe}/report_calibration.log",
    benchmark:
        "<benchmarks>/{recipe}/report_calibration.jsonl"
    wildcard_constraints:
        recipe=recipes_where(lambda recipe: recipe.label and recipe.label.calibration),
    retries: retries_of("report_calibration")
    conda:
        "../envs/data.yaml"
    threads: threads_of("report_calibration")
    resources:
        **resources_of("report_calibration"),
    params:
        settings=settings_of("label.calibration", "label.model", "label.scale"),
        code=code_of("label/report_calibration.py"),
    shell:
        "python scripts/label/report_calibration.py --recipe {wildcards.recipe} --pairs {input.pairs:q}"
        " --dropped {input.dropped:q} --labels {input.labels:q} --splits {input.splits:q}"
        " --settings {params.settings:q} --code {params.code}"
        " --out {output.report:q} --meta {output.meta:q} 2> {log:q}"


rule plot_calibration:
    """Draw a calibration: of the labeller, or of the judge of answers."""
    input:
        report="<results>/{recipe}/{report}_calibration.json",
    output:
        picture="<results>/{recipe}/plots/{report}_calibration.svg",
        meta="<results>/{recipe}/plots/{report}_calibration.meta.json",
    log:
        "<logs>/{recipe}/plot_calibration.{report}.log",
    benchmark:
        "<benchmarks>/{recipe}/plot_calibration.{report}.jsonl"
    wildcard_constraints:
        report="label|judge",
    retries: retries_of("plot_calibration")
    conda:
        "../envs/plots.yaml"
    threads: threads_of("plot_calibration")
    resources:
        **resources_of("plot_calibration"),
    params:
        environment=env_of("plots"),
        code=code_of("label/plot_calibration.py"),
    shell:
        "python scripts/label/plot_calibration.py --recipe {wildcards.recipe} --report {input.report:q}"
        " --title '{wildcards.recipe}: {wildcards.report}' --environment {params.environment}"
        " --code {params.code} --picture {output.picture:q} --meta {output.meta:q} 2> {log:q}"
