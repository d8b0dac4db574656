"""Compiles the modules of a function's code and layers once for a version: its tree never changes, and nothing is kept in it.

The host runs this text as `python3 -I -S -B -c TEXT BYTES SECONDS FOLDER..` in a sandbox, for source is as hostile as the code
that it becomes, with the interpreter of the version's instances and its folders at the places that those see. No line of the
function runs. Standard output is what `bootstrap.py` reads (`_use_prepared`): eight bytes with the length of an index, the index
`(magic number, {path: (offset, length)})`, then the code objects, all as `marshal` writes them.

What is left out is compiled when it is imported, as without this: what does not compile, what warns (the warning belongs into the
log of each start), and what is beyond the bounds.
"""

import marshal
import os
import sys
import time
import warnings

FILES_MAX = 20_000
SOURCE_BYTES_MAX = 4_000_000


def modules(folders):
    """Source files, those first that are likely to be imported."""
    found = []
    for folder in folders:
        for place, _, names in os.walk(folder):
            parts = place[len(folder) :].split("/")
            rank = ("tests" in parts or "test" in parts, len(parts))
            found += ((rank, place + "/" + name) for name in names if name.endswith(".py"))
            if len(found) >= FILES_MAX:
                break
    return [path for _, path in sorted(found)[:FILES_MAX]]


def compiled(loader, path):
    """The code object as an import would have it, bytecode that the function brings along included; else nothing."""
    try:
        if os.stat(path).st_size > SOURCE_BYTES_MAX:
            return None
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            code = loader("module", path).get_code("module")
        return None if warned else marshal.dumps(code)
    except Exception:
        return None


def main(bytes_max, seconds, *folders):
    external = sys.modules["_frozen_importlib_external"]
    ends = time.monotonic() + float(seconds)
    index, parts, size = {}, [], 0
    for path in modules(folders):
        if time.monotonic() > ends:
            break
        code = compiled(external.SourceFileLoader, path)
        if code is not None and size + len(code) <= int(bytes_max):
            index[path] = (size, len(code))
            parts.append(code)
            size += len(code)
    head = marshal.dumps((external.MAGIC_NUMBER, index))
    with open(1, "wb") as out:
        out.write(len(head).to_bytes(8, "little") + head)
        out.writelines(parts)


main(*sys.argv[1:])
