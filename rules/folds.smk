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
        settings=settings_of("folds", "student", "splits.method", "splits.group_by"),
        source=digest_of(benchmark_files),
        code=code_of("folds/make_folds.py"),
    shell:
        "python scripts/folds/make_folds.py --recipe {wildcards.recipe} --fold {wildcards.fold} --rows {input.rows:q}"
        " --records {input.records:q} --splits {input.splits:q} --passages {input.passages:q}"
        " --benchmarks {input.benchmarks:q} --source {params.source}"
        " --held-out {input.held_out:q}"
        " --settings {params.settings:q} --code {params.code} --train {output.train:q} --eval {output.eval:q}"
        " --test {output.test:q} --dropped {output.dropped:q} --report {output.report:q} --meta {output.meta:q} 2> {log:q}"


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
    log:
        "<logs>/{recipe}/describe_fold.{fold}.log",
    benchmark:
        "<benchmarks>/{recipe}/describe_fold.{fold}.jsonl"
    conda:
        "../envs/data.yaml"
    threads: threads_of("describe_fold")
    resources:
        **resources_of("describe_fold"),
    params:
        settings=settings_of("description", "source.licence", "source.citation"),
        code=code_of("folds/describe_fold.py"),
    shell:
        "python scripts/folds/describe_fold.py --recipe {wildcards.recipe} --fold {wildcards.fold}"
        " --train {input.train:q} --eval {input.eval:q} --test {input.test:q} --report {input.report:q}"
        " --records {input.records:q} --settings {params.settings:q} --code {params.code}"
        " --out {output.card:q} --meta {output.meta:q} 2> {log:q}"
