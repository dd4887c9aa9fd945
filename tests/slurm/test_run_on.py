"""`llm.run_on: submit`: what asks a model over the network runs beside Snakemake, all else on the nodes."""

from collections.abc import Callable

from tests.chain.slow_endpoint import slow_endpoint
from tests.slurm.test_nodes import LOCAL, SITE
from tests.slurm.workspace import SlurmWorkspace
from tests.workspace import RESULTS

# A rule that asks the offline teacher, which its job starts on its own node, and one that asks the endpoint.
ASKING = ("make_queries", "label_relevance")
TARGET = f"{RESULTS}/pointwise_labeled.jsonl"


def test_only_calls_over_the_network_stay_where_the_internet_is(on_cluster: Callable[[], SlurmWorkspace]) -> None:
    workspace = on_cluster()
    local = "".join(f"  {rule}: {{local: true}}\n" for rule in LOCAL if rule not in ASKING)
    (workspace.root / "config/site.yaml").write_text(SITE + local)
    with slow_endpoint() as endpoint:
        endpoint.release.set()
        llm, label = endpoint.config()
        workspace.snakemake(TARGET, config=(llm.removesuffix("}") + ", run_on: submit}", label))
        assert endpoint.asked
    assert {job.rule: job.state for job in workspace.jobs()} == dict.fromkeys(
        ("index_words", "make_queries"), "COMPLETED"
    )
    records = [record for run in workspace.runs() for record in workspace.records(run)]
    (labelled,) = (record for record in records if record["rule"] == "label_relevance")
    assert labelled["status"] == "complete" and labelled["slurm_job"] is None
