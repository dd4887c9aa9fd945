rule fetch_model:
    """Download the base model at its revision, or copy a local folder."""
    output:
        manifest="<results>/{recipe}/base_model/manifest.json",
        meta="<results>/{recipe}/base_model.meta.json",
    log:
        "<logs>/{recipe}/fetch_model.log",
    benchmark:
        "<benchmarks>/{recipe}/fetch_model.jsonl"
    retries: retries_of("fetch_model")
    conda:
        "../envs/train.yaml"
    threads: threads_of("fetch_model")
    resources:
        **resources_of("fetch_model"),
    params:
        settings=settings_of("base_model"),
        source=digest_of(base_folder),
        code=code_of("train/fetch_model.py"),
    shell:
        "python scripts/train/fetch_model.py --recipe {wildcards.recipe}"
        " --settings {params.settings:q} --source {params.source} --code {params.code}"
        " --manifest {output.manifest:q} --meta {output.meta:q} 2> {log:q}"


rule make_tiny_base:
    """Train a tokenizer and a tiny model on the fold's own text, for tutorials and tests."""
    input:
        train=fold_file("train"),
    output:
        manifest="<results>/{recipe}/bases/{fold}/manifest.json",
        meta="<results>/{recipe}/bases/{fold}.meta.json",
    log:
        "<logs>/{recipe}/make_tiny_base.{fold}.log",
    benchmark:
        "<benchmarks>/{recipe}/make_tiny_base.{fold}.jsonl"
    retries: retries_of("make_tiny_base")
    conda:
        "../envs/train.yaml"
    threads: threads_of("make_tiny_base")
    resources:
        **resources_of("make_tiny_base"),
    params:
        settings=settings_of("base_model", "folds.system_prompt"),
        environment=env_of("train"),
        code=code_of("train/make_tiny_base.py"),
    shell:
        "python scripts/train/make_tiny_base.py --recipe {wildcards.recipe} --train {input.train:q}"
        " --settings {params.settings:q} --environment {params.environment} --code {params.code}"
        " --manifest {output.manifest:q} --meta {output.meta:q} 2> {log:q}"


rule render_prompts:
    """Render the train examples as the final strings of a model family: what the trainer tokenizes."""
    input:
        train=of_only_fold(fold_file("train")),
        base=of_only_fold(base_manifest),
    output:
        rows="<results>/{recipe}/prompts/{family}.jsonl",
        meta="<results>/{recipe}/prompts/{family}.meta.json",
    log:
        "<logs>/{recipe}/render_prompts.{family}.log",
    benchmark:
        "<benchmarks>/{recipe}/render_prompts.{family}.jsonl"
    wildcard_constraints:
        recipe=recipes_where(lambda recipe: recipe.train and has_one_fold(recipe)),
        family="[a-z0-9]+",
    conda:
        "../envs/train.yaml"
    threads: threads_of("render_prompts")
    resources:
        **resources_of("render_prompts"),
    params:
        settings=settings_of("limits"),
        environment=env_of("train"),
        code=code_of("train/render_prompts.py"),
    shell:
        "python scripts/train/render_prompts.py --recipe {wildcards.recipe} --family {wildcards.family}"
        " --train {input.train:q} --base {input.base:q} --settings {params.settings:q}"
        " --environment {params.environment} --code {params.code}"
        " --out {output.rows:q} --meta {output.meta:q} 2> {log:q}"


