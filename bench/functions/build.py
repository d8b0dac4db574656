"""Builds the functions that are measured into the folder that is its argument: NAME and NAME.zip for each.

A language that this machine lacks is left out, and so are the functions in it.
"""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

SOURCE = Path(__file__).parent
BOTO3 = "boto3==1.44.5"


def run(*command, cwd):
    environment = {name: value for name, value in os.environ.items() if name != "RUSTUP_TOOLCHAIN"}
    subprocess.run(command, cwd=cwd, check=True, stdout=subprocess.DEVNULL, env=environment)


def boto3(folder):
    run(sys.executable, "-m", "pip", "install", "--quiet", "--no-warn-conflicts", "--root-user-action=ignore", "--target", ".", BOTO3, cwd=folder)
    shutil.rmtree(folder / "bin", ignore_errors=True)


def packages(folder):
    run("npm", "install", "--silent", "--no-audit", "--no-fund", "--no-package-lock", cwd=folder)


def bundle(folder):
    packages(folder)
    run(
        "node_modules/.bin/esbuild", "source.js", "--bundle", "--platform=node", "--outfile=index.js",
        "--log-level=error", cwd=folder,
    )
    shutil.rmtree(folder / "node_modules")


def compiled_java(folder):
    sources = [str(path.relative_to(folder)) for path in folder.rglob("*.java")]
    run("javac", "--release", "11", "-cp", "lib/*", *sources, cwd=folder)


def jackson(folder):
    run("mvn", "--quiet", "dependency:copy-dependencies", "-DoutputDirectory=lib", cwd=folder)
    compiled_java(folder)


def native(folder):
    run("rustc", "--edition", "2024", "-O", "-C", "strip=symbols", "bootstrap.rs", cwd=folder)


# What a function needs on this machine, and how it is made.
FUNCTIONS = {
    "native": ("rustc", native),
    "python": ("python3", None),
    "python-boto3": ("python3", boto3),
    "node": ("node", None),
    "node-s3": ("npm", packages),
    "node-bundle": ("npm", bundle),
    "ruby": ("ruby", None),
    "java": ("javac", compiled_java),
    "java-jackson": ("mvn", jackson),
}


def pack(folder):
    with zipfile.ZipFile(folder.with_suffix(".zip"), "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(folder))


def main():
    for name, (needs, make) in FUNCTIONS.items():
        if shutil.which(needs) is None:
            print(f"functions: {name} is left out: there is no {needs}", file=sys.stderr)
            continue
        folder = Path(sys.argv[1]) / name
        shutil.copytree(SOURCE / name, folder, dirs_exist_ok=True)
        if make:
            make(folder)
        pack(folder)


if __name__ == "__main__":
    main()
