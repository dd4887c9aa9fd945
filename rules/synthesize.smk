rule generate_answers:
    """Write several versions of each train record's answer from its relevant passages."""
    input:
        rows="<results>/{recipe}/relevant.jsonl",
        records="<results>/{recipe}/records.jsonl",
        passages="<results>/{recipe}/passages.jsonl",
        shards=shard_files("synthesize", "answers"),
        served=served_model("synthesize.teacher"),
    output:
        rows="<results>/{recipe}/answers.jsonl",
        meta="<results>/{recipe}/answers.meta.json",
    log:
        "<logs>/{recipe}/generate_answers.log",
    benchmark:
        "<benchmarks>/{recipe}/generate_answers.jsonl"
    wildcard_constraints:
        recipe=recipes_synthesizing("answers"),
    retries: retries_of("generate_answers")
    conda:
        "../envs/data.yaml"
    threads: threads_of("generate_answers")
    resources:
        **resources_of("generate_answers", asks="synthesize.teacher"),
    params:
        settings=settings_of(
            "synthesize.turns",
            "synthesize.versions",
            "synthesize.teacher",
            "source.images",
        ),
        prompt=prompt_of("generate_answers"),
        digest=prompt_digest_of("generate_answers"),
        teacher=teacher_of("synthesize.teacher"),
        code=code_of("synthesize/generate_answers.py"),
        shard=shard_option,
    shell:
        "python scripts/synthesize/generate_answers.py --recipe {wildcards.recipe} --rows {input.rows:q}"
        " --records {input.records:q} --passages {input.passages:q}"
        " --settings {params.settings:q} --prompt {params.prompt:q} --prompt-digest {params.digest}"
        " --shares {resources.llm} --code {params.code} {params.shard} --shards {input.shards:q}"
        " --out {output.rows:q} --meta {output.meta:q} 2> {log:q}"


use rule generate_answers as generate_answers_shard with:
    output:
        rows=temp("<results>/{recipe}/shards/answers/{shard}-of-{shards}.jsonl"),
        meta=temp("<results>/{recipe}/shards/answers/{shard}-of-{shards}.meta.json"),
    log:
        "<logs>/{recipe}/generate_answers.{shard}-of-{shards}.log",
    benchmark:
        "<benchmarks>/{recipe}/generate_answers.{shard}-of-{shards}.jsonl"


rule judge_answers:
    """Compare each answer version with the record's own answer."""
    input:
        rows="<results>/{recipe}/answers.jsonl",
        records="<results>/{recipe}/records.jsonl",
        shards=shard_files("synthesize", "judged"),
        served=served_model("synthesize.judge"),
    output:
        rows="<results>/{recipe}/judged.jsonl",
        meta="<results>/{recipe}/judged.meta.json",
    log:
        "<logs>/{recipe}/judge_answers.log",
    benchmark:
        "<benchmarks>/{recipe}/judge_answers.jsonl"
    wildcard_constraints:
        recipe=recipes_synthesizing("answers"),
    retries: retries_of("judge_answers")
    conda:
        "../envs/data.yaml"
    threads: threads_of("judge_answers")
    resources:
        **resources_of("judge_answers", asks="synthesize.judge"),
    params:
        settings=settings_of("synthesize.judge"),
        prompt=prompt_of("judge_answers"),
        digest=prompt_digest_of("judge_answers"),
        teacher=teacher_of("synthesize.judge"),
        code=code_of("synthesize/judge_answers.py"),
        shard=shard_option,
    shell:
        "python scripts/synthesize/judge_answers.py --recipe {wildcards.recipe} --rows {input.rows:q}"
        " --records {input.records:q}"
        " --settings {params.settings:q} --prompt {params.prompt:q} --prompt-digest {params.digest}"
        " --shares {resources.llm} --code {params.code} {params.shard} --shards {input.shards:q}"
        " --out {output.rows:q} --meta {output.meta:q} 2> {log:q}"


