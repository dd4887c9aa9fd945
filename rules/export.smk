# A rule's command, log, resources and retries follow from its script and its name: common/step.smk.
rule merge_adapter:
    """Merge the adapter into the base model; of a model that reads a prefix, the language model alone."""
    input:
        base=base_manifest,
        adapter=adapter_manifest,
    output:
        manifest="<results>/{recipe}/models/{model}/{fold}/final_merged_checkpoint/manifest.json",
        meta="<results>/{recipe}/models/{model}/{fold}.merged.meta.json",
    wildcard_constraints:
        model=models_trained_by("lora", "image_prefix"),
    conda:
        "../envs/train.yaml"
    params:
        **of("export/merge_adapter.py"),
    shell:
        STEP


rule choose_merge:
    """Merge an adapter of QLoRA into the base whose export is the better one on dev rows, else on train rows."""
    input:
        base=base_manifest,
        adapter=adapter_manifest,
        eval=fold_file("eval"),
        train=fold_file("train"),
    output:
        manifest="<results>/{recipe}/models/{model}/{fold}/final_merged_checkpoint/manifest.json",
        report="<results>/{recipe}/models/{model}/{fold}/merge.json",
        meta="<results>/{recipe}/models/{model}/{fold}.merged.meta.json",
    wildcard_constraints:
        model=models_trained_by("qlora"),
    conda:
        "../envs/export.yaml"
    params:
        **of("export/choose_merge.py"),
    shell:
        STEP


rule convert_gguf:
    """Convert the merged model to GGUF."""
    input:
        merged=merged_manifest,
    output:
        gguf="<results>/{recipe}/ollama/{model}/{fold}/model.gguf",
        meta="<results>/{recipe}/ollama/{model}/{fold}/model.gguf.meta.json",
    conda:
        "../envs/export.yaml"
    params:
        **of("export/convert_gguf.py"),
    shell:
        STEP


rule check_parity:
    """Compare the GGUF with the trained model in llama.cpp; only then is there a Modelfile."""
    input:
        test=fold_file("test"),
        merged=merged_manifest,
        gguf="<results>/{recipe}/ollama/{model}/{fold}/model.gguf",
    output:
        parity="<results>/{recipe}/ollama/{model}/{fold}/parity.json",
        modelfile="<results>/{recipe}/ollama/{model}/{fold}/Modelfile",
        meta="<results>/{recipe}/ollama/{model}/{fold}/Modelfile.meta.json",
    wildcard_constraints:
        recipe=recipes_exporting("gguf"),
    conda:
        "../envs/export.yaml"
    params:
        **of("export/check_parity.py"),
    shell:
        STEP


rule export_safetensors:
    """Lay out the merged model for Ollama's own converter, and say what could not be checked."""
    input:
        test=fold_file("test"),
        merged=merged_manifest,
    output:
        parity="<results>/{recipe}/ollama/{model}/{fold}/parity.json",
        modelfile="<results>/{recipe}/ollama/{model}/{fold}/Modelfile",
        meta="<results>/{recipe}/ollama/{model}/{fold}/Modelfile.meta.json",
    wildcard_constraints:
        recipe=recipes_exporting("safetensors"),
    conda:
        "../envs/export.yaml"
    params:
        **of("export/export_safetensors.py"),
    shell:
        STEP
