rule predict_answers:
    """Answer the test questions turn by turn, with the model's own earlier answers, and measure its held-out loss."""
    input:
        test=asked_rows,
        base=predicting_manifest,
        adapter=adapter_manifest,
    output:
        rows="<results>/{recipe}/predictions/{model}/{fold}.jsonl",
        meta="<results>/{recipe}/predictions/{model}/{fold}.meta.json",
    log:
        "<logs>/{recipe}/predict_answers.{model}.{fold}.log",
    benchmark:
        "<benchmarks>/{recipe}/predict_answers.{model}.{fold}.jsonl"
    wildcard_constraints:
        recipe=recipes_answering(alone=False),
        model=neural_models(),
    retries: retries_of("predict_answers")
    conda:
        "../envs/train.yaml"
    threads: threads_of("predict_answers")
    resources:
        **resources_of("predict_answers"),
    params:
        settings=settings_of(
            "predict.max_answer_tokens",
            "predict.trivial_answer",
            "evaluate.metric",
            "limits",
            "source.images",
        ),
        environment=env_of("train"),
        code=code_of("evaluate/predict_answers.py"),
    shell:
        "python scripts/evaluate/predict_answers.py --recipe {wildcards.recipe} --test {input.test:q}"
        " --base {input.base:q} --adapter {input.adapter:q}"
        " --settings {params.settings:q} --environment {params.environment} --code {params.code}"
        " --out {output.rows:q} --meta {output.meta:q} 2> {log:q}"


rule predict_as_deployed:
    """Answer the test questions with the model's own queries and choices, turn by turn, on its own history."""
    input:
        test=asked_rows,
        passages="<results>/{recipe}/passages.jsonl",
        words=index_manifests("words", recalling),
        vectors=index_manifests("vectors", recalling),
        encoder=fetched_encoder(recalling),
        base=predicting_manifest,
        adapter=adapter_manifest,
    output:
        rows="<results>/{recipe}/predictions/{model}/{fold}.jsonl",
        meta="<results>/{recipe}/predictions/{model}/{fold}.meta.json",
    log:
        "<logs>/{recipe}/predict_as_deployed.{model}.{fold}.log",
    benchmark:
        "<benchmarks>/{recipe}/predict_as_deployed.{model}.{fold}.jsonl"
    wildcard_constraints:
        recipe=recipes_answering(alone=True),
        model=neural_models(),
    retries: retries_of("predict_as_deployed")
    conda:
        "../envs/train.yaml"
    threads: threads_of("predict_as_deployed")
    resources:
        **resources_of("predict_as_deployed"),
    params:
        settings=settings_of(
            "student",
            "queries.enabled",
            "queries.count",
            "recall",
            "encoder",
            "rerank",
            "folds.evidence",
            "folds.system_prompt",
            "predict.max_answer_tokens",
            "predict.trivial_answer",
            "evaluate.metric",
            "limits",
            "source.images",
        ),
        source=digest_of(encoder_files),
        environment=env_of("train"),
        code=code_of("evaluate/predict_as_deployed.py"),
    shell:
        "python scripts/evaluate/predict_as_deployed.py --recipe {wildcards.recipe} --test {input.test:q}"
        " --passages {input.passages:q} --words {input.words:q} --vectors {input.vectors:q}"
        " --encoder {input.encoder:q} --base {input.base:q} --adapter {input.adapter:q}"
        " --settings {params.settings:q} --source {params.source}"
        " --environment {params.environment} --code {params.code}"
        " --out {output.rows:q} --meta {output.meta:q} 2> {log:q}"


rule predict_trivial:
    """Answer every test question with the refusal, at the loss of a unigram model: the trivial baseline."""
    input:
        train=fold_file("train"),
        test=asked_rows,
        base=base_manifest,
    output:
        rows="<results>/{recipe}/predictions/trivial/{fold}.jsonl",
        meta="<results>/{recipe}/predictions/trivial/{fold}.meta.json",
    log:
        "<logs>/{recipe}/predict_trivial.{fold}.log",
    benchmark:
        "<benchmarks>/{recipe}/predict_trivial.{fold}.jsonl"
    retries: retries_of("predict_trivial")
    conda:
        "../envs/train.yaml"
    threads: threads_of("predict_trivial")
    resources:
        **resources_of("predict_trivial"),
    params:
        settings=settings_of("predict.trivial_answer", "limits"),
        code=code_of("evaluate/predict_trivial.py"),
    shell:
        "python scripts/evaluate/predict_trivial.py --recipe {wildcards.recipe} --train {input.train:q}"
        " --test {input.test:q} --base {input.base:q} --settings {params.settings:q} --code {params.code}"
        " --out {output.rows:q} --meta {output.meta:q} 2> {log:q}"


