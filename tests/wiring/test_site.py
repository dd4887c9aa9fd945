"""What jobs ask of SLURM under a site file, read from dry runs."""

import re

import pytest
import yaml

from tests.workspace import Workspace

SITE = """\
site: {cpu_partition: standard, gpu_partition: accel, preemptible: [accel-low]}
resources:
  default: {mem_mb: 4000, gpu_model: a100, account: ours}
  train_adapter: {gpus: 2, constraint: hbm80, qos: long}
  predict_answers: {gpus: 1, partition: accel-low}
  ingest_records: {partition: big}
"""


@pytest.fixture(scope="module")
def project(fresh: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = fresh.copy(tmp_path_factory.mktemp("site") / "project")
    (workspace.root / "config/site.yaml").write_text(SITE)
    return workspace


def asked(printed: str) -> dict[str, dict[str, str]]:
    """Return the resources of each rule's job."""
    jobs = re.findall(r"^(?:local)?(?:rule|checkpoint) (\w+):\n((?:    .*\n)+)", printed, re.M)
    lines = {rule: re.search(r"^    resources: (.*)$", text, re.M) for rule, text in jobs}
    return {rule: dict(re.findall(r"(\w+)=([^,]+)", line[1])) for rule, line in lines.items() if line and rule != "all"}


def test_gpu_jobs_go_to_the_gpu_partition_and_no_other_does(project: Workspace) -> None:
    found = asked(project.dry_run("all"))
    keys = ("slurm_partition", "gpu", "gpu_model", "constraint", "qos", "slurm_extra")
    shown = {rule: tuple(job.get(key) for key in keys) for rule, job in found.items()}
    assert shown.pop("train_adapter") == ("accel", "2", "a100", "hbm80", "long", None)
    assert shown.pop("predict_answers") == ("accel-low", "1", "a100", None, None, "--requeue")
    assert shown.pop("ingest_records") == ("big", None, None, None, None, None)
    assert len(shown) > 10
    assert set(shown.values()) == {("standard", None, None, None, None, None)}
    assert {(job["mem_mb"], job["slurm_account"]) for job in found.values()} == {("4000", "ours")}


LARGE = """overrides={crag_mm: {base_model: {hub: Qwen/Qwen3-4B-Instruct-2507,
    revision: cdbee75f17c01a7cc42f958dc650907174af0554}}}"""


@pytest.mark.parametrize("name", ["university", "national"])
def test_the_example_sites_are_complete(project: Workspace, name: str) -> None:
    example = project.root / "config/sites" / f"{name}.yaml"
    (project.root / "config/site.yaml").write_text(example.read_text())
    site = yaml.safe_load(example.read_text())["site"]
    found = asked(project.dry_run("all", config=(" ".join(LARGE.split()),)))
    with_gpus = {rule for rule, job in found.items() if job.get("gpu", "0") != "0"}
    assert with_gpus == {"train_adapter", "predict_answers"}
    for rule, job in found.items():
        assert job["slurm_partition"] == site["gpu_partition" if rule in with_gpus else "cpu_partition"], rule
        assert job.get("gpu_model") == ("a100" if rule in with_gpus else None), rule
    assert int(found["merge_adapter"]["mem_mb"]) > 16000 and int(found["check_parity"]["mem_mb"]) > 16000


def test_a_training_on_several_nodes_asks_for_as_much_on_each(project: Workspace) -> None:
    (project.root / "config/site.yaml").write_text(SITE)
    launch = "overrides={crag_mm: {train: {models: {lora: {launch: {nodes: 3, processes: 2}}}}}}"
    found = asked(project.dry_run("all", config=(launch,)))
    spread = found["train_adapter"]
    assert (spread["nodes"], spread["tasks"], spread.get("gpu"), spread.get("gpu_model")) == ("3", "3", None, None)
    assert spread["slurm_extra"] == "--ntasks-per-node=1 --gpus-per-node=a100:2"
    assert (spread["slurm_partition"], spread["constraint"]) == ("accel", "hbm80")
    assert "nodes" not in found["predict_answers"]
