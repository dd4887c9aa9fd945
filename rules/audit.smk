rule list_artifacts:
    """List every artifact of the recipe with its hash, rule, parameters and inputs, from the meta files."""
    input:
        metas=final_metas,
        every=all_metas,
    output:
        files="<results>/{recipe}/audit/files.json",
        meta="<results>/{recipe}/audit/files.meta.json",
    conda:
        "../envs/data.yaml"
    params:
        **of("audit/list_artifacts.py"),
    shell:
        STEP


# The last file of the chain: all rules are known by now.
equip_rules()
workflow.localrules(*(rule.name for rule in steps() if job_resources(rule).is_local()))
if versions_file := os.environ.get(VERSIONS_VARIABLE):
    write_json(Path(versions_file), describe_versions())


onsuccess:
    end_run()
    for line in TARGETS.summary():
        print(line)


onerror:
    end_run()