use rule judge_answers as judge_answers_shard with:
    output:
        rows=temp("<results>/{recipe}/shards/judged/{shard}-of-{shards}.jsonl"),
        meta=temp("<results>/{recipe}/shards/judged/{shard}-of-{shards}.meta.json"),
    log:
        "<logs>/{recipe}/judge_answers.{shard}-of-{shards}.log",
    benchmark:
        "<benchmarks>/{recipe}/judge_answers.{shard}-of-{shards}.jsonl"


rule plant_defects:
    """Plant defects into some train records' own answers, to see whether the judge notices."""
    input:
        rows="<results>/{recipe}/relevant.jsonl",
        passages="<results>/{recipe}/passages.jsonl",
    output:
        rows="<results>/{recipe}/calibration/answers.jsonl",
        meta="<results>/{recipe}/calibration/answers.meta.json",
    log:
        "<logs>/{recipe}/plant_defects.log",
    benchmark:
        "<benchmarks>/{recipe}/plant_defects.jsonl"
    wildcard_constraints:
        recipe=recipes_where(judge_is_tested),
    retries: retries_of("plant_defects")
    conda:
        "../envs/data.yaml"
    threads: threads_of("plant_defects")
    resources:
        **resources_of("plant_defects"),
    params:
        settings=settings_of("synthesize.planted", "synthesize.planted_seed"),
        code=code_of("synthesize/plant_defects.py"),
    shell:
        "python scripts/synthesize/plant_defects.py --recipe {wildcards.recipe} --rows {input.rows:q}"
        " --passages {input.passages:q} --settings {params.settings:q} --code {params.code}"
        " --out {output.rows:q} --meta {output.meta:q} 2> {log:q}"


use rule judge_answers as judge_planted with:
    input:
        rows="<results>/{recipe}/calibration/answers.jsonl",
        records="<results>/{recipe}/records.jsonl",
        shards=[],
        served=served_model("synthesize.judge"),
    output:
        rows="<results>/{recipe}/calibration/answers_judged.jsonl",
        meta="<results>/{recipe}/calibration/answers_judged.meta.json",
    log:
        "<logs>/{recipe}/judge_planted.log",
    benchmark:
        "<benchmarks>/{recipe}/judge_planted.jsonl"
    wildcard_constraints:
        recipe=recipes_where(judge_is_tested),
    retries: retries_of("judge_planted")
    threads: threads_of("judge_planted")
    resources:
        **resources_of("judge_planted", asks="synthesize.judge"),


rule report_judging:
    """Report which planted defects the judge of answers noticed."""
    input:
        rows="<results>/{recipe}/calibration/answers_judged.jsonl",
        splits="<results>/{recipe}/splits.jsonl",
    output:
        report="<results>/{recipe}/judge_calibration.json",
        meta="<results>/{recipe}/judge_calibration.meta.json",
    log:
        "<logs>/{recipe}/report_judging.log",
    benchmark:
        "<benchmarks>/{recipe}/report_judging.jsonl"
    wildcard_constraints:
        recipe=recipes_where(judge_is_tested),
    retries: retries_of("report_judging")
    conda:
        "../envs/data.yaml"
    threads: threads_of("report_judging")
    resources:
        **resources_of("report_judging"),
    params:
        settings=settings_of("synthesize.judge", "synthesize.planted_seed"),
        code=code_of("synthesize/report_judging.py"),
    shell:
        "python scripts/synthesize/report_judging.py --recipe {wildcards.recipe} --rows {input.rows:q}"
        " --splits {input.splits:q} --settings {params.settings:q} --code {params.code}"
        " --out {output.report:q} --meta {output.meta:q} 2> {log:q}"


