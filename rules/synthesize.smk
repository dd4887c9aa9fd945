# A rule's command, log, resources and retries follow from its script and its name: common/step.smk.
rule generate_answers:
    """Write several versions of each train record's answer from its relevant passages."""
    input:
        **asking("synthesize.teacher", shards="answers"),
        rows="<results>/{recipe}/relevant.jsonl",
        records="<results>/{recipe}/records.jsonl",
        passages="<results>/{recipe}/passages.jsonl",
    output:
        rows="<results>/{recipe}/answers.jsonl",
        meta="<results>/{recipe}/answers.meta.json",
    wildcard_constraints:
        recipe=recipes_synthesizing("answers"),
    conda:
        "../envs/data.yaml"
    params:
        **of("synthesize/generate_answers.py"),
    shell:
        STEP


use rule generate_answers as generate_answers_shard with:
    output:
        **shard_of("answers"),


rule judge_answers:
    """Compare each answer version with the record's own answer."""
    input:
        **asking("synthesize.judge", shards="judged"),
        rows="<results>/{recipe}/answers.jsonl",
        records="<results>/{recipe}/records.jsonl",
    output:
        rows="<results>/{recipe}/judged.jsonl",
        meta="<results>/{recipe}/judged.meta.json",
    wildcard_constraints:
        recipe=recipes_synthesizing("answers"),
    conda:
        "../envs/data.yaml"
    params:
        **of("synthesize/judge_answers.py"),
    shell:
        STEP


use rule judge_answers as judge_answers_shard with:
    output:
        **shard_of("judged"),


rule plant_defects:
    """Plant defects into some train records' own answers, to see whether the judge notices."""
    input:
        rows="<results>/{recipe}/relevant.jsonl",
        passages="<results>/{recipe}/passages.jsonl",
    output:
        rows="<results>/{recipe}/calibration/answers.jsonl",
        meta="<results>/{recipe}/calibration/answers.meta.json",
    wildcard_constraints:
        recipe=recipes_where(judge_is_tested),
    conda:
        "../envs/data.yaml"
    params:
        **of("synthesize/plant_defects.py"),
    shell:
        STEP


use rule judge_answers as judge_planted with:
    input:
        **asking("synthesize.judge"),
        rows="<results>/{recipe}/calibration/answers.jsonl",
        records="<results>/{recipe}/records.jsonl",
    output:
        rows="<results>/{recipe}/calibration/answers_judged.jsonl",
        meta="<results>/{recipe}/calibration/answers_judged.meta.json",
    wildcard_constraints:
        recipe=recipes_where(judge_is_tested),


rule report_judging:
    """Report which planted defects the judge of answers noticed."""
    input:
        rows="<results>/{recipe}/calibration/answers_judged.jsonl",
        splits="<results>/{recipe}/splits.jsonl",
    output:
        report="<results>/{recipe}/judge_calibration.json",
        meta="<results>/{recipe}/judge_calibration.meta.json",
    wildcard_constraints:
        recipe=recipes_where(judge_is_tested),
    conda:
        "../envs/data.yaml"
    params:
        **of("synthesize/report_judging.py"),
    shell:
        STEP


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
    wildcard_constraints:
        recipe=recipes_synthesizing("answers"),
    conda:
        "../envs/data.yaml"
    params:
        **of("synthesize/select_answers.py"),
    shell:
        STEP


rule write_student_tasks:
    """Lay out what teaches a student to search for itself: its queries, and its choice among the ranked chunks."""
    input:
        rows="<results>/{recipe}/relevant.jsonl",
        originals="<results>/{recipe}/records.jsonl",
    output:
        rows="<results>/{recipe}/student_tasks.jsonl",
        meta="<results>/{recipe}/student_tasks.meta.json",
    wildcard_constraints:
        recipe=recipes_where(searches_for_itself),
    conda:
        "../envs/data.yaml"
    params:
        **of("synthesize/write_student_tasks.py"),
    shell:
        STEP


