# A rule's command, log, resources and retries follow from its script and its name: common/step.smk.
rule list_artifacts:
    """List every artifact of the recipe with its hash, rule, parameters and inputs, from the meta files."""
    input:
        metas=all_metas,
    output:
        files="<results>/{recipe}/audit/files.json",
        meta="<results>/{recipe}/audit/files.meta.json",
    conda:
        "../envs/data.yaml"
    params:
        **of("audit/list_artifacts.py"),
    shell:
        STEP