rule judge_predictions:
    """Compare each prediction with the record's own answer: exact match first, then the judge."""
    input:
        rows="<results>/{recipe}/predictions/{model}/{fold}.jsonl",
        test=fold_file("test"),
        shards=shard_files("evaluate", "predictions.{model}.{fold}"),
        served=served_model("evaluate.judge"),
    output:
        rows="<results>/{recipe}/predictions/{model}/{fold}.judged.jsonl",
        meta="<results>/{recipe}/predictions/{model}/{fold}.judged.meta.json",
    log:
        "<logs>/{recipe}/judge_predictions.{model}.{fold}.log",
    benchmark:
        "<benchmarks>/{recipe}/judge_predictions.{model}.{fold}.jsonl"
    wildcard_constraints:
        recipe=recipes_scoring("turns"),
    retries: retries_of("judge_predictions")
    conda:
        "../envs/data.yaml"
    threads: threads_of("judge_predictions")
    resources:
        **resources_of("judge_predictions", asks="evaluate.judge"),
    params:
        settings=settings_of("evaluate"),
        prompt=judging_prompt,
        teacher=teacher_of("evaluate.judge"),
        code=code_of("evaluate/judge_predictions.py"),
        shard=shard_option,
    shell:
        "python scripts/evaluate/judge_predictions.py --recipe {wildcards.recipe} --rows {input.rows:q}"
        " --test {input.test:q}"
        " --settings {params.settings:q} {params.prompt}"
        " --shares {resources.llm} --code {params.code} {params.shard} --shards {input.shards:q}"
        " --out {output.rows:q} --meta {output.meta:q} 2> {log:q}"


use rule judge_predictions as judge_predictions_shard with:
    output:
        rows=temp(
            "<results>/{recipe}/shards/predictions.{model}.{fold}/{shard}-of-{shards}.jsonl"
        ),
        meta=temp(
            "<results>/{recipe}/shards/predictions.{model}.{fold}/{shard}-of-{shards}.meta.json"
        ),
    log:
        "<logs>/{recipe}/judge_predictions.{model}.{fold}.{shard}-of-{shards}.log",
    benchmark:
        "<benchmarks>/{recipe}/judge_predictions.{model}.{fold}.{shard}-of-{shards}.jsonl"


rule grade_choices:
    """Read each prediction of a multiple choice, as generated and by likelihood, and hold it to the key."""
    input:
        rows="<results>/{recipe}/predictions/{model}/{fold}.jsonl",
        test=fold_file("test"),
    output:
        rows="<results>/{recipe}/predictions/{model}/{fold}.judged.jsonl",
        meta="<results>/{recipe}/predictions/{model}/{fold}.judged.meta.json",
    log:
        "<logs>/{recipe}/grade_choices.{model}.{fold}.log",
    benchmark:
        "<benchmarks>/{recipe}/grade_choices.{model}.{fold}.jsonl"
    wildcard_constraints:
        recipe=recipes_scoring("choices"),
    retries: retries_of("grade_choices")
    conda:
        "../envs/data.yaml"
    threads: threads_of("grade_choices")
    resources:
        **resources_of("grade_choices"),
    params:
        code=code_of("evaluate/grade_choices.py"),
    shell:
        "python scripts/evaluate/grade_choices.py --recipe {wildcards.recipe} --rows {input.rows:q}"
        " --test {input.test:q} --code {params.code}"
        " --out {output.rows:q} --meta {output.meta:q} 2> {log:q}"


