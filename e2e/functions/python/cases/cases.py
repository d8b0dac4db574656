"""What functions do, each in its own way: the same on AWS's client and here."""

import collections
import decimal
import json
import logging
import os
import sys
import threading
import warnings

logger = logging.getLogger("mine")


class Custom(Exception):
    pass


class Base(BaseException):
    pass


Point = collections.namedtuple("Point", "x y")


class Dictish(dict):
    pass


class Strish(str):
    pass


def circular():
    value = []
    value.append(value)
    return value


def deep():
    value = []
    for _ in range(100000):
        value = [value]
    return value


def chained():
    try:
        raise KeyError("first")
    except KeyError as error:
        raise ValueError("second") from error


def recurse():
    recurse()


def logs():
    logging.info("info unseen")
    logging.warning("warning %s", "formatted")
    logger.setLevel(logging.DEBUG)
    logger.debug("debug")
    logger.error("two\nlines")
    logger.critical("extra", extra={"order": 7, "list": [1, "ü"]})
    try:
        1 / 0
    except ZeroDivisionError:
        logger.exception("caught")
    print()
    logger.log(35, "between")
    return "logged"


def levels():
    logging.getLogger().setLevel(logging.INFO)
    logging.info("now seen")
    logging.getLogger().setLevel(logging.WARNING)
    return logging.getLogger().getEffectiveLevel()


def prints():
    print("plain")
    print("no end", end="")
    print()
    print("two\nlines")
    print('{"level": "INFO", "message": "json"}')
    sys.stdout.write("written\n")
    sys.stdout.writelines(["a\n", "b\n"])
    return "printed"


def complains():
    sys.stderr.write("to stderr\n")
    print("and again", file=sys.stderr)
    return "complained"


def warn():
    warnings.warn("careful")


def thread():
    def work():
        raise ValueError("in a thread")

    started = threading.Thread(target=work)
    started.start()
    started.join()
    return "went on"


def whole():
    logger.error({"order": 7})
    logger.error({"order": "%s"}, 7)


def bad_extra():
    logger.error("bad extra", extra={"thing": object})


VALUES = {
    "none": None, "true": True, "text": "grüße \u2028 \"\\/", "int": 10**30, "float": 1.10, "exp": 1e300, "nan": float("nan"),
    "inf": [float("inf"), -float("inf")], "tuple": (1, (2,)), "point": Point(1, Point(2, 3)), "bytes": {"b": b"text"},
    "raw": b"raw bytes", "decimal": [decimal.Decimal("1.10"), decimal.Decimal("1E+3")], "keys": {1: 1, None: 2, True: 3, 1.5: 4},
    "set": {1}, "object": object(), "function": logs, "range": range(3), "dictish": Dictish(a=Dictish()), "strish": Strish("s"),
    "surrogate": "\ud800", "badbytes": {"b": b"\xff"}, "badkey": {(1, 2): 3}, "ordered": collections.OrderedDict(b=1, a=2),
    "control": "\x00\x1f\x7f", "emoji": "😀", "negzero": -0.0, "bool keys": {False: 0}, "big": {"a": [{}] * 3}, "empty": "",
}  # fmt: skip

ACTIONS = {
    "raise": lambda: (_ for _ in ()).throw(ValueError("as asked")), "custom": lambda: exec("raise Custom()"),
    "lines": lambda: exec("raise Custom('two\\nlines')"), "args": lambda: exec("raise Custom(1, 'two')"),
    "key": lambda: {}["missing"], "assert": lambda: exec("assert False, 'why'"), "stop": lambda: next(iter(())),
    "unicode": lambda: exec("raise ValueError('grüße 😀')"), "long": lambda: exec("raise ValueError('x' * 5000)"),
    "chained": chained, "recurse": recurse, "circular": circular, "logs": logs, "levels": levels, "prints": prints, "complains": complains,
    "warn": warn, "thread": thread, "bad extra": bad_extra, "whole": whole,
    "json error": lambda: json.loads("{"), "os error": lambda: open("/nowhere"), "memory": lambda: exec("raise MemoryError()"),
    "cwd": os.getcwd, "name": lambda: __name__,
    "exit0": lambda: sys.exit(0), "exit3": lambda: sys.exit(3), "exit text": lambda: sys.exit("bye"), "builtin exit": lambda: exit(4),
    "_exit": lambda: os._exit(5), "base": lambda: exec("raise Base('b')"), "interrupt": lambda: exec("raise KeyboardInterrupt()"),
    "generator exit": lambda: exec("raise GeneratorExit()"), "abort": os.abort, "kill": lambda: os.kill(os.getpid(), 9),
    "term": lambda: os.kill(os.getpid(), 15), "crash": lambda: (print("just before"), os.abort()),
    "isatty": lambda: [sys.stdin.isatty(), sys.stdout.isatty()], "stdin": lambda: sys.stdin.read(),
    "encoding": lambda: [sys.stdout.encoding, sys.getdefaultencoding(), sys.getfilesystemencoding()],
    "locale": lambda: __import__("locale").getlocale(), "tz": lambda: __import__("time").strftime("%Z"),
    "root": lambda: [type(h).__name__ for h in logging.getLogger().handlers] + [logging.getLogger().level],
    "threads": lambda: threading.current_thread().name, "recursion": sys.getrecursionlimit, "flags": lambda: list(sys.flags[:6]),
    "signals": lambda: [str(__import__("signal").getsignal(s)) for s in (2, 13, 15)], "umask": lambda: os.umask(0o22),
}  # fmt: skip


def handler(event, context):
    if event in VALUES:
        return VALUES[event]
    if event in ACTIONS:
        return ACTIONS[event]()
    return event


def attributes(event, context):
    shown = {name: str(getattr(context, name)) for name in dir(context) if not name.startswith("_") and not callable(getattr(context, name))}
    return {"shown": shown, "methods": [name for name in dir(context) if callable(getattr(context, name)) and not name.startswith("_")],
            "type": [type(context).__name__, type(context).__module__, type(context.identity).__name__], "identity": str(context.identity)}


def logged_by_context(event, context):
    context.log("by context\n")
    context.log({"a": 1})
    print()
    logger.warning(context.identity)


async def coroutine(event, context):
    return 1


def generator(event, context):
    yield 1


def one(event):
    return event


constant = 7


class Called:
    def __call__(self, event, context):
        return "called"

    def method(self, event, context):
        return "method"


called = Called()
bound = called.method