rule train_adapter:
    """Fine-tune an adapter on one fold; checkpoints outlive a failure in the state directory, and a retry goes on."""
    input:
        train=fold_file("train"),
        eval=fold_file("eval"),
        base=base_manifest,
    output:
        manifest="<results>/{recipe}/models/{model}/{fold}/final_adapter/manifest.json",
        training_log="<results>/{recipe}/models/{model}/{fold}/training_log.jsonl",
        meta="<results>/{recipe}/models/{model}/{fold}.meta.json",
    log:
        "<logs>/{recipe}/train_adapter.{model}.{fold}.log",
    benchmark:
        "<benchmarks>/{recipe}/train_adapter.{model}.{fold}.jsonl"
    wildcard_constraints:
        model=models_trained_by("lora", "qlora"),
    retries: retries_of("train_adapter")
    conda:
        "../envs/train.yaml"
    threads: threads_of("train_adapter")
    resources:
        **resources_of("train_adapter", spreads=True),
    params:
        settings=model_settings,
        control=shuffle_option,
        state=state_folder,
        environment=env_of("train"),
        code=code_of("train/train_adapter.py"),
    shell:
        "python scripts/train/train_adapter.py --recipe {wildcards.recipe} --train {input.train:q}"
        " --eval {input.eval:q} --base {input.base:q} --state {params.state:q} {params.control}"
        " --settings {params.settings:q} --environment {params.environment} --code {params.code}"
        " --manifest {output.manifest:q} --training-log {output.training_log:q} --meta {output.meta:q} 2> {log:q} 1>&2"


use rule train_adapter as train_whole_model with:
    output:
        manifest="<results>/{recipe}/models/{model}/{fold}/final_checkpoint/manifest.json",
        training_log="<results>/{recipe}/models/{model}/{fold}/training_log.jsonl",
        meta="<results>/{recipe}/models/{model}/{fold}.meta.json",
    wildcard_constraints:
        model=models_trained_by("full"),


rule train_image_encoder:
    """Train the image encoder and the classifier on the images of train records, or take them from checkpoints."""
    input:
        records="<results>/{recipe}/records.jsonl",
        splits="<results>/{recipe}/splits.jsonl",
    output:
        manifest="<results>/{recipe}/vision/manifest.json",
        meta="<results>/{recipe}/vision.meta.json",
    log:
        "<logs>/{recipe}/train_image_encoder.log",
    benchmark:
        "<benchmarks>/{recipe}/train_image_encoder.jsonl"
    wildcard_constraints:
        recipe=recipes_where(lambda recipe: recipe.vision),
    conda:
        "../envs/train.yaml"
    threads: threads_of("train_image_encoder")
    resources:
        **resources_of("train_image_encoder"),
    params:
        settings=settings_of("vision", "source.images"),
        source=digest_of(vision_checkpoints),
        environment=env_of("train"),
        code=code_of("train/train_image_encoder.py"),
    shell:
        "python scripts/train/train_image_encoder.py --recipe {wildcards.recipe} --records {input.records:q}"
        " --splits {input.splits:q} --settings {params.settings:q} --source {params.source}"
        " --environment {params.environment} --code {params.code}"
        " --manifest {output.manifest:q} --meta {output.meta:q} 2> {log:q}"


rule measure_targets:
    """Count the tokens of every task's targets, and those that would be cut; draw the distribution."""
    input:
        train=fold_file("train"),
        base=base_manifest,
        vision="<results>/{recipe}/vision/manifest.json",
    output:
        report="<results>/{recipe}/plots/{model}/{fold}.targets.json",
        picture="<results>/{recipe}/plots/{model}/{fold}.targets.svg",
        meta="<results>/{recipe}/plots/{model}/{fold}.targets.meta.json",
    log:
        "<logs>/{recipe}/measure_targets.{model}.{fold}.log",
    benchmark:
        "<benchmarks>/{recipe}/measure_targets.{model}.{fold}.jsonl"
    wildcard_constraints:
        recipe=recipes_where(lambda recipe: recipe.vision and recipe.train),
    conda:
        "../envs/texts.yaml"
    threads: threads_of("measure_targets")
    resources:
        **resources_of("measure_targets"),
    params:
        settings=model_settings,
        code=code_of("train/measure_targets.py"),
    shell:
        "python scripts/train/measure_targets.py --recipe {wildcards.recipe} --train {input.train:q}"
        " --base {input.base:q} --vision {input.vision:q}"
        " --settings {params.settings:q} --code {params.code}"
        " --report {output.report:q} --picture {output.picture:q} --meta {output.meta:q} 2> {log:q}"


