"""A command `conda` for tests, on py-rattler: real solving and linking, of what a channel on the disk holds.

It answers what Snakemake and `make env-lock` ask, and nothing else. `FINETRAIL_TEST_CONDA` names its folder:
`channels/<name>` are its channels, `packages` is its cache.
"""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml
from rattler import Channel, RepoDataRecord, install, solve
from rattler.explicit_environment import ExplicitEnvironmentSpec
from rattler.prefix import PrefixRecord
from rattler.repo_data import SparseRepoData

HOME = Path(os.environ["FINETRAIL_TEST_CONDA"])


def option(arguments: Sequence[str], name: str) -> Path:
    """Return the path that follows an option."""
    return Path(arguments[arguments.index(name) + 1])


def channel(name: str) -> Channel:
    """Return a channel on the disk by its usual name."""
    return Channel((HOME / "channels" / name).as_uri())


def link(records: list[RepoDataRecord], prefix: Path) -> None:
    """Unpack packages and link them into an environment."""
    asyncio.run(install(records, prefix, cache_dir=HOME / "packages", show_progress=False))


def create_from_yaml(file: Path, prefix: Path) -> None:
    """Solve an environment file, link its packages, and let its own pip install the pip section."""
    wanted = yaml.safe_load(file.read_text(encoding="utf-8"))
    specs = [entry for entry in wanted["dependencies"] if isinstance(entry, str)]
    link(asyncio.run(solve([channel(name) for name in wanted["channels"]], specs)), prefix)
    for pins in (entry["pip"] for entry in wanted["dependencies"] if isinstance(entry, dict)):
        requirements = file.with_suffix(".requirements.txt")
        requirements.write_text("".join(f"{pin}\n" for pin in pins), encoding="utf-8")
        subprocess.run([prefix / "bin/python", "-m", "pip", "install", "-q", "-r", requirements], check=True)


def create_from_pins(file: Path, prefix: Path) -> None:
    """Link the packages of an explicit list; each must be what the list says, byte for byte."""
    records: dict[str, RepoDataRecord] = {}
    for folder in (HOME / "channels").iterdir():
        for subdir in folder.glob("*/repodata.json"):
            data = SparseRepoData(channel(folder.name), subdir.parent.name, subdir)
            for name in data.package_names():
                records |= {record.url: record for record in data.load_records(name)}
    chosen = []
    for line in ExplicitEnvironmentSpec.from_path(file).packages:
        url, _, digest = line.url.partition("#")
        record = records[url]
        if digest and (record.md5 is None or record.md5.hex() != digest):
            sys.exit(f"{url} is not the package of the list")
        chosen.append(record)
    link(chosen, prefix)


def list_explicit(prefix: Path) -> None:
    """Print what an environment consists of, as real conda does."""
    print("# This file may be used to create an environment using:\n# platform: linux-64\n@EXPLICIT")
    for path in sorted((prefix / "conda-meta").glob("*.json")):
        record = PrefixRecord.from_path(path)
        print(f"{record.url}#{record.md5.hex() if record.md5 else ''}")


def main(arguments: Sequence[str]) -> None:
    """Do what real conda would."""
    match list(arguments):
        case ["--version"]:
            print("conda 24.7.1")
        case ["info", "--json"]:
            print(json.dumps({"conda_prefix": str(HOME), "platform": "linux-64"}))
        case ["config", "--get", "channel_priority", "--json"]:
            print(json.dumps({"get": {"channel_priority": "strict"}}))
        case ["env", "create", *rest]:
            create_from_yaml(option(rest, "--file"), option(rest, "--prefix"))
        case ["create", *rest]:
            create_from_pins(option(rest, "--file"), option(rest, "--prefix"))
        case ["list", "--explicit", "--md5", *rest]:
            list_explicit(option(rest, "--prefix"))
        case ["clean", *_]:
            pass
        case unknown:
            sys.exit(f"the stand-in knows no conda {unknown}")


if __name__ == "__main__":
    main(sys.argv[1:])