rule grade_spans:
    """Hold each prediction to the words that support the answer: exact match and F1."""
    input:
        rows="<results>/{recipe}/predictions/{model}/{fold}.jsonl",
        test=fold_file("test"),
    output:
        rows="<results>/{recipe}/predictions/{model}/{fold}.judged.jsonl",
        meta="<results>/{recipe}/predictions/{model}/{fold}.judged.meta.json",
    log:
        "<logs>/{recipe}/grade_spans.{model}.{fold}.log",
    benchmark:
        "<benchmarks>/{recipe}/grade_spans.{model}.{fold}.jsonl"
    wildcard_constraints:
        recipe=recipes_scoring("spans"),
    retries: retries_of("grade_spans")
    conda:
        "../envs/data.yaml"
    threads: threads_of("grade_spans")
    resources:
        **resources_of("grade_spans"),
    params:
        code=code_of("evaluate/grade_spans.py"),
    shell:
        "python scripts/evaluate/grade_spans.py --recipe {wildcards.recipe} --rows {input.rows:q}"
        " --test {input.test:q} --code {params.code}"
        " --out {output.rows:q} --meta {output.meta:q} 2> {log:q}"


rule score_answers:
    """Score a model beside its controls, with paired bootstrap intervals over groups."""
    input:
        tuned="<results>/{recipe}/predictions/{model}/{fold}.judged.jsonl",
        controls=control_files,
    output:
        metrics="<results>/{recipe}/metrics/{model}/{fold}.json",
        meta="<results>/{recipe}/metrics/{model}/{fold}.meta.json",
    log:
        "<logs>/{recipe}/score_answers.{model}.{fold}.log",
    benchmark:
        "<benchmarks>/{recipe}/score_answers.{model}.{fold}.jsonl"
    wildcard_constraints:
        recipe=recipes_answering(),
    retries: retries_of("score_answers")
    conda:
        "../envs/data.yaml"
    threads: threads_of("score_answers")
    resources:
        **resources_of("score_answers"),
    params:
        settings=settings_of("evaluate"),
        seeds=training_seed,
        code=code_of("evaluate/score_answers.py"),
    shell:
        "python scripts/evaluate/score_answers.py --recipe {wildcards.recipe} --tuned {input.tuned:q}"
        " --controls {input.controls:q} --seeds {params.seeds}"
        " --settings {params.settings:q} --code {params.code}"
        " --out {output.metrics:q} --meta {output.meta:q} 2> {log:q}"


rule plot_risk_coverage:
    """Draw how wrong each model is at what share of the questions, by the probability of its refusal."""
    input:
        metrics=scored_model,
    output:
        picture="<results>/{recipe}/plots/{model}/{fold}.risk_coverage.svg",
        meta="<results>/{recipe}/plots/{model}/{fold}.risk_coverage.meta.json",
    log:
        "<logs>/{recipe}/plot_risk_coverage.{model}.{fold}.log",
    benchmark:
        "<benchmarks>/{recipe}/plot_risk_coverage.{model}.{fold}.jsonl"
    wildcard_constraints:
        recipe=recipes_scoring("turns"),
    retries: retries_of("plot_risk_coverage")
    conda:
        "../envs/plots.yaml"
    threads: threads_of("plot_risk_coverage")
    resources:
        **resources_of("plot_risk_coverage"),
    params:
        environment=env_of("plots"),
        code=code_of("evaluate/plot_risk_coverage.py"),
    shell:
        "python scripts/evaluate/plot_risk_coverage.py --recipe {wildcards.recipe} --metrics {input.metrics:q}"
        " --title '{wildcards.recipe}: {wildcards.model}, {wildcards.fold}'"
        " --environment {params.environment} --code {params.code}"
        " --picture {output.picture:q} --meta {output.meta:q} 2> {log:q}"


rule ask_with_bounds:
    """Lay out each test question as deployed, closed-book, and with gold passages among distractors."""
    input:
        test=fold_file("test"),
        rows="<results>/{recipe}/reranked.jsonl",
        passages="<results>/{recipe}/passages.jsonl",
    output:
        rows="<results>/{recipe}/asked/{fold}.jsonl",
        meta="<results>/{recipe}/asked/{fold}.meta.json",
    log:
        "<logs>/{recipe}/ask_with_bounds.{fold}.log",
    benchmark:
        "<benchmarks>/{recipe}/ask_with_bounds.{fold}.jsonl"
    wildcard_constraints:
        recipe=recipes_scoring("hops"),
    conda:
        "../envs/data.yaml"
    threads: threads_of("ask_with_bounds")
    resources:
        **resources_of("ask_with_bounds"),
    params:
        settings=settings_of("evaluate.distractors", "evaluate.seed"),
        code=code_of("evaluate/ask_with_bounds.py"),
    shell:
        "python scripts/evaluate/ask_with_bounds.py --recipe {wildcards.recipe} --test {input.test:q}"
        " --rows {input.rows:q} --passages {input.passages:q} --settings {params.settings:q} --code {params.code}"
        " --out {output.rows:q} --meta {output.meta:q} 2> {log:q}"