rule write_reasoning:
    """Let a teacher reason about each train prompt, in several versions; it never sees the key."""
    input:
        **asking("synthesize.teacher", shards="replies"),
        rows=before("synthesize"),
        splits="<results>/{recipe}/splits.jsonl",
    output:
        rows="<results>/{recipe}/replies.jsonl",
        meta="<results>/{recipe}/replies.meta.json",
    wildcard_constraints:
        recipe=recipes_synthesizing("reasoning"),
    conda:
        "../envs/data.yaml"
    params:
        **of("synthesize/write_reasoning.py"),
    shell:
        STEP


use rule write_reasoning as write_reasoning_shard with:
    output:
        **shard_of("replies"),


rule match_answers:
    """Keep the replies whose answer equals the key, read strictly, and list what was dropped and why."""
    input:
        rows="<results>/{recipe}/replies.jsonl",
    output:
        rows="<results>/{recipe}/synthetic.jsonl",
        dropped="<results>/{recipe}/synthetic.dropped.jsonl",
        meta="<results>/{recipe}/synthetic.meta.json",
    wildcard_constraints:
        recipe=recipes_synthesizing("reasoning"),
    conda:
        "../envs/data.yaml"
    params:
        **of("synthesize/match_answers.py"),
    shell:
        STEP


rule generate_qa:
    """Write questions and answers about each chunk, each with the words that support it."""
    input:
        **asking("synthesize.teacher", shards="qa"),
        rows="<results>/{recipe}/records.jsonl",
    output:
        rows="<results>/{recipe}/qa.jsonl",
        meta="<results>/{recipe}/qa.meta.json",
    wildcard_constraints:
        recipe=recipes_synthesizing("questions"),
    conda:
        "../envs/data.yaml"
    params:
        **of("synthesize/generate_qa.py"),
    shell:
        STEP


use rule generate_qa as generate_qa_shard with:
    output:
        **shard_of("qa"),


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
    wildcard_constraints:
        recipe=recipes_synthesizing("questions"),
    conda:
        "../envs/data.yaml"
    params:
        **of("synthesize/combine_qa.py"),
    shell:
        STEP


rule validate_qa:
    """Score each train pair; nothing is filtered."""
    input:
        **asking("synthesize.judge", shards="validated"),
        rows="<results>/{recipe}/training_data.jsonl",
    output:
        rows="<results>/{recipe}/validated.jsonl",
        meta="<results>/{recipe}/validated.meta.json",
    wildcard_constraints:
        recipe=recipes_synthesizing("questions"),
    conda:
        "../envs/data.yaml"
    params:
        **of("synthesize/validate_qa.py"),
    shell:
        STEP


use rule validate_qa as validate_qa_shard with:
    output:
        **shard_of("validated"),


rule report_validation:
    """Summarise the scores: verdicts and ten bins, as JSON, text and picture."""
    input:
        rows="<results>/{recipe}/validated.jsonl",
    output:
        report="<results>/{recipe}/validation_report.json",
        text="<results>/{recipe}/validation_report.txt",
        picture="<results>/{recipe}/validation_report.svg",
        meta="<results>/{recipe}/validation_report.meta.json",
    wildcard_constraints:
        recipe=recipes_synthesizing("questions"),
    conda:
        "../envs/plots.yaml"
    params:
        **of("synthesize/report_validation.py"),
    shell:
        STEP


rule select_qa:
    """Choose the pairs that are trained on by their overall score."""
    input:
        rows="<results>/{recipe}/validated.jsonl",
    output:
        rows="<results>/{recipe}/synthetic.jsonl",
        dropped="<results>/{recipe}/synthetic.dropped.jsonl",
        meta="<results>/{recipe}/synthetic.meta.json",
    wildcard_constraints:
        recipe=recipes_synthesizing("questions"),
    conda:
        "../envs/data.yaml"
    params:
        **of("synthesize/select_qa.py"),
    shell:
        STEP


