# From original records to a model you can run. Start with README.md; docs/architecture.md says why all is as it is.

from snakemake.utils import min_version

min_version("9.27.1")


include: "rules/common.smk"


pathvars:
    results=RESULTS,
    logs=LOGS,
    benchmarks=BENCHMARKS,


wildcard_constraints:
    recipe="[a-z0-9_]+",
    fold="[a-zA-Z0-9_]+",
    model="[a-z0-9_]+",
    shard="[0-9]+",
    shards="[0-9]+",


include: "rules/ingest.smk"
include: "rules/recall.smk"
include: "rules/label.smk"
include: "rules/synthesize.smk"
include: "rules/folds.smk"
include: "rules/train.smk"
include: "rules/evaluate.smk"
include: "rules/export.smk"
include: "rules/audit.smk"
include: "rules/common/finish.smk"


rule all:
    """Metrics, pictures, export and audit files of the chosen recipes."""
    default_target: True
    input:
        TARGETS.metrics(),
        TARGETS.plots() + TARGETS.retrieval(),
        TARGETS.exports(),
        TARGETS.audits(),


rule data:
    """The folds of the chosen recipes, formatted pairs too: all that needs no GPU."""
    input:
        TARGETS.per_fold("report.json"),
        TARGETS.data(),


rule models:
    """The trained models of the chosen recipes."""
    input:
        TARGETS.models(),
