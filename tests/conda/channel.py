"""A conda channel on the disk: this machine's Python and its pip, packed as conda packages, with an index."""

import asyncio
import hashlib
import json
import platform
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from conda_package_handling.api import create
from rattler.index import index_fs

SUBDIR = "linux-64"
# What a program needs of Python at run time; its own tests alone would double the package.
LEFT_OUT = ("test", "site-packages", "dist-packages", "__pycache__", "idlelib", "ensurepip", "config-*", "*.a")


@dataclass(frozen=True)
class Index:
    """The facts of a package that a solver reads."""

    name: str
    version: str
    depends: Sequence[str] = ()
    build: str = "0"
    build_number: int = 0
    subdir: str = SUBDIR
    constrains: Sequence[str] = field(default=())

    @property
    def file(self) -> str:
        """The name of the package's file."""
        return f"{self.name}-{self.version}-{self.build}.conda"


def make_channel(channel: Path, scratch: Path) -> None:
    """Make a channel that holds `python` and `pip`."""
    python = scratch / "python"
    _copy_python(python)
    pack(python, Index("python", platform.python_version()), channel)
    pip = scratch / "pip"
    version = _copy_pip(pip, scratch)
    pack(pip, Index("pip", version, depends=["python 3.11.*"]), channel)
    (channel / "noarch").mkdir()
    asyncio.run(index_fs(channel, write_zst=False, write_shards=False))


def pack(folder: Path, index: Index, channel: Path) -> None:
    """Pack a folder as a conda package into a channel."""
    paths = [_describe(path, folder) for path in sorted(folder.rglob("*")) if path.is_symlink() or path.is_file()]
    info = folder / "info"
    info.mkdir()
    (info / "index.json").write_text(json.dumps(asdict(index) | {"arch": "x86_64", "platform": "linux"}))
    (info / "paths.json").write_text(json.dumps({"paths": paths, "paths_version": 1}))
    (info / "files").write_text("".join(f"{entry['_path']}\n" for entry in paths))
    target = channel / index.subdir
    target.mkdir(parents=True, exist_ok=True)
    # Level 1: the tests unpack it once, and the default takes a minute.
    create(str(folder), None, index.file, str(target), compression_level=1)


def _describe(path: Path, folder: Path) -> dict[str, str | int]:
    kind = "softlink" if path.is_symlink() else "hardlink"
    content = path.read_bytes() if path.exists() else b""
    name = path.relative_to(folder).as_posix()
    digest = hashlib.sha256(content).hexdigest()
    return {"_path": name, "path_type": kind, "sha256": digest, "size_in_bytes": len(content)}


def _copy_python(target: Path) -> None:
    """Copy this interpreter's installation, so that it runs from wherever the copy stands."""
    base = Path(sys.base_prefix)
    (target / "bin").mkdir(parents=True)
    shutil.copy2((base / "bin/python3.11").resolve(), target / "bin/python3.11")
    for name in ("python", "python3"):
        (target / "bin" / name).symlink_to("python3.11")
    library = Path(sysconfig.get_path("stdlib"))
    shutil.copytree(library, target / "lib/python3.11", ignore=shutil.ignore_patterns(*LEFT_OUT), symlinks=False)
    for shared in (base / "lib").glob("libpython3.11.so*"):
        shutil.copy2(shared, target / "lib" / shared.name)


def _copy_pip(target: Path, scratch: Path) -> str:
    """Copy the pip that comes with this Python; return its version."""
    environment = scratch / "with_pip"
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    (site,) = environment.glob("lib/python3.11/site-packages")
    packages = target / "lib/python3.11/site-packages"
    shutil.copytree(site / "pip", packages / "pip", ignore=shutil.ignore_patterns("__pycache__"))
    (facts,) = site.glob("pip-*.dist-info")
    shutil.copytree(facts, packages / facts.name)
    (packages / facts.name / "INSTALLER").write_text("conda\n")
    return facts.name.removeprefix("pip-").removesuffix(".dist-info")