rule format_qa:
    """Write the pairs from a threshold on in the form of a template; any number of them side by side."""
    input:
        rows="<results>/{recipe}/validated.jsonl",
        base=known_form,
    output:
        rows="<results>/{recipe}/formatted/{template}_t{threshold}.jsonl",
        meta="<results>/{recipe}/formatted/{template}_t{threshold}.meta.json",
    wildcard_constraints:
        recipe=recipes_synthesizing("questions"),
        template=r"(?!tokenizer_t(10(\.0+)?|[0-9](\.[0-9]+)?)\.(jsonl|meta))[a-z0-9]+",
        threshold="[0-9.]+",
    conda:
        "../envs/data.yaml"
    params:
        **of("synthesize/format_qa.py"),
    shell:
        STEP


use rule format_qa as format_qa_as_the_tokenizer with:
    input:
        rows="<results>/{recipe}/validated.jsonl",
        base=of_only_fold(base_manifest),
    wildcard_constraints:
        recipe=recipes_where(lambda recipe: recipe.base_model and has_one_fold(recipe)),
        template="tokenizer",
        threshold=r"10(\.0+)?|[0-9](\.[0-9]+)?",
    conda:
        "../envs/train.yaml"
    params:
        **of("synthesize/format_qa.py", environment="train"),


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
    wildcard_constraints:
        recipe=recipes_synthesizing("bundles"),
    conda:
        "../envs/data.yaml"
    params:
        **of("synthesize/make_bundles.py"),
    shell:
        STEP


rule describe_images:
    """Let a teacher write three sentences about each image, without sight of the text that goes with it."""
    input:
        **asking("synthesize.teacher", shards="descriptions"),
        rows="<results>/{recipe}/records.jsonl",
    output:
        rows="<results>/{recipe}/descriptions.jsonl",
        meta="<results>/{recipe}/descriptions.meta.json",
    wildcard_constraints:
        recipe=recipes_synthesizing("captions"),
    conda:
        "../envs/data.yaml"
    params:
        **of("synthesize/describe_images.py"),
    shell:
        STEP


use rule describe_images as describe_images_shard with:
    output:
        **shard_of("descriptions"),


rule link_captions:
    """Let a teacher write the fourth sentence about each image: how it bears on the discussion."""
    input:
        **asking("synthesize.teacher", shards="captions"),
        rows="<results>/{recipe}/descriptions.jsonl",
        records="<results>/{recipe}/records.jsonl",
    output:
        rows="<results>/{recipe}/captions.jsonl",
        meta="<results>/{recipe}/captions.meta.json",
    wildcard_constraints:
        recipe=recipes_synthesizing("captions"),
    conda:
        "../envs/data.yaml"
    params:
        **of("synthesize/link_captions.py"),
    shell:
        STEP


use rule link_captions as link_captions_shard with:
    output:
        **shard_of("captions"),


rule summarize_discussions:
    """Let a teacher summarise each train record's discussion."""
    input:
        **asking("synthesize.teacher", shards="summaries"),
        rows="<results>/{recipe}/records.jsonl",
        splits="<results>/{recipe}/splits.jsonl",
    output:
        rows="<results>/{recipe}/summaries.jsonl",
        meta="<results>/{recipe}/summaries.meta.json",
    wildcard_constraints:
        recipe=recipes_synthesizing("captions"),
    conda:
        "../envs/data.yaml"
    params:
        **of("synthesize/summarize_discussions.py"),
    shell:
        STEP


use rule summarize_discussions as summarize_discussions_shard with:
    output:
        **shard_of("summaries"),


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
    wildcard_constraints:
        recipe=recipes_synthesizing("captions"),
    conda:
        "../envs/data.yaml"
    params:
        **of("synthesize/lay_out_tasks.py"),
    shell:
        STEP
