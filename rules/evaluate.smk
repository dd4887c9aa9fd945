# A rule's command, log, resources and retries follow from its script and its name: common/step.smk.
rule predict_answers:
    """Answer the test questions turn by turn, with the model's own earlier answers, and measure its held-out loss."""
    input:
        test=asked_rows,
        base=predicting_manifest,
        adapter=adapter_manifest,
    output:
        rows="<results>/{recipe}/predictions/{model}/{fold}.jsonl",
        meta="<results>/{recipe}/predictions/{model}/{fold}.meta.json",
    wildcard_constraints:
        recipe=recipes_answering(alone=False),
        model="|".join(neural_models(CONFIG)),
    conda:
        "../envs/train.yaml"
    params:
        **of("evaluate/predict_answers.py"),
    shell:
        STEP


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
    wildcard_constraints:
        recipe=recipes_answering(alone=True),
        model="|".join(neural_models(CONFIG)),
    conda:
        "../envs/train.yaml"
    params:
        **of("evaluate/predict_as_deployed.py", source=digest_of(encoder_files)),
    shell:
        STEP


rule predict_trivial:
    """Answer every test question with the refusal, at the loss of a unigram model: the trivial baseline."""
    input:
        train=fold_file("train"),
        test=asked_rows,
        base=base_manifest,
    output:
        rows="<results>/{recipe}/predictions/trivial/{fold}.jsonl",
        meta="<results>/{recipe}/predictions/trivial/{fold}.meta.json",
    conda:
        "../envs/train.yaml"
    params:
        **of("evaluate/predict_trivial.py"),
    shell:
        STEP


rule judge_predictions:
    """Compare each prediction with the record's own answer: exact match first, then the judge."""
    input:
        **asking("evaluate.judge", shards="predictions.{model}.{fold}"),
        rows="<results>/{recipe}/predictions/{model}/{fold}.jsonl",
        test=fold_file("test"),
    output:
        rows="<results>/{recipe}/predictions/{model}/{fold}.judged.jsonl",
        meta="<results>/{recipe}/predictions/{model}/{fold}.judged.meta.json",
    wildcard_constraints:
        recipe=recipes_scoring("turns"),
    conda:
        "../envs/data.yaml"
    params:
        **of("evaluate/judge_predictions.py"),
    shell:
        STEP


use rule judge_predictions as judge_predictions_shard with:
    output:
        **shard_of("predictions.{model}.{fold}"),


rule grade_choices:
    """Read each prediction of a multiple choice, as generated and by likelihood, and hold it to the key."""
    input:
        rows="<results>/{recipe}/predictions/{model}/{fold}.jsonl",
        test=fold_file("test"),
    output:
        rows="<results>/{recipe}/predictions/{model}/{fold}.judged.jsonl",
        meta="<results>/{recipe}/predictions/{model}/{fold}.judged.meta.json",
    wildcard_constraints:
        recipe=recipes_scoring("choices"),
    conda:
        "../envs/data.yaml"
    params:
        **of("evaluate/grade_choices.py"),
    shell:
        STEP


rule grade_spans:
    """Hold each prediction to the words that support the answer: exact match and F1."""
    input:
        rows="<results>/{recipe}/predictions/{model}/{fold}.jsonl",
        test=fold_file("test"),
    output:
        rows="<results>/{recipe}/predictions/{model}/{fold}.judged.jsonl",
        meta="<results>/{recipe}/predictions/{model}/{fold}.judged.meta.json",
    wildcard_constraints:
        recipe=recipes_scoring("spans"),
    conda:
        "../envs/data.yaml"
    params:
        **of("evaluate/grade_spans.py"),
    shell:
        STEP


rule score_answers:
    """Score a model beside its controls, with paired bootstrap intervals over groups."""
    input:
        tuned="<results>/{recipe}/predictions/{model}/{fold}.judged.jsonl",
        controls=control_files,
    output:
        metrics="<results>/{recipe}/metrics/{model}/{fold}.json",
        meta="<results>/{recipe}/metrics/{model}/{fold}.meta.json",
    wildcard_constraints:
        recipe=recipes_answering(),
    conda:
        "../envs/data.yaml"
    params:
        **of("evaluate/score_answers.py", seeds=training_seed),
    shell:
        STEP