rule select_answers:
    """Keep the right versions once each, balance refusals, and list what was dropped and why."""
    input:
        rows="<results>/{recipe}/judged.jsonl",
        records="<results>/{recipe}/relevant.jsonl",
        originals="<results>/{recipe}/records.jsonl",
    output:
        rows="<results>/{recipe}/synthetic.jsonl",
        dropped="<results>/{recipe}/synthetic.dropped.jsonl",
        report="<results>/{recipe}/refusals.json",
        meta="<results>/{recipe}/synthetic.meta.json",
    log:
        "<logs>/{recipe}/select_answers.log",
    benchmark:
        "<benchmarks>/{recipe}/select_answers.jsonl"
    wildcard_constraints:
        recipe=recipes_synthesizing("answers"),
    retries: retries_of("select_answers")
    conda:
        "../envs/data.yaml"
    threads: threads_of("select_answers")
    resources:
        **resources_of("select_answers"),
    params:
        settings=settings_of(
            "synthesize.turns",
            "synthesize.keep_original",
            "synthesize.keep",
            "synthesize.refusal_share",
            "synthesize.refusal_text",
            "student",
        ),
        code=code_of("synthesize/select_answers.py"),
    shell:
        "python scripts/synthesize/select_answers.py --recipe {wildcards.recipe} --rows {input.rows:q}"
        " --records {input.records:q} --originals {input.originals:q} --settings {params.settings:q}"
        " --code {params.code} --out {output.rows:q} --dropped {output.dropped:q} --report {output.report:q}"
        " --meta {output.meta:q} 2> {log:q}"


rule write_student_tasks:
    """Lay out what teaches a student to search for itself: its queries, and its choice among the ranked chunks."""
    input:
        rows="<results>/{recipe}/relevant.jsonl",
        originals="<results>/{recipe}/records.jsonl",
    output:
        rows="<results>/{recipe}/student_tasks.jsonl",
        meta="<results>/{recipe}/student_tasks.meta.json",
    log:
        "<logs>/{recipe}/write_student_tasks.log",
    benchmark:
        "<benchmarks>/{recipe}/write_student_tasks.jsonl"
    wildcard_constraints:
        recipe=recipes_where(searches_for_itself),
    retries: retries_of("write_student_tasks")
    conda:
        "../envs/data.yaml"
    threads: threads_of("write_student_tasks")
    resources:
        **resources_of("write_student_tasks"),
    params:
        settings=settings_of("synthesize.turns", "student"),
        code=code_of("synthesize/write_student_tasks.py"),
    shell:
        "python scripts/synthesize/write_student_tasks.py --recipe {wildcards.recipe} --rows {input.rows:q}"
        " --originals {input.originals:q} --settings {params.settings:q} --code {params.code}"
        " --out {output.rows:q} --meta {output.meta:q} 2> {log:q}"


rule write_reasoning:
    """Let a teacher reason about each train prompt, in several versions; it never sees the key."""
    input:
        rows=before("synthesize"),
        splits="<results>/{recipe}/splits.jsonl",
        shards=shard_files("synthesize", "replies"),
        served=served_model("synthesize.teacher"),
    output:
        rows="<results>/{recipe}/replies.jsonl",
        meta="<results>/{recipe}/replies.meta.json",
    log:
        "<logs>/{recipe}/write_reasoning.log",
    benchmark:
        "<benchmarks>/{recipe}/write_reasoning.jsonl"
    wildcard_constraints:
        recipe=recipes_synthesizing("reasoning"),
    retries: retries_of("write_reasoning")
    conda:
        "../envs/data.yaml"
    threads: threads_of("write_reasoning")
    resources:
        **resources_of("write_reasoning", asks="synthesize.teacher"),
    params:
        settings=settings_of(
            "synthesize.versions",
            "synthesize.teacher",
            "synthesize.permute_options",
        ),
        prompt=prompt_of("write_reasoning"),
        digest=prompt_digest_of("write_reasoning"),
        teacher=teacher_of("synthesize.teacher"),
        code=code_of("synthesize/write_reasoning.py"),
        shard=shard_option,
    shell:
        "python scripts/synthesize/write_reasoning.py --recipe {wildcards.recipe} --rows {input.rows:q}"
        " --splits {input.splits:q}"
        " --settings {params.settings:q} --prompt {params.prompt:q} --prompt-digest {params.digest}"
        " --shares {resources.llm} --code {params.code} {params.shard} --shards {input.shards:q}"
        " --out {output.rows:q} --meta {output.meta:q} 2> {log:q}"


