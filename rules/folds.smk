# A rule's command, log, resources and retries follow from its script and its name: common/step.smk.
checkpoint make_folds:
    """Lay out train examples and the untouched dev and test records; what follows runs only if bytes changed."""
    input:
        rows=example_files,
        records=before("label"),
        splits="<results>/{recipe}/splits.jsonl",
        passages=passages_file,
        benchmarks=benchmark_files,
        held_out=held_out_file,
    output:
        train="<results>/{recipe}/folds/{fold}/train.jsonl",
        eval="<results>/{recipe}/folds/{fold}/eval.jsonl",
        test="<results>/{recipe}/folds/{fold}/test.jsonl",
        dropped="<results>/{recipe}/folds/{fold}/train.dropped.jsonl",
        report="<results>/{recipe}/folds/{fold}/report.json",
        meta="<results>/{recipe}/folds/{fold}/fold.meta.json",
    conda:
        "../envs/data.yaml"
    params:
        **of("folds/make_folds.py", source=digest_of(benchmark_files)),
    shell:
        STEP


rule describe_fold:
    """Write the data card of a fold: counts, lengths, sources, scores and examples, for people."""
    input:
        train=fold_file("train"),
        eval=fold_file("eval"),
        test=fold_file("test"),
        report=fold_file("report"),
        records="<results>/{recipe}/records.jsonl",
    output:
        card="<results>/{recipe}/folds/{fold}/card.md",
        meta="<results>/{recipe}/folds/{fold}/card.meta.json",
    conda:
        "../envs/data.yaml"
    params:
        **of("folds/describe_fold.py"),
    shell:
        STEP
