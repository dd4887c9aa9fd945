"""A project whose results DVC keeps: at a remote on the disk, from which clones pull."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import yaml

from finetrail.digests.pinned_files import file_md5
from tests.workspace import BIN, Workspace

DVC = str(BIN / "dvc")


def run(workspace: Workspace, *command: str, fails: bool = False) -> str:
    """Run a command in a workspace; return what it printed."""
    done = subprocess.run(
        command, cwd=workspace.root, env=workspace.environment(),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode != 0) == fails, done.stdout[-6000:]
    return done.stdout


def make(workspace: Workspace, target: str, *, fails: bool = False) -> str:
    """Run `make push`, `pull` or `checkout` for the workspace's recipe; return what it printed."""
    (recipe,) = (word.partition("=")[2].strip("[]") for word in workspace.config if word.startswith("recipes="))
    return run(workspace, "make", "-o", ".venv/.ready", target, f"RECIPE={recipe}", fails=fails)


def commit(workspace: Workspace, message: str) -> str:
    """Commit all that git sees; return the commit."""
    workspace.git("add", "-A")
    workspace.git("commit", "-q", "-m", message)
    return workspace.git("rev-parse", "HEAD").strip()


def with_remote(workspace: Workspace, recipe: str) -> Workspace:
    """Write the settings of configuration files into the project's own, where DVC's stages find them; add a remote."""
    settings: dict[str, object] = {}
    for name in workspace.configfiles:
        settings |= yaml.safe_load((workspace.root / name).read_text())["overrides"]
    workspace.edit("config/config.yaml", "overrides: {}", f"overrides: {json.dumps(settings)}")
    remote = workspace.root.with_name(f"{workspace.root.name}.remote")
    run(workspace, DVC, "remote", "add", "--quiet", "--default", "store", str(remote))
    return replace(workspace, configfiles=(), config=["scale=tutorial", f"recipes=[{recipe}]"])


def clone(workspace: Workspace, target: Path, link: str = "copy") -> Workspace:
    """Clone a workspace by git: another folder, other times, no results, and an empty cache."""
    subprocess.run(["git", "clone", "-q", str(workspace.root), str(target)], check=True)
    made = replace(workspace, root=target, config=list(workspace.config), variables=dict(workspace.variables))
    run(made, DVC, "config", "--local", "cache.type", link)
    return made


def damaged(folder: Path) -> list[Path]:
    """List files of a cache or remote whose bytes are not those that they are named by."""
    files = [path for path in folder.glob("files/md5/*/*") if path.is_file()]
    assert files
    return [path for path in files if file_md5(path) != (path.parent.name + path.name).removesuffix(".dir")]


def stored(folder: Path, path: Path) -> Path:
    """Return where a cache or remote keeps the bytes of a file."""
    md5 = file_md5(path)
    return folder / "files/md5" / md5[:2] / md5[2:]