rule grade_hops:
    """Grade each reply by the official scores, its citations and its refusals."""
    input:
        rows="<results>/{recipe}/predictions/{model}/{fold}.jsonl",
        asked=asked_rows,
    output:
        rows="<results>/{recipe}/predictions/{model}/{fold}.judged.jsonl",
        official="<results>/{recipe}/predictions/{model}/{fold}.official.json",
        meta="<results>/{recipe}/predictions/{model}/{fold}.judged.meta.json",
    log:
        "<logs>/{recipe}/grade_hops.{model}.{fold}.log",
    benchmark:
        "<benchmarks>/{recipe}/grade_hops.{model}.{fold}.jsonl"
    wildcard_constraints:
        recipe=recipes_scoring("hops"),
    conda:
        "../envs/data.yaml"
    threads: threads_of("grade_hops")
    resources:
        **resources_of("grade_hops"),
    params:
        code=code_of("evaluate/grade_hops.py"),
    shell:
        "python scripts/evaluate/grade_hops.py --recipe {wildcards.recipe} --rows {input.rows:q}"
        " --asked {input.asked:q} --code {params.code}"
        " --out {output.rows:q} --official {output.official:q} --meta {output.meta:q} 2> {log:q}"


rule score_ranking:
    """Score the rankings of the test questions' passages, each beside BM25, with paired intervals."""
    input:
        rows="<results>/{recipe}/reranked.jsonl",
        passages="<results>/{recipe}/passages.jsonl",
        splits="<results>/{recipe}/splits.jsonl",
    output:
        metrics="<results>/{recipe}/metrics/ranking.json",
        picture="<results>/{recipe}/plots/recall.svg",
        meta="<results>/{recipe}/metrics/ranking.meta.json",
    log:
        "<logs>/{recipe}/score_ranking.log",
    benchmark:
        "<benchmarks>/{recipe}/score_ranking.jsonl"
    wildcard_constraints:
        recipe=recipes_reranking("trained"),
    conda:
        "../envs/plots.yaml"
    threads: threads_of("score_ranking")
    resources:
        **resources_of("score_ranking"),
    params:
        settings=settings_of("recall", "evaluate.resamples", "evaluate.seed"),
        environment=env_of("plots"),
        code=code_of("evaluate/score_ranking.py"),
    shell:
        "python scripts/evaluate/score_ranking.py --recipe {wildcards.recipe} --rows {input.rows:q}"
        " --passages {input.passages:q} --splits {input.splits:q}"
        " --settings {params.settings:q} --environment {params.environment} --code {params.code}"
        " --out {output.metrics:q} --picture {output.picture:q} --meta {output.meta:q} 2> {log:q}"


rule measure_latency:
    """Ask the trained pipeline questions one by one, and measure each stage."""
    input:
        test=fold_file("test"),
        passages="<results>/{recipe}/passages.jsonl",
        words=index_manifests("words", recalling, fusing),
        vectors=index_manifests("vectors", recalling),
        encoder=fetched_encoder(recalling),
        reranker="<results>/{recipe}/reranker/manifest.json",
        fusion="<results>/{recipe}/fusion.json",
        base=base_manifest,
        adapter=adapter_manifest,
    output:
        times="<results>/{recipe}/latency/{model}/{fold}.json",
        meta="<results>/{recipe}/latency/{model}/{fold}.meta.json",
    log:
        "<logs>/{recipe}/measure_latency.{model}.{fold}.log",
    benchmark:
        "<benchmarks>/{recipe}/measure_latency.{model}.{fold}.jsonl"
    wildcard_constraints:
        recipe=recipes_scoring("hops"),
    conda:
        "../envs/train.yaml"
    threads: threads_of("measure_latency")
    resources:
        **resources_of("measure_latency"),
    params:
        settings=settings_of(
            "recall",
            "encoder",
            "rerank",
            "folds",
            "limits",
            "predict",
            "evaluate.latency_questions",
        ),
        environment=env_of("train"),
        code=code_of("evaluate/measure_latency.py"),
    shell:
        "python scripts/evaluate/measure_latency.py --recipe {wildcards.recipe} --test {input.test:q}"
        " --passages {input.passages:q} --words {input.words:q} --vectors {input.vectors:q}"
        " --encoder {input.encoder:q} --reranker {input.reranker:q} --fusion {input.fusion:q}"
        " --base {input.base:q} --adapter {input.adapter:q}"
        " --settings {params.settings:q} --environment {params.environment} --code {params.code}"
        " --out {output.times:q} --meta {output.meta:q} 2> {log:q}"