use rule write_reasoning as write_reasoning_shard with:
    output:
        rows=temp("<results>/{recipe}/shards/replies/{shard}-of-{shards}.jsonl"),
        meta=temp("<results>/{recipe}/shards/replies/{shard}-of-{shards}.meta.json"),
    log:
        "<logs>/{recipe}/write_reasoning.{shard}-of-{shards}.log",
    benchmark:
        "<benchmarks>/{recipe}/write_reasoning.{shard}-of-{shards}.jsonl"


rule match_answers:
    """Keep the replies whose answer equals the key, read strictly, and list what was dropped and why."""
    input:
        rows="<results>/{recipe}/replies.jsonl",
    output:
        rows="<results>/{recipe}/synthetic.jsonl",
        dropped="<results>/{recipe}/synthetic.dropped.jsonl",
        meta="<results>/{recipe}/synthetic.meta.json",
    log:
        "<logs>/{recipe}/match_answers.log",
    benchmark:
        "<benchmarks>/{recipe}/match_answers.jsonl"
    wildcard_constraints:
        recipe=recipes_synthesizing("reasoning"),
    retries: retries_of("match_answers")
    conda:
        "../envs/data.yaml"
    threads: threads_of("match_answers")
    resources:
        **resources_of("match_answers"),
    params:
        settings=settings_of("synthesize.kind", "synthesize.keep"),
        code=code_of("synthesize/match_answers.py"),
    shell:
        "python scripts/synthesize/match_answers.py --recipe {wildcards.recipe} --rows {input.rows:q}"
        " --settings {params.settings:q} --code {params.code}"
        " --out {output.rows:q} --dropped {output.dropped:q} --meta {output.meta:q} 2> {log:q}"


rule generate_qa:
    """Write questions and answers about each chunk, each with the words that support it."""
    input:
        rows="<results>/{recipe}/records.jsonl",
        shards=shard_files("synthesize", "qa"),
        served=served_model("synthesize.teacher"),
    output:
        rows="<results>/{recipe}/qa.jsonl",
        meta="<results>/{recipe}/qa.meta.json",
    log:
        "<logs>/{recipe}/generate_qa.log",
    benchmark:
        "<benchmarks>/{recipe}/generate_qa.jsonl"
    wildcard_constraints:
        recipe=recipes_synthesizing("questions"),
    conda:
        "../envs/data.yaml"
    threads: threads_of("generate_qa")
    resources:
        **resources_of("generate_qa", asks="synthesize.teacher"),
    params:
        settings=settings_of(
            "synthesize.questions", "synthesize.styles", "synthesize.teacher"
        ),
        prompt=prompt_of("generate_qa"),
        digest=prompt_digest_of("generate_qa"),
        teacher=teacher_of("synthesize.teacher"),
        code=code_of("synthesize/generate_qa.py"),
        shard=shard_option,
    shell:
        "python scripts/synthesize/generate_qa.py --recipe {wildcards.recipe} --rows {input.rows:q}"
        " --settings {params.settings:q} --prompt {params.prompt:q} --prompt-digest {params.digest}"
        " --shares {resources.llm} --code {params.code} {params.shard} --shards {input.shards:q}"
        " --out {output.rows:q} --meta {output.meta:q} 2> {log:q}"


use rule generate_qa as generate_qa_shard with:
    output:
        rows=temp("<results>/{recipe}/shards/qa/{shard}-of-{shards}.jsonl"),
        meta=temp("<results>/{recipe}/shards/qa/{shard}-of-{shards}.meta.json"),
    log:
        "<logs>/{recipe}/generate_qa.{shard}-of-{shards}.log",
    benchmark:
        "<benchmarks>/{recipe}/generate_qa.{shard}-of-{shards}.jsonl"


