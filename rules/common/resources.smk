# What a rule's job asks of the executor; finetrail/workflow/job_resources.py decides, by the configuration.

SLURM = ("slurm_partition", "slurm_extra", "gpu_model", "constraint")


def job_resources(rule):
    """Return what the configuration says of a rule's jobs."""
    script = rule.params.script
    name = base_name(rule)
    return JobResources(CONFIG, name, Path(script).stem, script.declared, LLM_SHARES)


def of_job(found):
    """Return the function by which Snakemake asks for something of a job."""
    return lambda wildcards, input: found(JobOf.of(wildcards, input))


def executor_resources(rule):
    """Return a rule's resources, threads aside, as the executor knows them; None asks for nothing."""
    job, declared = job_resources(rule), rule.params.script.declared

    def slurm(name):
        return of_job(lambda one: job.slurm(job.gpus(one))[name])

    named = job.fixed() | {
        "mem_mb": lambda wildcards, input, attempt: job.memory(
            JobOf.of(wildcards, input), attempt
        ),
        "runtime": of_job(job.minutes),
    }
    named |= {
        name: slurm(name) for name in SLURM if job.slurm(0)[name] or job.slurm(1)[name]
    }
    if job.any_gpus():
        named["gpu"] = of_job(job.gpus)
    if declared.asks or declared.searches:
        named["llm"] = of_job(lambda one: 0 if one.merges else job.shares(one.recipe))
    return named | (spread_resources(job, named) if job.several_nodes() else {})


def spread_resources(job, named):
    """Return the resources of a rule some of whose jobs have several nodes; GPUs are then asked for by node."""

    def nodes(wildcards):
        count = job.nodes(JobOf.of(wildcards))
        return count if count > 1 else None

    def alone(name):
        return lambda wildcards, input: (
            None if nodes(wildcards) else named[name](wildcards, input)
        )

    def extra(wildcards, input):
        if nodes(wildcards):
            return job.spread(JobOf.of(wildcards, input))
        return (
            named["slurm_extra"](wildcards, input) if "slurm_extra" in named else None
        )

    found = {name: alone(name) for name in ("gpu", "gpu_model") if name in named}
    return found | {"nodes": nodes, "tasks": nodes, "slurm_extra": extra}


def retries_of(rule):
    """Return how often a failed job is tried again; None leaves it to the profile, since a local run has none.

    Only who submits a job tries again: the workflow inside of it would multiply the attempts, with the same memory.
    """
    return 0 if workflow.remote_exec else job_resources(rule).entry.get("retries")
