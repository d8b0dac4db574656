"""Runs the keystone test: builds the peer, installs the botocores that it is measured against, compares.

    python3 e2e/keystone/run.py [SERVICE...]

What it installs goes to ${LAMP_CACHE:-~/.cache/lamplight} and is kept. KEYSTONE_SAMPLES and KEYSTONE_SEED are
`keystone.py`'s.
"""

import hashlib
import os
import pathlib
import subprocess
import sys
import time
import venv

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SERVICES = ROOT / "crates" / "services" / "src"
CACHE = pathlib.Path(os.environ.get("LAMP_CACHE") or pathlib.Path.home() / ".cache" / "lamplight")


def installed(requirements):
    """The folder that holds the packages of a requirements file; a changed file gets a folder of its own."""
    python = CACHE / "venv" / "bin" / "python"
    if not python.exists():
        print(f"keystone: making a Python environment in {CACHE / 'venv'}", flush=True)
        venv.create(CACHE / "venv", with_pip=True)
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]
    folder = CACHE / f"{requirements.stem}-{digest}"
    if not folder.exists():
        print(f"keystone: installing {requirements.name}", flush=True)
        partial = folder.with_name(f"{folder.name}.{os.getpid()}")
        command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target", partial]
        subprocess.run([*command, "--requirement", requirements], check=True)
        partial.rename(folder)
    return python, folder


def compare(requirements, protocol, services):
    python, packages = installed(requirements)
    environment = {**os.environ, "PYTHONPATH": str(packages), "PYTHONDONTWRITEBYTECODE": "1"}
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
    peer = target / "debug" / "examples" / "keystone"
    command = [python, HERE / "keystone.py", peer, SERVICES, protocol, *services]
    return subprocess.run(command, env=environment).returncode


def main():
    began = time.monotonic()
    subprocess.run(["cargo", "build", "--quiet", "-p", "wire", "--example", "keystone"], cwd=ROOT, check=True)
    services = sys.argv[1:] or sorted(path.parent.name for path in SERVICES.glob("*/model.json"))
    failed = compare(HERE / "requirements.txt", "all", services)
    if "sqs" in services:
        failed |= compare(HERE / "requirements-query.txt", "query", ["sqs"])
    print(f"keystone: {'FAILED' if failed else 'passed'} in {time.monotonic() - began:.1f} s")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