rule combine_qa:
    """Put generated and existing pairs together, and list those without support."""
    input:
        rows="<results>/{recipe}/qa.jsonl",
        records="<results>/{recipe}/records.jsonl",
        splits="<results>/{recipe}/splits.jsonl",
    output:
        rows="<results>/{recipe}/training_data.jsonl",
        held_out="<results>/{recipe}/questions.jsonl",
        dropped="<results>/{recipe}/training_data.dropped.jsonl",
        meta="<results>/{recipe}/training_data.meta.json",
    log:
        "<logs>/{recipe}/combine_qa.log",
    benchmark:
        "<benchmarks>/{recipe}/combine_qa.jsonl"
    wildcard_constraints:
        recipe=recipes_synthesizing("questions"),
    conda:
        "../envs/data.yaml"
    threads: threads_of("combine_qa")
    resources:
        **resources_of("combine_qa"),
    params:
        settings=settings_of("synthesize.seen_questions"),
        code=code_of("synthesize/combine_qa.py"),
    shell:
        "python scripts/synthesize/combine_qa.py --recipe {wildcards.recipe} --rows {input.rows:q}"
        " --records {input.records:q} --splits {input.splits:q}"
        " --settings {params.settings:q} --code {params.code} --out {output.rows:q}"
        " --held-out {output.held_out:q} --dropped {output.dropped:q} --meta {output.meta:q} 2> {log:q}"


rule validate_qa:
    """Score each train pair; nothing is filtered."""
    input:
        rows="<results>/{recipe}/training_data.jsonl",
        shards=shard_files("synthesize", "validated"),
        served=served_model("synthesize.judge"),
    output:
        rows="<results>/{recipe}/validated.jsonl",
        meta="<results>/{recipe}/validated.meta.json",
    log:
        "<logs>/{recipe}/validate_qa.log",
    benchmark:
        "<benchmarks>/{recipe}/validate_qa.jsonl"
    wildcard_constraints:
        recipe=recipes_synthesizing("questions"),
    conda:
        "../envs/data.yaml"
    threads: threads_of("validate_qa")
    resources:
        **resources_of("validate_qa", asks="synthesize.judge"),
    params:
        settings=settings_of(
            "synthesize.criteria",
            "synthesize.pass_score",
            "synthesize.review_score",
            "synthesize.judge",
        ),
        prompt=prompt_of("validate_qa"),
        digest=prompt_digest_of("validate_qa"),
        teacher=teacher_of("synthesize.judge"),
        code=code_of("synthesize/validate_qa.py"),
        shard=shard_option,
    shell:
        "python scripts/synthesize/validate_qa.py --recipe {wildcards.recipe} --rows {input.rows:q}"
        " --settings {params.settings:q} --prompt {params.prompt:q} --prompt-digest {params.digest}"
        " --shares {resources.llm} --code {params.code} {params.shard} --shards {input.shards:q}"
        " --out {output.rows:q} --meta {output.meta:q} 2> {log:q}"


use rule validate_qa as validate_qa_shard with:
    output:
        rows=temp("<results>/{recipe}/shards/validated/{shard}-of-{shards}.jsonl"),
        meta=temp("<results>/{recipe}/shards/validated/{shard}-of-{shards}.meta.json"),
    log:
        "<logs>/{recipe}/validate_qa.{shard}-of-{shards}.log",
    benchmark:
        "<benchmarks>/{recipe}/validate_qa.{shard}-of-{shards}.jsonl"


rule report_validation:
    """Summarise the scores: verdicts and ten bins, as JSON, text and picture."""
    input:
        rows="<results>/{recipe}/validated.jsonl",
    output:
        report="<results>/{recipe}/validation_report.json",
        text="<results>/{recipe}/validation_report.txt",
        picture="<results>/{recipe}/validation_report.svg",
        meta="<results>/{recipe}/validation_report.meta.json",
    log:
        "<logs>/{recipe}/report_validation.log",
    benchmark:
        "<benchmarks>/{recipe}/report_validation.jsonl"
    wildcard_constraints:
        recipe=recipes_synthesizing("questions"),
    conda:
        "../envs/plots.yaml"
    threads: threads_of("report_validation")
    resources:
        **resources_of("report_validation"),
    params:
        settings=settings_of(
            "synthesize.criteria", "synthesize.pass_score", "synthesize.review_score"
        ),
        code=code_of("synthesize/report_validation.py"),
    shell:
        "python scripts/synthesize/report_validation.py --recipe {wildcards.recipe} --rows {input.rows:q}"
        " --settings {params.settings:q} --code {params.code} --out {output.report:q}"
        " --text {output.text:q} --picture {output.picture:q} --meta {output.meta:q} 2> {log:q}"


