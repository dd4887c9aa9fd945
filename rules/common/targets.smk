# Which rule makes a file, and what all a recipe makes.


@cache
def made_by(path):
    """Return the rule that makes a file, and its wildcards; None of an original."""
    for maker in steps():
        if any(output.match(path) for output in maker.output):
            return maker, maker.get_wildcards(path)
    return None


@cache
def jobs_of(name):
    """List what each job of a recipe writes, from its ends back, as if the folds were made; shards left out."""
    waiting = TARGETS.of(name, TARGETS.ends())
    jobs = {}
    FOLDS["laid_out"] = True
    try:
        while waiting:
            maker, wildcards = made_by(waiting.pop()) or (None, None)
            if maker is None or maker.name != base_name(maker):
                continue
            outputs = maker.expand_output(wildcards)[0]
            if outputs.meta not in jobs:
                jobs[outputs.meta] = outputs
                waiting += map(str, maker.expand_input(wildcards)[0])
    finally:
        FOLDS["laid_out"] = False
    return list(jobs.values())


def all_metas(wildcards):
    """List the meta files of all jobs of a recipe: when one is made again, the audit is."""
    return [outputs.meta for outputs in jobs_of(wildcards.recipe)]
