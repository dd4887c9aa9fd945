"""config/site.yaml: where it is laid, and the shell lines that it puts before every job's command."""

import subprocess
from pathlib import Path

import pytest

from finetrail.cluster.site_lines import shell_lines
from finetrail.config.load import load_config
from finetrail.config.sections.llm import Endpoint
from finetrail.config.sections.search import SearchEndpoint
from finetrail.config.sections.site import CACHES, Site
from finetrail.errors import FinetrailError
from tests.unit.config.fish_project import Project


def run(site: Site, command: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run a command as a job does: strict bash, the site's lines first."""
    script = "\n".join(["set -euo pipefail", *shell_lines(site), command])
    environment = {"PATH": "/usr/bin:/bin"} | variables
    return subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=False)


def test_the_site_file_is_laid_over_the_project_and_under_the_command_line(project: Project) -> None:
    project.write("site.yaml", "site: {cpu_partition: small}\nresources: {default: {account: ours, runtime: 9}}\n")
    loaded = load_config(project.root, config={"resources": {"default": {"runtime": 5}}})
    assert loaded.site.cpu_partition == "small"
    assert loaded.resources_for("any") == loaded.resources_for("any") | {"account": "ours", "runtime": 5}
    assert str(loaded.origin("site.cpu_partition")) == "user config/site.yaml:1"


def test_caches_scratch_and_proxies_reach_the_job(tmp_path: Path) -> None:
    site = Site.model_validate(
        {"cache": "$WORK/a cache", "scratch": "$WORK/tmp", "proxies": {"https": "http://p:3128", "none": ".here"}}
    )
    done = run(site, "env; test -d $TMPDIR", WORK=str(tmp_path))
    shown = dict(line.split("=", 1) for line in done.stdout.splitlines())
    assert done.returncode == 0, done.stderr
    assert {name: shown[name] for name in CACHES} == {
        name: f"{tmp_path}/a cache/{folder}" for name, folder in CACHES.items()
    }
    assert shown["https_proxy"] == shown["HTTPS_PROXY"] == "http://p:3128"
    assert shown["no_proxy"] == "127.0.0.1,localhost,.here"
    assert "http_proxy" not in shown


def test_an_unset_variable_stops_the_job_and_is_named() -> None:
    done = run(Site(cache="$NOT_SET/cache"), "true")
    assert done.returncode != 0
    assert "NOT_SET: unbound variable" in done.stderr


def test_set_up_lines_may_read_unset_variables_and_the_command_may_not() -> None:
    site = Site(setup=["HERE=${UNSET}here; export HERE"])
    assert run(site, "echo $HERE").stdout == "here\n"
    assert run(site, "echo $UNSET").returncode != 0


@pytest.mark.parametrize("place", ['/a"; rm -rf x', "/a`id`", "/a$(id)", "/a\n/b"])
def test_a_place_runs_no_command(project: Project, place: str) -> None:
    with pytest.raises(FinetrailError, match=r"site\.cache"):
        load_config(project.root, config={"site": {"cache": place}})


@pytest.mark.parametrize(
    "proxy",
    [
        "http://user:word@proxy:3128",
        "user:word@proxy:3128",
        "http://user:wo$rd@proxy:3128",
        "http://user:${WORD}x@proxy:3128",
        "HTTP://word@proxy:3128",
    ],
)
def test_a_password_does_not_stand_in_a_proxy(proxy: str) -> None:
    with pytest.raises(ValueError, match="a password would land in logs and records"):
        Site.model_validate({"proxies": {"http": proxy}})


@pytest.mark.parametrize("proxy", ["http://user:$WORD@127.0.0.1:1", "http://$USER:${WORD}@127.0.0.1:1"])
def test_a_proxys_password_is_read_from_a_variable_in_the_job(proxy: str) -> None:
    site = Site.model_validate({"proxies": {"http": proxy}})
    done = run(site, 'echo "$http_proxy"', WORD="se:c@ret", USER="me")
    assert done.stdout.strip().endswith(":se:c@ret@127.0.0.1:1"), done.stderr


@pytest.mark.parametrize(
    ("url", "variable", "allowed"),
    [
        ("http://models.example.org/v1", "SOME_KEY", False),
        ("http://node12:8000/v1", "SOME_KEY", False),
        ("https://models.example.org/v1", "SOME_KEY", True),
        ("http://127.0.0.1:8000/v1", "SOME_KEY", True),
        ("http://10.0.0.5:8000/v1", "SOME_KEY", True),
        ("http://models.example.org/v1", None, True),
    ],
)
def test_a_key_over_http_is_refused_before_the_first_job(url: str, variable: str | None, allowed: bool) -> None:
    entry = {"base_url": url, "api_key_env": variable}
    for section, more in ((Endpoint, {"kind": "openai"}), (SearchEndpoint, {})):
        assert section.model_validate(entry | more | {"allow_http": True})
        if allowed:
            assert section.model_validate(entry | more)
            continue
        with pytest.raises(ValueError, match="over http whoever stands on the way reads the key"):
            section.model_validate(entry | more)