rule select_qa:
    """Choose the pairs that are trained on by their overall score."""
    input:
        rows="<results>/{recipe}/validated.jsonl",
    output:
        rows="<results>/{recipe}/synthetic.jsonl",
        dropped="<results>/{recipe}/synthetic.dropped.jsonl",
        meta="<results>/{recipe}/synthetic.meta.json",
    log:
        "<logs>/{recipe}/select_qa.log",
    benchmark:
        "<benchmarks>/{recipe}/select_qa.jsonl"
    wildcard_constraints:
        recipe=recipes_synthesizing("questions"),
    conda:
        "../envs/data.yaml"
    threads: threads_of("select_qa")
    resources:
        **resources_of("select_qa"),
    params:
        settings=settings_of("synthesize.threshold"),
        code=code_of("synthesize/select_qa.py"),
    shell:
        "python scripts/synthesize/select_qa.py --recipe {wildcards.recipe} --rows {input.rows:q}"
        " --settings {params.settings:q} --code {params.code}"
        " --out {output.rows:q} --dropped {output.dropped:q} --meta {output.meta:q} 2> {log:q}"


rule format_qa:
    """Write the pairs from a threshold on in the form of a template; any number of them side by side."""
    input:
        rows="<results>/{recipe}/validated.jsonl",
        base=[],
    output:
        rows="<results>/{recipe}/formatted/{template}_t{threshold}.jsonl",
        meta="<results>/{recipe}/formatted/{template}_t{threshold}.meta.json",
    log:
        "<logs>/{recipe}/format_qa.{template}_t{threshold}.log",
    benchmark:
        "<benchmarks>/{recipe}/format_qa.{template}_t{threshold}.jsonl"
    wildcard_constraints:
        recipe=recipes_synthesizing("questions"),
        template="(?!tokenizer_)[a-z0-9]+",
        threshold="[0-9.]+",
    conda:
        "../envs/data.yaml"
    threads: threads_of("format_qa")
    resources:
        **resources_of("format_qa"),
    params:
        settings=settings_of("folds.system_prompt"),
        code=code_of("synthesize/format_qa.py"),
    shell:
        "python scripts/synthesize/format_qa.py --recipe {wildcards.recipe} --rows {input.rows:q}"
        " --base {input.base:q} --template {wildcards.template} --threshold {wildcards.threshold}"
        " --settings {params.settings:q} --code {params.code}"
        " --out {output.rows:q} --meta {output.meta:q} 2> {log:q}"


use rule format_qa as format_qa_as_the_tokenizer with:
    input:
        rows="<results>/{recipe}/validated.jsonl",
        base=of_only_fold(base_manifest),
    log:
        "<logs>/{recipe}/format_qa.{template}_t{threshold}.log",
    wildcard_constraints:
        recipe=recipes_where(lambda recipe: recipe.base_model and has_one_fold(recipe)),
        template="tokenizer",
        threshold="[0-9.]+",
    conda:
        "../envs/train.yaml"


rule make_bundles:
    """Make the training bundles of every epoch, in training order, from out-of-fold ranks."""
    input:
        rows="<results>/{recipe}/reranked.jsonl",
        passages="<results>/{recipe}/passages.jsonl",
        splits="<results>/{recipe}/splits.jsonl",
    output:
        rows="<results>/{recipe}/synthetic.jsonl",
        dropped="<results>/{recipe}/synthetic.dropped.jsonl",
        meta="<results>/{recipe}/synthetic.meta.json",
    log:
        "<logs>/{recipe}/make_bundles.log",
    benchmark:
        "<benchmarks>/{recipe}/make_bundles.jsonl"
    wildcard_constraints:
        recipe=recipes_synthesizing("bundles"),
    conda:
        "../envs/data.yaml"
    threads: threads_of("make_bundles")
    resources:
        **resources_of("make_bundles"),
    params:
        settings=settings_of("synthesize", "folds.evidence", "folds.evidence_words"),
        code=code_of("synthesize/make_bundles.py"),
    shell:
        "python scripts/synthesize/make_bundles.py --recipe {wildcards.recipe} --rows {input.rows:q}"
        " --passages {input.passages:q} --splits {input.splits:q} --settings {params.settings:q} --code {params.code}"
        " --out {output.rows:q} --dropped {output.dropped:q} --meta {output.meta:q} 2> {log:q}"


