rule merge_adapter:
    """Merge the adapter into the base model; of a model that reads a prefix, the language model alone."""
    input:
        base=base_manifest,
        adapter=adapter_manifest,
    output:
        manifest="<results>/{recipe}/models/{model}/{fold}/final_merged_checkpoint/manifest.json",
        meta="<results>/{recipe}/models/{model}/{fold}.merged.meta.json",
    log:
        "<logs>/{recipe}/merge_adapter.{model}.{fold}.log",
    benchmark:
        "<benchmarks>/{recipe}/merge_adapter.{model}.{fold}.jsonl"
    wildcard_constraints:
        model=models_trained_by("lora", "image_prefix"),
    retries: retries_of("merge_adapter")
    conda:
        "../envs/train.yaml"
    threads: threads_of("merge_adapter")
    resources:
        **resources_of("merge_adapter"),
    params:
        environment=env_of("train"),
        code=code_of("export/merge_adapter.py"),
    shell:
        "python scripts/export/merge_adapter.py --recipe {wildcards.recipe} --base {input.base:q}"
        " --adapter {input.adapter:q} --environment {params.environment} --code {params.code}"
        " --manifest {output.manifest:q} --meta {output.meta:q} 2> {log:q}"


rule choose_merge:
    """Merge an adapter of QLoRA into the base whose export is the better one on dev rows."""
    input:
        base=base_manifest,
        adapter=adapter_manifest,
        eval=fold_file("eval"),
    output:
        manifest="<results>/{recipe}/models/{model}/{fold}/final_merged_checkpoint/manifest.json",
        report="<results>/{recipe}/models/{model}/{fold}/merge.json",
        meta="<results>/{recipe}/models/{model}/{fold}.merged.meta.json",
    log:
        "<logs>/{recipe}/choose_merge.{model}.{fold}.log",
    benchmark:
        "<benchmarks>/{recipe}/choose_merge.{model}.{fold}.jsonl"
    wildcard_constraints:
        model=models_trained_by("qlora"),
    conda:
        "../envs/export.yaml"
    threads: threads_of("choose_merge")
    resources:
        **resources_of("choose_merge"),
    params:
        settings=merge_settings,
        environment=env_of("export"),
        code=code_of("export/choose_merge.py"),
    shell:
        "python scripts/export/choose_merge.py --recipe {wildcards.recipe} --base {input.base:q}"
        " --adapter {input.adapter:q} --eval {input.eval:q} --threads {threads}"
        " --settings {params.settings:q} --environment {params.environment} --code {params.code}"
        " --manifest {output.manifest:q} --report {output.report:q} --meta {output.meta:q} 2> {log:q}"


rule convert_gguf:
    """Convert the merged model to GGUF."""
    input:
        merged=merged_manifest,
    output:
        gguf="<results>/{recipe}/ollama/{model}/{fold}/model.gguf",
        meta="<results>/{recipe}/ollama/{model}/{fold}/model.gguf.meta.json",
    log:
        "<logs>/{recipe}/convert_gguf.{model}.{fold}.log",
    benchmark:
        "<benchmarks>/{recipe}/convert_gguf.{model}.{fold}.jsonl"
    retries: retries_of("convert_gguf")
    conda:
        "../envs/export.yaml"
    threads: threads_of("convert_gguf")
    resources:
        **resources_of("convert_gguf"),
    params:
        settings=settings_of("export.quantization", "export.name"),
        environment=env_of("export"),
        code=code_of("export/convert_gguf.py"),
    shell:
        "python scripts/export/convert_gguf.py --recipe {wildcards.recipe} --merged {input.merged:q}"
        " --settings {params.settings:q} --environment {params.environment} --code {params.code}"
        " --gguf {output.gguf:q} --meta {output.meta:q} 2> {log:q}"


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
    log:
        "<logs>/{recipe}/check_parity.{model}.{fold}.log",
    benchmark:
        "<benchmarks>/{recipe}/check_parity.{model}.{fold}.jsonl"
    wildcard_constraints:
        recipe=recipes_exporting("gguf"),
    retries: retries_of("check_parity")
    conda:
        "../envs/export.yaml"
    threads: threads_of("check_parity")
    resources:
        **resources_of("check_parity"),
    params:
        settings=settings_of(
            "export",
            "limits.max_length",
            "folds.system_prompt",
            "predict.max_answer_tokens",
        ),
        environment=env_of("export"),
        code=code_of("export/check_parity.py"),
    shell:
        "python scripts/export/check_parity.py --recipe {wildcards.recipe} --test {input.test:q}"
        " --merged {input.merged:q} --gguf {input.gguf:q}"
        " --settings {params.settings:q} --environment {params.environment} --code {params.code}"
        " --parity {output.parity:q} --modelfile {output.modelfile:q} --meta {output.meta:q} 2> {log:q}"


rule export_safetensors:
    """Lay out the merged model for Ollama's own converter, and say what could not be checked."""
    input:
        test=fold_file("test"),
        merged=merged_manifest,
    output:
        parity="<results>/{recipe}/ollama/{model}/{fold}/parity.json",
        modelfile="<results>/{recipe}/ollama/{model}/{fold}/Modelfile",
        meta="<results>/{recipe}/ollama/{model}/{fold}/Modelfile.meta.json",
    log:
        "<logs>/{recipe}/export_safetensors.{model}.{fold}.log",
    benchmark:
        "<benchmarks>/{recipe}/export_safetensors.{model}.{fold}.jsonl"
    wildcard_constraints:
        recipe=recipes_exporting("safetensors"),
    retries: retries_of("export_safetensors")
    conda:
        "../envs/export.yaml"
    threads: threads_of("export_safetensors")
    resources:
        **resources_of("export_safetensors"),
    params:
        settings=settings_of(
            "export", "folds.system_prompt", "predict.max_answer_tokens"
        ),
        environment=env_of("export"),
        code=code_of("export/export_safetensors.py"),
    shell:
        "python scripts/export/export_safetensors.py --recipe {wildcards.recipe} --test {input.test:q}"
        " --merged {input.merged:q}"
        " --settings {params.settings:q} --environment {params.environment} --code {params.code}"
        " --parity {output.parity:q} --modelfile {output.modelfile:q} --meta {output.meta:q} 2> {log:q}"