rule check_criteria:
    """Hold the trained generator to the criteria of success: met, not met, or not measurable here."""
    input:
        metrics="<results>/{recipe}/metrics/{model}/{fold}.json",
        latency="<results>/{recipe}/latency/{model}/{fold}.json",
        training_log=training_log,
    output:
        criteria="<results>/{recipe}/criteria/{model}/{fold}/criteria.json",
        picture="<results>/{recipe}/plots/{model}/{fold}.distractors.svg",
        meta="<results>/{recipe}/criteria/{model}/{fold}/criteria.meta.json",
    log:
        "<logs>/{recipe}/check_criteria.{model}.{fold}.log",
    benchmark:
        "<benchmarks>/{recipe}/check_criteria.{model}.{fold}.jsonl"
    wildcard_constraints:
        recipe=recipes_scoring("hops"),
    conda:
        "../envs/plots.yaml"
    threads: threads_of("check_criteria")
    resources:
        **resources_of("check_criteria"),
    params:
        settings=model_settings,
        state=state_folder,
        environment=env_of("plots"),
        code=code_of("evaluate/check_criteria.py"),
    shell:
        "python scripts/evaluate/check_criteria.py --recipe {wildcards.recipe} --metrics {input.metrics:q}"
        " --latency {input.latency:q} --training-log {input.training_log:q} --state {params.state:q}"
        " --settings {params.settings:q} --environment {params.environment} --code {params.code}"
        " --out {output.criteria:q} --picture {output.picture:q} --meta {output.meta:q} 2> {log:q}"


rule predict_texts:
    """Write about test images by a model or a baseline, and measure how much the right image helps."""
    input:
        train=fold_file("train"),
        test=fold_file("test"),
        base=base_manifest,
        vision="<results>/{recipe}/vision/manifest.json",
        adapter=text_adapter,
    output:
        rows="<results>/{recipe}/predictions/{model}/{fold}.jsonl",
        meta="<results>/{recipe}/predictions/{model}/{fold}.meta.json",
    log:
        "<logs>/{recipe}/predict_texts.{model}.{fold}.log",
    benchmark:
        "<benchmarks>/{recipe}/predict_texts.{model}.{fold}.jsonl"
    wildcard_constraints:
        recipe=recipes_scoring("texts"),
        model=text_models(),
    conda:
        "../envs/train.yaml"
    threads: threads_of("predict_texts")
    resources:
        **resources_of("predict_texts"),
    params:
        settings=settings_of(
            "predict.texts",
            "predict.max_answer_tokens",
            "limits",
            "source.images",
            "vision.classes",
        ),
        tokens=image_tokens,
        environment=env_of("train"),
        code=code_of("evaluate/predict_texts.py"),
    shell:
        "python scripts/evaluate/predict_texts.py --recipe {wildcards.recipe} --model {wildcards.model}"
        " --train {input.train:q} --test {input.test:q} --base {input.base:q} --vision {input.vision:q}"
        " --adapter {input.adapter:q} --image-tokens {params.tokens}"
        " --settings {params.settings:q} --environment {params.environment} --code {params.code}"
        " --out {output.rows:q} --meta {output.meta:q} 2> {log:q}"