rule plot_risk_coverage:
    """Draw how wrong each model is at what share of the questions, by the probability of its refusal."""
    input:
        metrics=scored_model,
    output:
        picture="<results>/{recipe}/plots/{model}/{fold}.risk_coverage.svg",
        meta="<results>/{recipe}/plots/{model}/{fold}.risk_coverage.meta.json",
    wildcard_constraints:
        recipe=recipes_scoring("turns"),
    conda:
        "../envs/plots.yaml"
    params:
        **of("evaluate/plot_risk_coverage.py", title="{recipe}: {model}, {fold}"),
    shell:
        STEP


rule ask_with_bounds:
    """Lay out each test question as deployed, closed-book, and with gold passages among distractors."""
    input:
        test=fold_file("test"),
        rows="<results>/{recipe}/reranked.jsonl",
        passages="<results>/{recipe}/passages.jsonl",
    output:
        rows="<results>/{recipe}/asked/{fold}.jsonl",
        meta="<results>/{recipe}/asked/{fold}.meta.json",
    wildcard_constraints:
        recipe=recipes_scoring("hops"),
    conda:
        "../envs/data.yaml"
    params:
        **of("evaluate/ask_with_bounds.py"),
    shell:
        STEP


rule grade_hops:
    """Grade each reply by the official scores, its citations and its refusals."""
    input:
        rows="<results>/{recipe}/predictions/{model}/{fold}.jsonl",
        asked=asked_rows,
    output:
        rows="<results>/{recipe}/predictions/{model}/{fold}.judged.jsonl",
        official="<results>/{recipe}/predictions/{model}/{fold}.official.json",
        meta="<results>/{recipe}/predictions/{model}/{fold}.judged.meta.json",
    wildcard_constraints:
        recipe=recipes_scoring("hops"),
    conda:
        "../envs/data.yaml"
    params:
        **of("evaluate/grade_hops.py"),
    shell:
        STEP


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
    wildcard_constraints:
        recipe=recipes_reranking("trained"),
    conda:
        "../envs/plots.yaml"
    params:
        **of("evaluate/score_ranking.py"),
    shell:
        STEP


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
    wildcard_constraints:
        recipe=recipes_scoring("hops"),
    conda:
        "../envs/train.yaml"
    params:
        **of("evaluate/measure_latency.py"),
    shell:
        STEP


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
    wildcard_constraints:
        recipe=recipes_scoring("hops"),
    conda:
        "../envs/plots.yaml"
    params:
        **of("evaluate/check_criteria.py", state=state_folder),
    shell:
        STEP


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
    wildcard_constraints:
        recipe=recipes_scoring("texts"),
        model="|".join(text_models(CONFIG)),
    conda:
        "../envs/train.yaml"
    params:
        **of("evaluate/predict_texts.py", image_tokens=image_tokens),
    shell:
        STEP


rule judge_texts:
    """Score each text about an image against its reference, by criteria."""
    input:
        **asking("evaluate.judge", shards="predictions.{model}.{fold}"),
        rows=unjudged_texts,
    output:
        rows="<results>/{recipe}/predictions/{model}/{fold}.judged.jsonl",
        meta="<results>/{recipe}/predictions/{model}/{fold}.judged.meta.json",
    wildcard_constraints:
        recipe=recipes_where(judges_texts),
    conda:
        "../envs/data.yaml"
    params:
        **of("evaluate/judge_texts.py"),
    shell:
        STEP


use rule judge_texts as judge_texts_shard with:
    output:
        **shard_of("predictions.{model}.{fold}"),


rule score_texts:
    """Score what a model writes about images beside its controls, with intervals over cases."""
    input:
        tuned=tuned_texts,
        controls=text_controls,
        test=fold_file("test"),
    output:
        metrics="<results>/{recipe}/metrics/{model}/{fold}.json",
        meta="<results>/{recipe}/metrics/{model}/{fold}.meta.json",
    wildcard_constraints:
        recipe=recipes_scoring("texts"),
    conda:
        "../envs/texts.yaml"
    params:
        **of("evaluate/score_texts.py", seeds=training_seed),
    shell:
        STEP


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
    wildcard_constraints:
        recipe=recipes_scoring("texts"),
    conda:
        "../envs/texts.yaml"
    params:
        **of("evaluate/compare_texts.py"),
    shell:
        STEP
