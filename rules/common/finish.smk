# What is done when all rules are known.

equip_rules()
workflow.localrules(*(rule.name for rule in steps() if job_resources(rule).is_local()))
if versions_file := os.environ.get(VERSIONS_VARIABLE):
    write_json(Path(versions_file), describe_versions())


onstart:
    start_run()


onsuccess:
    note_end(Path(os.environ[RUN_VARIABLE]))
    for line in TARGETS.summary():
        print(line)


onerror:
    note_end(Path(os.environ[RUN_VARIABLE]))