rule train_image_prefix:
    """Tune a model that reads pictures, on tasks drawn in phases; a retry goes on from the last checkpoint."""
    input:
        train=fold_file("train"),
        eval=fold_file("eval"),
        base=base_manifest,
        vision="<results>/{recipe}/vision/manifest.json",
    output:
        manifest="<results>/{recipe}/models/{model}/{fold}/final_adapter/manifest.json",
        training_log="<results>/{recipe}/models/{model}/{fold}/training_log.jsonl",
        meta="<results>/{recipe}/models/{model}/{fold}.meta.json",
    log:
        "<logs>/{recipe}/train_image_prefix.{model}.{fold}.log",
    benchmark:
        "<benchmarks>/{recipe}/train_image_prefix.{model}.{fold}.jsonl"
    wildcard_constraints:
        model=models_trained_by("image_prefix"),
    retries: retries_of("train_image_prefix")
    conda:
        "../envs/train.yaml"
    threads: threads_of("train_image_prefix")
    resources:
        **resources_of("train_image_prefix"),
    params:
        settings=model_settings,
        state=state_folder,
        environment=env_of("train"),
        code=code_of("train/train_image_prefix.py"),
    shell:
        "python scripts/train/train_image_prefix.py --recipe {wildcards.recipe} --train {input.train:q}"
        " --eval {input.eval:q} --base {input.base:q} --vision {input.vision:q} --state {params.state:q}"
        " --settings {params.settings:q} --environment {params.environment} --code {params.code}"
        " --manifest {output.manifest:q} --training-log {output.training_log:q} --meta {output.meta:q} 2> {log:q} 1>&2"


rule plot_training:
    """Draw the losses of a training from its log."""
    input:
        training_log=training_log,
    output:
        picture="<results>/{recipe}/plots/{model}/{fold}.loss.svg",
        meta="<results>/{recipe}/plots/{model}/{fold}.loss.meta.json",
    log:
        "<logs>/{recipe}/plot_training.{model}.{fold}.log",
    benchmark:
        "<benchmarks>/{recipe}/plot_training.{model}.{fold}.jsonl"
    conda:
        "../envs/plots.yaml"
    threads: threads_of("plot_training")
    resources:
        **resources_of("plot_training"),
    params:
        environment=env_of("plots"),
        code=code_of("train/plot_training.py"),
    shell:
        "python scripts/train/plot_training.py --recipe {wildcards.recipe} --training-log {input.training_log:q}"
        " --title '{wildcards.recipe}: {wildcards.model}, {wildcards.fold}'"
        " --environment {params.environment} --code {params.code}"
        " --picture {output.picture:q} --meta {output.meta:q} 2> {log:q}"


rule train_reranker:
    """Train a cross-encoder on the train questions, once on all and once without each fold."""
    input:
        rows="<results>/{recipe}/recall.jsonl",
        passages="<results>/{recipe}/passages.jsonl",
        splits="<results>/{recipe}/splits.jsonl",
        base=fetched_reranker,
    output:
        manifest="<results>/{recipe}/reranker/manifest.json",
        meta="<results>/{recipe}/reranker.meta.json",
    log:
        "<logs>/{recipe}/train_reranker.log",
    benchmark:
        "<benchmarks>/{recipe}/train_reranker.jsonl"
    wildcard_constraints:
        recipe=recipes_reranking("trained"),
    conda:
        "../envs/train.yaml"
    threads: threads_of("train_reranker")
    resources:
        **resources_of("train_reranker"),
    params:
        settings=settings_of("rerank.train"),
        source=digest_of(reranker_folder),
        state=reranker_state,
        environment=env_of("train"),
        code=code_of("train/train_reranker.py"),
    shell:
        "python scripts/train/train_reranker.py --recipe {wildcards.recipe} --rows {input.rows:q}"
        " --passages {input.passages:q} --splits {input.splits:q} --base {input.base:q} --state {params.state:q}"
        " --settings {params.settings:q} --source {params.source} --environment {params.environment} --code {params.code}"
        " --manifest {output.manifest:q} --meta {output.meta:q} 2> {log:q} 1>&2"
