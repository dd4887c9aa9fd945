rule list_artifacts:
    """List every artifact of the recipe with its hash, rule, parameters and inputs, from the meta files."""
    input:
        metas=meta_files,
    output:
        files="<results>/{recipe}/audit/files.json",
        meta="<results>/{recipe}/audit/files.meta.json",
    log:
        "<logs>/{recipe}/list_artifacts.log",
    benchmark:
        "<benchmarks>/{recipe}/list_artifacts.jsonl"
    retries: retries_of("list_artifacts")
    conda:
        "../envs/data.yaml"
    threads: threads_of("list_artifacts")
    resources:
        **resources_of("list_artifacts"),
    params:
        settings=settings_of("description", "source.licence", "source.citation"),
        code=code_of("audit/list_artifacts.py"),
    shell:
        "python scripts/audit/list_artifacts.py --recipe {wildcards.recipe} --metas {input.metas:q}"
        " --settings {params.settings:q} --code {params.code} --out {output.files:q} --meta {output.meta:q} 2> {log:q}"


# The last file of the chain: all rules are known by now.
workflow.localrules(*local_rules())
if versions_file := os.environ.get(VERSIONS_VARIABLE):
    write_json(Path(versions_file), describe_versions())


onsuccess:
    end_run()
    for line in result_lines():
        print(line)


onerror:
    end_run()
