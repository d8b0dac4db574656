"""How long a parked runtime takes from INIT to READY and to its first answer, beside the same code in a fresh process of its
language: `measure.py NAME..`. FUNCTIONS is a folder of functions, ROUNDS how often each is started, PREPARED=1 has what is
prepared for a version in place. Prints the minimum and median in milliseconds, and what a parked process costs.

A function is a folder below FUNCTIONS whose name begins with its language: `python*` has app.handler, `node*` index.handler,
`java*` bench.App::handle and main, `ruby*` app.handler. The program is of the machine's path, or PROGRAM."""

import os
import shutil
import statistics
import subprocess
import sys
import time

import host
import java_test
import prepared

HEAP = ["--expose-gc", "--max-http-header-size=81920", "--max-semi-space-size=6", "--max-old-space-size=115"]
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# As where the function's folder is read-only.
UNWRITTEN = {"PYTHONDONTWRITEBYTECODE": "1"}


def language(name):
    """How a function's runtime is started, its handler, its execution environment, and the same in a fresh process."""
    program = os.environ.get("PROGRAM")
    if name.startswith("python"):
        program = program or "/usr/bin/python3"
        return [program, "-S", prepared.compiled(program)], "app.handler", "AWS_Lambda_python3.11", [program, "-c", "import app"]
    if name.startswith("node"):
        program = program or shutil.which("node")
        version = os.environ.get("EXECUTION_ENV", "AWS_Lambda_nodejs20.x")
        return [program, *HEAP, ROOT + "/node/bootstrap.cjs"], "index.handler", version, [program, "-e", "require('./index.js')"]
    if name.startswith("ruby"):
        program = program or shutil.which("ruby")
        return [program, ROOT + "/ruby/bootstrap.rb"], "app.handler", "AWS_Lambda_ruby3.2", [program, "-e", "require './app'"]
    home = program or os.path.dirname(os.path.dirname(os.path.realpath(shutil.which("javac"))))
    java_test.build(os.environ.get("JAVAC_HOME", home))
    command = java_test.command(home)
    return command, "bench.App::handle", "AWS_Lambda_java17", [home + "/bin/java", "-cp", ".:lib/*", "bench.App"]


def milliseconds(since):
    return (time.perf_counter() - since) * 1000


def parked(command, folder, handler, execution_env, told, early=False):
    """Until READY, and until the first answer."""
    with host.Host(command, {}, handler, execution_env=execution_env, log_pipe=True, folder=folder, early=early, told=told, process_env=UNWRITTEN) as function:
        if early:
            begun = function.started
            function.expect(host.PARKED)
        else:
            function.expect(host.PARKED)
            time.sleep(float(os.environ.get("REST", "0.15")))
            begun = time.perf_counter()
            function.send_init()
        payload = function.message()
        assert payload[0] == host.READY, payload
        ready = milliseconds(begun)
        function.invoke({"a": 1})
        return ready, milliseconds(begun)


def fresh(command, folder):
    begun = time.perf_counter()
    subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, check=True)
    return milliseconds(begun)


def shown(times):
    return "%.1f/%.1f" % (min(times), statistics.median(times))


def cost(command, handler):
    """Private and proportional memory of a parked process in megabytes, and the processor time of a second of waiting."""
    with host.Host(command, {}, handler) as function:
        function.expect(host.PARKED)
        time.sleep(0.3)
        place = "/proc/%d/" % function.process.pid
        with open(place + "smaps_rollup") as file:
            sizes = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in file if line.endswith("kB\n")}

        def switches():
            total = 0
            for task in os.listdir(place + "task"):
                with open(place + "task/%s/status" % task) as file:
                    total += sum(int(line.split()[1]) for line in file if "ctxt_switches" in line)
            return total

        before = switches()
        time.sleep(2)
        print(
            "  parked: private dirty %.1f MB, PSS %.1f MB, %.1f wake-ups a second"
            % (sizes["Private_Dirty"], sizes["Pss"], (switches() - before) / 2)
        )


def measure(name):
    folder = os.path.join(os.environ["FUNCTIONS"], name)
    command, handler, execution_env, alone = language(name)
    told = {}
    if os.environ.get("PREPARED") and name.startswith("python"):
        told = prepared.python(command, folder)
    elif os.environ.get("PREPARED") and name.startswith("node"):
        told = prepared.node(command, folder, handler, execution_env)
    readies, answers, earlies, alones = [], [], [], []
    for _ in range(int(os.environ.get("ROUNDS", "10"))):
        ready, answer = parked(command, folder, handler, execution_env, told)
        readies.append(ready)
        answers.append(answer)
        earlies.append(parked(command, folder, handler, execution_env, told, early=True)[1])
        alones.append(fresh(alone, folder))
    print("%s: parked, ready %s, answered %s; bootstrap in a fresh process %s; a process %s" % (name, *map(shown, (readies, answers, earlies, alones))))
    cost(command, handler)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        measure(name)
