# A rule's command, log, resources and retries follow from its script and its name: common/step.smk.
rule fetch_model:
    """Download the base model at its revision, or copy a local folder."""
    output:
        manifest="<results>/{recipe}/base_model/manifest.json",
        meta="<results>/{recipe}/base_model.meta.json",
    conda:
        "../envs/train.yaml"
    params:
        **of("train/fetch_model.py", source=digest_of(base_folder)),
    shell:
        STEP


rule make_tiny_base:
    """Train a tokenizer and a tiny model on the fold's own text, for tutorials and tests."""
    input:
        train=fold_file("train"),
    output:
        manifest="<results>/{recipe}/bases/{fold}/manifest.json",
        meta="<results>/{recipe}/bases/{fold}.meta.json",
    conda:
        "../envs/train.yaml"
    params:
        **of("train/make_tiny_base.py"),
    shell:
        STEP


rule render_prompts:
    """Render the train examples as the final strings of a model family: what the trainer tokenizes."""
    input:
        train=of_only_fold(fold_file("train")),
        base=of_only_fold(base_manifest),
    output:
        rows="<results>/{recipe}/prompts/{family}.jsonl",
        meta="<results>/{recipe}/prompts/{family}.meta.json",
    wildcard_constraints:
        recipe=recipes_where(lambda recipe: recipe.train and has_one_fold(recipe)),
        family="[a-z0-9]+",
    conda:
        "../envs/train.yaml"
    params:
        **of("train/render_prompts.py"),
    shell:
        STEP


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
    wildcard_constraints:
        model=models_trained_by("lora", "qlora"),
    conda:
        "../envs/train.yaml"
    params:
        **of("train/train_adapter.py", shuffle_targets=is_control, state=state_folder),
    shell:
        STEP


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
    wildcard_constraints:
        recipe=recipes_where(lambda recipe: recipe.vision),
    conda:
        "../envs/train.yaml"
    params:
        **of("train/train_image_encoder.py", source=digest_of(vision_checkpoints)),
    shell:
        STEP


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
    wildcard_constraints:
        recipe=recipes_where(lambda recipe: recipe.vision and recipe.train),
    conda:
        "../envs/texts.yaml"
    params:
        **of("train/measure_targets.py"),
    shell:
        STEP


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
    wildcard_constraints:
        model=models_trained_by("image_prefix"),
    conda:
        "../envs/train.yaml"
    params:
        **of("train/train_image_prefix.py", state=state_folder),
    shell:
        STEP


rule plot_training:
    """Draw the losses of a training from its log."""
    input:
        training_log=training_log,
    output:
        picture="<results>/{recipe}/plots/{model}/{fold}.loss.svg",
        meta="<results>/{recipe}/plots/{model}/{fold}.loss.meta.json",
    conda:
        "../envs/plots.yaml"
    params:
        **of("train/plot_training.py", title="{recipe}: {model}, {fold}"),
    shell:
        STEP


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
    wildcard_constraints:
        recipe=recipes_reranking("trained"),
    conda:
        "../envs/train.yaml"
    params:
        **of(
            "train/train_reranker.py",
            source=digest_of(reranker_folder),
            state=reranker_state,
        ),
    shell:
        STEP
