"""Runs the examples of README.md and docs/: every block fenced as `sh`, in order, a shell for each page."""

import os
import pathlib
import re
import subprocess
import sys
import tempfile

root = pathlib.Path(sys.argv[1]).resolve()
pages = [root / "README.md", *sorted((root / "docs").glob("*.md"))]
count = 0
for page in pages:
    blocks = re.findall(r"^```sh\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    if not blocks:
        continue
    with tempfile.TemporaryDirectory() as work:
        tools = f"{pathlib.Path(os.environ['AWS']).parent}:{pathlib.Path(os.environ['LAMP_BIN']).parent}"
        environment = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"}
        script = "set -euo pipefail\n" + "\n".join(blocks)
        done = subprocess.run(["bash", "-c", script], cwd=work, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{page.name}: status {done.returncode}\n{script}\n{done.stdout}\n{done.stderr}"
        count += len(blocks)
assert count, "no example found"
print(f"{count} examples of {len(pages)} pages")
