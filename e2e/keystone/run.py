"""Runs the keystone test: builds the peer and compares with the botocores that `cargo xtask tools` installed.

    python3 e2e/keystone/run.py [SERVICE...]

KEYSTONE_SAMPLES and KEYSTONE_SEED are `keystone.py`'s.
"""

import os
import pathlib
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SERVICES = ROOT / "crates" / "services" / "src"
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "lamplight"
TOOLS = pathlib.Path(os.environ.get("LAMP_TOOLS") or CACHE)


def python_of(tool):
    """The Python that has the packages of a tool."""
    python = TOOLS / tool / "bin" / "python"
    if not python.exists():
        sys.exit(f"keystone: {python} is missing: run `cargo xtask tools`")
    return python


def compare(tool, protocol, services):
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
    peer = target / "debug" / "examples" / "keystone"
    command = [python_of(tool), HERE / "keystone.py", peer, SERVICES, protocol, *services]
    return subprocess.run(command, env=environment).returncode


def main():
    began = time.monotonic()
    subprocess.run(["cargo", "build", "--quiet", "-p", "wire", "--example", "keystone"], cwd=ROOT, check=True)
    services = sys.argv[1:] or sorted(path.parent.name for path in SERVICES.glob("*/model.json"))
    failed = compare("python", "all", services)
    if "sqs" in services:
        failed |= compare("botocore-query", "query", ["sqs"])
    print(f"keystone: {'FAILED' if failed else 'passed'} in {time.monotonic() - began:.1f} s")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