rule describe_images:
    """Let a teacher write three sentences about each image, without sight of the text that goes with it."""
    input:
        rows="<results>/{recipe}/records.jsonl",
        shards=shard_files("synthesize", "descriptions"),
        served=served_model("synthesize.teacher"),
    output:
        rows="<results>/{recipe}/descriptions.jsonl",
        meta="<results>/{recipe}/descriptions.meta.json",
    log:
        "<logs>/{recipe}/describe_images.log",
    benchmark:
        "<benchmarks>/{recipe}/describe_images.jsonl"
    wildcard_constraints:
        recipe=recipes_synthesizing("captions"),
    conda:
        "../envs/data.yaml"
    threads: threads_of("describe_images")
    resources:
        **resources_of("describe_images", asks="synthesize.teacher"),
    params:
        settings=settings_of("synthesize.teacher", "vision.classes", "source.images"),
        prompt=prompt_of("describe_images"),
        digest=prompt_digest_of("describe_images"),
        teacher=teacher_of("synthesize.teacher"),
        code=code_of("synthesize/describe_images.py"),
        shard=shard_option,
    shell:
        "python scripts/synthesize/describe_images.py --recipe {wildcards.recipe} --rows {input.rows:q}"
        " --settings {params.settings:q} --prompt {params.prompt:q} --prompt-digest {params.digest}"
        " --shares {resources.llm} --code {params.code} {params.shard} --shards {input.shards:q}"
        " --out {output.rows:q} --meta {output.meta:q} 2> {log:q}"


use rule describe_images as describe_images_shard with:
    output:
        rows=temp("<results>/{recipe}/shards/descriptions/{shard}-of-{shards}.jsonl"),
        meta=temp(
            "<results>/{recipe}/shards/descriptions/{shard}-of-{shards}.meta.json"
        ),
    log:
        "<logs>/{recipe}/describe_images.{shard}-of-{shards}.log",
    benchmark:
        "<benchmarks>/{recipe}/describe_images.{shard}-of-{shards}.jsonl"


rule link_captions:
    """Let a teacher write the fourth sentence about each image: how it bears on the discussion."""
    input:
        rows="<results>/{recipe}/descriptions.jsonl",
        records="<results>/{recipe}/records.jsonl",
        shards=shard_files("synthesize", "captions"),
        served=served_model("synthesize.teacher"),
    output:
        rows="<results>/{recipe}/captions.jsonl",
        meta="<results>/{recipe}/captions.meta.json",
    log:
        "<logs>/{recipe}/link_captions.log",
    benchmark:
        "<benchmarks>/{recipe}/link_captions.jsonl"
    wildcard_constraints:
        recipe=recipes_synthesizing("captions"),
    conda:
        "../envs/data.yaml"
    threads: threads_of("link_captions")
    resources:
        **resources_of("link_captions", asks="synthesize.teacher"),
    params:
        settings=settings_of("synthesize.teacher", "vision.classes"),
        prompt=prompt_of("link_captions"),
        digest=prompt_digest_of("link_captions"),
        teacher=teacher_of("synthesize.teacher"),
        code=code_of("synthesize/link_captions.py"),
        shard=shard_option,
    shell:
        "python scripts/synthesize/link_captions.py --recipe {wildcards.recipe} --rows {input.rows:q}"
        " --records {input.records:q}"
        " --settings {params.settings:q} --prompt {params.prompt:q} --prompt-digest {params.digest}"
        " --shares {resources.llm} --code {params.code} {params.shard} --shards {input.shards:q}"
        " --out {output.rows:q} --meta {output.meta:q} 2> {log:q}"


