checkpoint make_folds:
    """Lay out train examples and the untouched dev and test records; what follows runs only if bytes changed."""
    input:
        rows=before("folds"),
        records=before("label"),
        splits="<results>/{recipe}/splits.jsonl",
        passages=passages_file,
    output:
        train="<results>/{recipe}/folds/{fold}/train.jsonl",
        eval="<results>/{recipe}/folds/{fold}/eval.jsonl",
        test="<results>/{recipe}/folds/{fold}/test.jsonl",
        report="<results>/{recipe}/folds/{fold}/report.json",
        meta="<results>/{recipe}/folds/{fold}/fold.meta.json",
    log:
        "<logs>/{recipe}/make_folds.{fold}.log",
    benchmark:
        "<benchmarks>/{recipe}/make_folds.{fold}.jsonl"
    retries: retries_of("make_folds")
    conda:
        "../envs/data.yaml"
    threads: threads_of("make_folds")
    resources:
        **resources_of("make_folds"),
    params:
        settings=settings_of("folds", "splits.method"),
        code=code_of("folds/make_folds.py"),
    shell:
        "python scripts/folds/make_folds.py --recipe {wildcards.recipe} --fold {wildcards.fold} --rows {input.rows:q}"
        " --records {input.records:q} --splits {input.splits:q} --passages {input.passages:q}"
        " --settings {params.settings:q} --code {params.code} --train {output.train:q} --eval {output.eval:q}"
        " --test {output.test:q} --report {output.report:q} --meta {output.meta:q} 2> {log:q}"
