"""What preflight reads and says where no cluster is needed: SLURM's lists, accounts, quotas, passing refusals."""

import threading
import urllib.error
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from finetrail.config.sections.site import Site
from finetrail.preflight import cluster_checks, endpoint_checks, place_checks
from finetrail.preflight.partitions import NO_LIMIT, NodeKind, Partition, minutes, read_gpus
from finetrail.preflight.requested_resources import Asked, asked_by
from setup.submit_patiently import will_pass

DRY_RUN = """\
rule train_adapter:
    input: a
    output: b
    wildcards: recipe=x
    threads: 8
    resources: mem_mb=4000, mem=4 GB, slurm_partition=gpu, nodes=2, slurm_extra=--gpus-per-node=a100:4

localrule all:
    input: b
    resources: tmpdir=/tmp

localcheckpoint make_folds:
    output: c
    resources: tmpdir=/tmp, mem_mb=<TBD>
"""


def program(folder: Path, name: str, prints: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a program on the PATH that prints a text."""
    path = folder / name
    path.write_text(f"#!/bin/sh\ncat <<'END'\n{prints}\nEND\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_demands_are_read_from_a_dry_run() -> None:
    train, folds = asked_by(DRY_RUN)
    assert (train.rule, train.threads, train.nodes) == ("train_adapter", 8, 2)
    assert (train.gpus_a_node, train.gpu_model, train.number("mem_mb")) == (4, "a100", 4000)
    assert folds.rule == "make_folds" and folds.number("mem_mb") == 0


@pytest.mark.parametrize(
    ("text", "gpus"),
    [
        ("gpu:a100:4(S:0-1)", (("a100", 4),)),
        ("gpu:2,shard:8", (("", 2),)),
        ("gpu:a100:2,gpu:v100:1", (("a100", 2), ("v100", 1))),
        ("gpu:h100_80gb.x:8", (("h100_80gb.x", 8),)),
        ("gpu:1g.10gb:7(S:0),gpu:4", (("1g.10gb", 7), ("", 4))),
        ("gpu", (("", 1),)),
        ("(null)", ()),
    ],
)
def test_gpus_are_read_from_generic_resources(text: str, gpus: tuple[tuple[str, int], ...]) -> None:
    assert read_gpus(text) == gpus


@pytest.mark.parametrize(
    ("text", "whole"), [("1:00:00", 60), ("2-00:30:00", 2910), ("30:00", 30), ("infinite", NO_LIMIT)]
)
def test_time_limits_are_read(text: str, whole: int) -> None:
    assert minutes(text) == whole


def test_accounts_and_qualities_of_service_are_those_of_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path, "sacctmgr", "ours|normal,long\ntheirs|normal", monkeypatch)
    settings = {"AccountingStorageType": "accounting_storage/slurmdbd", "AccountingStorageEnforce": "associations"}
    jobs = [
        Asked("a", 1, (("slurm_account", "our"),)),
        Asked("b", 1, (("slurm_account", "ours"), ("qos", "fast"))),
        Asked("c", 1, ()),
        Asked("d", 1, (("slurm_account", "ours"), ("qos", "long"))),
    ]
    found = [str(one) for one in cluster_checks.check_accounts(jobs, settings)]
    assert len(found) == 3
    assert "no account our" in found[0] and "Did you mean ours?" in found[0]
    assert "quality of service fast is not yours" in found[1] and "long, normal" in found[1]
    assert found[2].startswith("warning: resources.default.account") and "ours, theirs" in found[2]
    assert not list(cluster_checks.check_accounts(jobs, {"AccountingStorageType": "accounting_storage/none"}))


def test_an_accounting_that_does_not_answer_hides_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "sacctmgr", "", monkeypatch)
    (tmp_path / "sacctmgr").write_text("#!/bin/sh\necho no connection to slurmdbd >&2; exit 1\n")
    settings = {"AccountingStorageType": "accounting_storage/slurmdbd"}
    (found,) = cluster_checks.check_accounts([Asked("a", 1, (("slurm_account", "x"),))], settings)
    assert found.level == "warning" and "no connection to slurmdbd" in found.what


def test_a_job_may_name_several_partitions() -> None:
    small = NodeKind(4000, 4, (), frozenset(), "idle", "n1")
    large = NodeKind(64000, 32, (), frozenset(), "mixed", "n2")
    known = {"a": Partition("a", True, "up", 60, [small]), "b": Partition("b", False, "up", 600, [large])}
    job = Asked("r", 8, (("slurm_partition", "a,b"), ("runtime", "300"), ("mem_mb", "32000")))
    assert not cluster_checks.check_jobs([job], known, {})
    (wrong,) = cluster_checks.check_jobs([Asked("r", 1, (("slurm_partition", "a,c"),))], known, {})
    assert wrong.what == "this cluster has no partition c"


def test_a_cluster_that_forgets_jobs_soon_is_named() -> None:
    settings = {"MinJobAge": "30 sec", "PreemptMode": "CANCEL"}
    age, preemption = cluster_checks.check_settings(settings, ["low"], 20)
    assert "MinJobAge of this cluster is 30 s" in age.what and "status-checks to 10" in age.fix
    assert "does not queue preempted jobs again" in preemption.what
    assert not list(cluster_checks.check_settings({"MinJobAge": "300 sec", "PreemptMode": "OFF"}, [], 20))


def test_a_quota_that_is_used_up_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    used = "Disk quotas for user me (uid 7):\n Filesystem blocks quota limit grace files quota limit grace\n"
    used += " /home 10276044 10485760 11534336 150000 0 0\n /work 10 10485760 11534336 150000 0 0"
    program(tmp_path, "quota", used, monkeypatch)
    (found,) = place_checks.check_quota()
    assert "9.8 of 10.0 GB of the quota on /home" in found.what and "site.cache" in found.fix


def test_places_name_what_is_wrong_with_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORK", raising=False)
    site = Site(cache="$WORK/cache", scratch="/scratch/${SLURM_JOB_ID:-local}", conda_prefix=str(tmp_path), free_gb=1e7)
    found = {one.where: one for one in place_checks.check_places(tmp_path, Path("results"), site)}
    assert found.keys() == {"site.cache", "results_dir", "site.conda_prefix"}
    assert "export WORK" in found["site.cache"].fix
    assert "GB left" in found["results_dir"].what
    assert not place_checks.check_places(tmp_path, Path("results"), Site(free_gb=0))


def test_a_folder_of_one_machine_is_named_where_there_are_others() -> None:
    (found,) = place_checks.check_shared(Path("/tmp/me/finetrail"), {"node1", "node2"})
    assert "on this machine alone" in found.what and "node1, node2" in found.what
    assert not list(place_checks.check_shared(Path("/work/me/finetrail"), {"node1"}))


@pytest.mark.parametrize(
    ("refusal", "own_jobs", "passes"),
    [
        ("sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)", 0, True),
        ("sbatch: error: Batch job submission failed: Required partition not available (inactive or drain)", 0, True),
        ("sbatch: error: QOSMaxSubmitJobPerUserLimit", 100, True),
        ("Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)", 3, True),
        ("Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)", 0, False),
        ("sbatch: error: invalid partition specified: nowhere", 3, False),
        ("sbatch: error: Batch job submission failed: Requested node configuration is not available", 3, False),
    ],
)
def test_refusals_that_will_pass_are_told_from_others(refusal: str, own_jobs: int, passes: bool) -> None:
    assert will_pass(refusal, own_jobs) is passes


def test_a_key_does_not_follow_a_redirect() -> None:
    heard: list[str] = []

    class Elsewhere(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            heard.append(self.path)
            self.send_response(302)
            self.send_header("Location", f"http://127.0.0.1:{self.server.server_port}/other")  # type: ignore[attr-defined]
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            with pytest.raises(urllib.error.HTTPError, match="302"):
                endpoint_checks._models(f"http://127.0.0.1:{server.server_port}/models", "secret")
        finally:
            server.shutdown()
    assert heard == ["/models"]