use rule link_captions as link_captions_shard with:
    output:
        rows=temp("<results>/{recipe}/shards/captions/{shard}-of-{shards}.jsonl"),
        meta=temp("<results>/{recipe}/shards/captions/{shard}-of-{shards}.meta.json"),
    log:
        "<logs>/{recipe}/link_captions.{shard}-of-{shards}.log",
    benchmark:
        "<benchmarks>/{recipe}/link_captions.{shard}-of-{shards}.jsonl"


rule summarize_discussions:
    """Let a teacher summarise each train record's discussion."""
    input:
        rows="<results>/{recipe}/records.jsonl",
        splits="<results>/{recipe}/splits.jsonl",
        shards=shard_files("synthesize", "summaries"),
        served=served_model("synthesize.teacher"),
    output:
        rows="<results>/{recipe}/summaries.jsonl",
        meta="<results>/{recipe}/summaries.meta.json",
    log:
        "<logs>/{recipe}/summarize_discussions.log",
    benchmark:
        "<benchmarks>/{recipe}/summarize_discussions.jsonl"
    wildcard_constraints:
        recipe=recipes_synthesizing("captions"),
    conda:
        "../envs/data.yaml"
    threads: threads_of("summarize_discussions")
    resources:
        **resources_of("summarize_discussions", asks="synthesize.teacher"),
    params:
        settings=settings_of("synthesize.teacher"),
        prompt=prompt_of("summarize_discussions"),
        digest=prompt_digest_of("summarize_discussions"),
        teacher=teacher_of("synthesize.teacher"),
        code=code_of("synthesize/summarize_discussions.py"),
        shard=shard_option,
    shell:
        "python scripts/synthesize/summarize_discussions.py --recipe {wildcards.recipe} --rows {input.rows:q}"
        " --splits {input.splits:q}"
        " --settings {params.settings:q} --prompt {params.prompt:q} --prompt-digest {params.digest}"
        " --shares {resources.llm} --code {params.code} {params.shard} --shards {input.shards:q}"
        " --out {output.rows:q} --meta {output.meta:q} 2> {log:q}"


use rule summarize_discussions as summarize_discussions_shard with:
    output:
        rows=temp("<results>/{recipe}/shards/summaries/{shard}-of-{shards}.jsonl"),
        meta=temp("<results>/{recipe}/shards/summaries/{shard}-of-{shards}.meta.json"),
    log:
        "<logs>/{recipe}/summarize_discussions.{shard}-of-{shards}.log",
    benchmark:
        "<benchmarks>/{recipe}/summarize_discussions.{shard}-of-{shards}.jsonl"


rule lay_out_tasks:
    """Lay out what was written about each case as tasks with loss weights, and list what was dropped and why."""
    input:
        rows="<results>/{recipe}/captions.jsonl",
        records="<results>/{recipe}/records.jsonl",
        splits="<results>/{recipe}/splits.jsonl",
        summaries="<results>/{recipe}/summaries.jsonl",
    output:
        rows="<results>/{recipe}/synthetic.jsonl",
        held_out="<results>/{recipe}/questions.jsonl",
        dropped="<results>/{recipe}/synthetic.dropped.jsonl",
        augmented="<results>/{recipe}/augmented.json",
        meta="<results>/{recipe}/synthetic.meta.json",
    log:
        "<logs>/{recipe}/lay_out_tasks.log",
    benchmark:
        "<benchmarks>/{recipe}/lay_out_tasks.jsonl"
    wildcard_constraints:
        recipe=recipes_synthesizing("captions"),
    conda:
        "../envs/data.yaml"
    threads: threads_of("lay_out_tasks")
    resources:
        **resources_of("lay_out_tasks"),
    params:
        settings=settings_of("synthesize.task_weights"),
        code=code_of("synthesize/lay_out_tasks.py"),
    shell:
        "python scripts/synthesize/lay_out_tasks.py --recipe {wildcards.recipe} --rows {input.rows:q}"
        " --records {input.records:q} --splits {input.splits:q} --summaries {input.summaries:q}"
        " --settings {params.settings:q} --code {params.code} --out {output.rows:q} --held-out {output.held_out:q}"
        " --dropped {output.dropped:q} --augmented {output.augmented:q} --meta {output.meta:q} 2> {log:q}"
