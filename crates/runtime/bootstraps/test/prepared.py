"""What the host prepares for a runtime or for a version of a function, made here as the host has it made."""

import atexit
import os
import shutil
import subprocess
import tempfile

import host

BOOTSTRAPS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FOLDER = tempfile.mkdtemp(prefix="lamp-prepared-")
atexit.register(shutil.rmtree, FOLDER, True)


def place():
    """A file that nobody has yet."""
    descriptor, path = tempfile.mkstemp(dir=FOLDER)
    os.close(descriptor)
    return path


def written(data):
    """What INIT says where the host has such data."""
    path = place()
    with open(path, "wb") as file:
        file.write(data)
    return {"prepared": path}


def compiled(program):
    """The Python bootstrap as `compile_python` leaves it."""
    code = "import py_compile, sys; py_compile.compile(sys.argv[1], sys.argv[2], sys.argv[3], doraise=True)"
    out = place()
    subprocess.run([program, "-I", "-S", "-c", code, BOOTSTRAPS + "/python/bootstrap.py", out, "/var/runtime/bootstrap.py"], check=True)
    return out


def python(command, folder, bytes_max=67_108_864, seconds=30):
    """What INIT says of the compiled modules of a folder."""
    with open(BOOTSTRAPS + "/python/prepare.py") as file:
        text = file.read()
    out = place()
    with open(out, "wb") as file:
        subprocess.run([command[0], "-I", "-S", "-B", "-c", text, str(bytes_max), str(seconds), folder], stdout=file, check=True)
    return {"prepared": out}


def node(command, folder, handler, execution_env):
    """What INIT says of the modules that an instance has loaded."""
    with host.Host(command, {}, handler, execution_env=execution_env, folder=folder, told={"prepare": True}) as function:
        assert function.init() is None
        function.invoke({})
        return written(function.prepared())