rule judge_texts:
    """Score each text about an image against its reference, by criteria."""
    input:
        rows=unjudged_texts,
        shards=shard_files("evaluate", "predictions.{model}.{fold}"),
        served=served_model("evaluate.judge"),
    output:
        rows="<results>/{recipe}/predictions/{model}/{fold}.judged.jsonl",
        meta="<results>/{recipe}/predictions/{model}/{fold}.judged.meta.json",
    log:
        "<logs>/{recipe}/judge_texts.{model}.{fold}.log",
    benchmark:
        "<benchmarks>/{recipe}/judge_texts.{model}.{fold}.jsonl"
    wildcard_constraints:
        recipe=recipes_where(judges_texts),
    retries: retries_of("judge_texts")
    conda:
        "../envs/data.yaml"
    threads: threads_of("judge_texts")
    resources:
        **resources_of("judge_texts", asks="evaluate.judge"),
    params:
        settings=settings_of("evaluate.judge", "evaluate.criteria"),
        prompt=prompt_of("judge_texts"),
        digest=prompt_digest_of("judge_texts"),
        teacher=teacher_of("evaluate.judge"),
        code=code_of("evaluate/judge_texts.py"),
        shard=shard_option,
    shell:
        "python scripts/evaluate/judge_texts.py --recipe {wildcards.recipe} --rows {input.rows:q}"
        " --settings {params.settings:q} --prompt {params.prompt:q} --prompt-digest {params.digest}"
        " --shares {resources.llm} --code {params.code} {params.shard} --shards {input.shards:q}"
        " --out {output.rows:q} --meta {output.meta:q} 2> {log:q}"


use rule judge_texts as judge_texts_shard with:
    output:
        rows=temp(
            "<results>/{recipe}/shards/predictions.{model}.{fold}/{shard}-of-{shards}.jsonl"
        ),
        meta=temp(
            "<results>/{recipe}/shards/predictions.{model}.{fold}/{shard}-of-{shards}.meta.json"
        ),
    log:
        "<logs>/{recipe}/judge_texts.{model}.{fold}.{shard}-of-{shards}.log",
    benchmark:
        "<benchmarks>/{recipe}/judge_texts.{model}.{fold}.{shard}-of-{shards}.jsonl"


rule score_texts:
    """Score what a model writes about images beside its controls, with intervals over cases."""
    input:
        tuned=tuned_texts,
        controls=text_controls,
        test=fold_file("test"),
    output:
        metrics="<results>/{recipe}/metrics/{model}/{fold}.json",
        meta="<results>/{recipe}/metrics/{model}/{fold}.meta.json",
    log:
        "<logs>/{recipe}/score_texts.{model}.{fold}.log",
    benchmark:
        "<benchmarks>/{recipe}/score_texts.{model}.{fold}.jsonl"
    wildcard_constraints:
        recipe=recipes_scoring("texts"),
    conda:
        "../envs/texts.yaml"
    threads: threads_of("score_texts")
    resources:
        **resources_of("score_texts"),
    params:
        settings=settings_of("evaluate"),
        seeds=training_seed,
        code=code_of("evaluate/score_texts.py"),
    shell:
        "python scripts/evaluate/score_texts.py --recipe {wildcards.recipe} --tuned {input.tuned:q}"
        " --controls {input.controls:q} --test {input.test:q} --seeds {params.seeds}"
        " --settings {params.settings:q} --code {params.code}"
        " --out {output.metrics:q} --meta {output.meta:q} 2> {log:q}"


rule compare_texts:
    """Put what several models wrote about the same images side by side: a page, a table, pictures of the scores."""
    input:
        predictions=compared_predictions,
    output:
        page="<results>/{recipe}/comparison/{fold}/index.html",
        table="<results>/{recipe}/comparison/{fold}/table.md",
        distribution="<results>/{recipe}/comparison/{fold}/distribution.svg",
        per_sample="<results>/{recipe}/comparison/{fold}/per_sample.svg",
        meta="<results>/{recipe}/comparison/{fold}.meta.json",
    log:
        "<logs>/{recipe}/compare_texts.{fold}.log",
    benchmark:
        "<benchmarks>/{recipe}/compare_texts.{fold}.jsonl"
    wildcard_constraints:
        recipe=recipes_scoring("texts"),
    conda:
        "../envs/texts.yaml"
    threads: threads_of("compare_texts")
    resources:
        **resources_of("compare_texts"),
    params:
        settings=settings_of("evaluate", "source.images"),
        code=code_of("evaluate/compare_texts.py"),
    shell:
        "python scripts/evaluate/compare_texts.py --recipe {wildcards.recipe} --predictions {input.predictions:q}"
        " --settings {params.settings:q} --code {params.code} --page {output.page:q} --table {output.table:q}"
        " --distribution {output.distribution:q} --per-sample {output.per_sample:q} --meta {output.meta:q} 2> {log:q}"
