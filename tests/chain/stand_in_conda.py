"""A command `conda` for tests: its environments are virtual ones that see the packages of the present interpreter.

It answers what Snakemake asks. What is tested with it is the project's rerun triggers and its search path for the
library, not conda.
"""

import sys
import sysconfig
from pathlib import Path

SCRIPT = """#!{python}
import json, subprocess, sys
from pathlib import Path

arguments = sys.argv[1:]
if arguments == ["--version"]:
    print("conda 24.7.1")
elif arguments[:2] == ["info", "--json"]:
    print(json.dumps({{"conda_prefix": "{prefix}", "platform": "linux-64"}}))
elif arguments[:2] == ["config", "--get"]:
    print(json.dumps({{"get": {{"channel_priority": "strict"}}}}))
elif arguments[:2] == ["env", "create"]:
    environment = Path(arguments[arguments.index("--prefix") + 1])
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    (packages,) = environment.glob("lib/python*/site-packages")
    (packages / "present.pth").write_text("{packages}\\n")
elif arguments[:1] != ["clean"]:
    sys.exit(f"the stand-in knows no conda {{arguments}}")
"""
ACTIVATE = """echo "$1" >> '{prefix}/activated.txt'
export PATH="$1/bin:$PATH"
"""


class StandInConda:
    """The command in a folder of its own, to be put first on the PATH."""

    def __init__(self, prefix: Path) -> None:
        self.prefix = prefix
        self.bin = prefix / "bin"
        self.bin.mkdir(parents=True)
        packages = sysconfig.get_paths()["purelib"]
        conda = self.bin / "conda"
        conda.write_text(SCRIPT.format(python=sys.executable, prefix=prefix, packages=packages))
        conda.chmod(0o755)
        (self.bin / "activate").write_text(ACTIVATE.format(prefix=prefix))

    def activated(self) -> list[str]:
        """Return the environments that jobs ran in, one entry a job."""
        path = self.prefix / "activated.txt"
        return path.read_text().splitlines() if path.exists() else []
