"""Whether what an import left behind would be the same in each instance: then others may begin with a copy of it.

The host sends this text along with `INIT`, to a template alone (decision 7): nothing of it is on the disk of a function. Nothing
that the function sees is replaced while it is watched: a profiler is told of each call, C functions included, an audit hook of
each file and each system resource. Afterwards what is in memory is looked through for what slipped by, in calls of C by C.

Invariant: in doubt an import is unfit: it ends before it does what no copy could do, and a reason is all that comes of it. What is known to draw a number or read a clock at
import, in the standard library alone, is on short lists here, and is made anew in each copy (`renew`).
"""

import itertools
import os
import sys
import time

# What differs from instance to instance; the keys are those of the template, and good for its copies.
OWN_VARIABLES = ("AWS_LAMBDA_LOG_STREAM_NAME",)
OWN_VARIABLES += tuple(os.fsencode(name) for name in OWN_VARIABLES)

CLOCK, CHANCE, NUMBER, STATE = "read a clock", "drew a random number", "asked for its process's number", "changed its process"
CLOCKS = "time time_ns monotonic monotonic_ns perf_counter perf_counter_ns process_time process_time_ns thread_time thread_time_ns"
CLOCKS += " clock_gettime clock_gettime_ns localtime gmtime ctime asctime strftime times getrusage getloadavg now utcnow today"
CHANCES = "urandom getrandom random getrandbits RAND_bytes RAND_pseudo_bytes RAND_add generate_time_safe seed"
NUMBERS = "getpid getppid getpgid getpgrp getsid get_native_id gettid getpidfd"
STATES = "alarm setitimer nice setpriority sched_setaffinity sched_setscheduler sched_setparam setrlimit prlimit setsid setpgid"
STATES += " setpgrp dup2 set_blocking enable dump_traceback_later register fork forkpty fork_exec posix_spawn posix_spawnp"
STATES += " start_new_thread start_new start_joinable_thread set_wakeup_fd sigprocmask pthread_sigmask memfd_create"
SUSPECTS = {name: why for names, why in ((CLOCKS, CLOCK), (CHANCES, CHANCE), (NUMBERS, NUMBER), (STATES, STATE)) for name in names.split()}

# Modules of the interpreter whose functions of these names are meant; others may have the same names.
OWNERS = frozenset("time posix datetime _datetime _random _ssl _uuid _thread _posixsubprocess _signal resource faulthandler".split())

# Of the standard library: file, function and what they call. What they read goes nowhere, or is made anew.
KNOWN = frozenset(
    [("logging/__init__.py", "<module>", name) for name in ("time", "time_ns")]
    + [("_strptime.py", function, "strftime") for function in ("__calc_am_pm", "__calc_date_time", "__calc_alt_digits", "__calc_weekday", "__calc_month")]
    + [("threading.py", function, "get_native_id") for function in ("_set_native_id", "__init__")]
    + [("multiprocessing/process.py", "__init__", "urandom")]
)

# By events of the audit: whatever begins so leaves something outside of the process, or is of this instance alone.
OUTSIDE = (
    "socket.", "subprocess.", "os.fork", "os.exec", "os.posix_spawn", "os.spawn", "os.system", "os.kill", "_thread.start", "ctypes.",
    "tempfile.", "mmap.", "fcntl.", "resource.", "os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.chmod",
    "os.chown", "os.chflags", "os.truncate", "os.utime", "os.setxattr", "os.removexattr", "os.mkfifo", "os.mknod", "shutil.",
    "sqlite3.", "syslog.", "pty.", "signal.", "sys.addaudithook", "sys.setprofile", "sys.settrace", "sys.monitoring", "urllib.",
    "http.", "ftplib.", "imaplib.", "poplib.", "smtplib.", "telnetlib.", "nntplib.", "webbrowser.", "os.lockf", "sys.remote_exec",
)  # fmt: skip

LISTED = frozenset(["os.listdir", "os.scandir", "glob.glob"])

# Places whose content is of the machine or of this instance.
LIVELY = ("/proc", "/dev", "/sys", "/tmp", "/run", "/var/run")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

# Named by code that is not the standard library's and runs at import, they may be called where no profiler sees it.
HIDDEN = frozenset("urandom getrandom RAND_bytes RAND_pseudo_bytes SystemRandom".split())

_Environ = type(os.environ)


class Watch:
    """From `begin` to `end`. `refuse` is told why the import is unfit, as soon as it is, and does not return."""

    def __init__(self, refuse):
        self._unfit = refuse
        self.is_on = False
        self.is_seeded = False
        self.secret = None
        self.parsers = []
        self._library = os.path.dirname(os.__file__) + "/"
        self._random = self._library + "random.py"
        self._reads = _Environ.__getitem__.__code__
        self._changes = {_Environ.__setitem__.__code__, _Environ.__delitem__.__code__}
        self._listings = {_Environ.__iter__.__code__, _Environ.__repr__.__code__}

    def begin(self):
        self._stream = os.environ._data.get(os.fsencode(OWN_VARIABLES[0]))
        self._open = os.listdir("/proc/self/fd")
        self._draws = _draws()
        self._began = _moments()
        sys.addaudithook(self._audit)
        sys.setprofile(self._profile)
        self._profiler = sys.getprofile()
        self.is_on = True

    def end(self):
        """Its handler is loaded."""
        self.is_on = False
        if sys.getprofile() is not self._profiler:
            self._unfit("took the profiler's place")
        sys.setprofile(None)
        if os.listdir("/proc/self/fd") != self._open:
            self._unfit("left a file or a socket open")
        if self._draws is not None and not self.is_seeded and self._draws != _draws():
            self._unfit(CHANCE)
        if not all({"_year", "_century"} <= set(parser.__dict__) for parser in self.parsers):
            self._unfit(CLOCK)
        why = self._foreign() or self._kept()
        if why is not None:
            self._unfit(why)

    # While it is imported.

    def _profile(self, frame, event, arg):
        try:
            if event == "c_call":
                name = getattr(arg, "__name__", "")
                if name in SUSPECTS:
                    self._called(frame, arg, name)
            elif event == "call":
                self._entered(frame)
            elif event == "return" and frame.f_code.co_name == "<module>":
                if frame.f_code.co_filename == self._random:
                    self._draws = _draws()
                elif frame.f_code.co_filename == self._library + "multiprocessing/process.py":
                    self.secret = frame.f_globals["_current_process"]._config["authkey"]
        except Exception as error:
            self._unfit("could not be watched: %r" % (error,))

    def _called(self, frame, called, name):
        owner = getattr(called, "__self__", None)
        kind = owner if isinstance(owner, type) else type(owner)
        module = (getattr(called, "__module__", None) or "") if isinstance(owner, type(sys)) else kind.__module__
        bases = [base.__module__ for base in getattr(kind, "__mro__", ())]
        if module not in OWNERS and OWNERS.isdisjoint(bases):
            return
        if name == "strftime" and module != "time":
            return  # of a date that is there
        if name in ("seed", "random", "getrandbits") and self._is_repeatable(frame, owner, name):
            return
        if self._within_library(frame, name) or self._reads_year(frame, name):
            return
        self._unfit("%s (%s, in %s)" % (SUSPECTS[name], name, frame.f_code.co_filename))

    def _is_repeatable(self, frame, owner, name):
        """Seeds that a program gave are the same in each instance. The generator that `random` makes for itself is seeded anew."""
        code = frame.f_code
        if name != "seed" or code.co_filename != self._random:
            return False
        if frame.f_locals.get("a") is not None:
            random = sys.modules.get("random")
            self.is_seeded |= owner is getattr(random, "_inst", None)
            return True
        back = frame.f_back  # `Random.__init__`
        back = back and back.f_back
        return back is not None and (back.f_code.co_filename, back.f_code.co_name) == (code.co_filename, "<module>")

    def _within_library(self, frame, name):
        file = frame.f_code.co_filename
        own = file[len(self._library) :] if file.startswith(self._library) else None
        return (own, frame.f_code.co_name, name) in KNOWN

    def _reads_year(self, frame, name):
        """Of `dateutil`, which completes years of two digits by the present one."""
        code = frame.f_code
        if name != "localtime" or code.co_name != "__init__" or not code.co_filename.endswith("/dateutil/parser/_parser.py"):
            return False
        self.parsers.append(frame.f_locals["self"])
        return True

    def _entered(self, frame):
        code = frame.f_code
        if code is self._reads:
            if frame.f_locals.get("key") in OWN_VARIABLES and not self._picks(frame):
                self._unfit("read the name of its log stream")
        elif code in self._changes:
            if frame.f_locals.get("key") in OWN_VARIABLES:
                self._unfit("changed the name of its log stream")
        elif code in self._listings:
            if not self._picks(frame):
                self._unfit("read the whole environment")
        elif not HIDDEN.isdisjoint(code.co_names) and not code.co_filename.startswith((self._library, "<frozen ")):
            self._unfit("%s, perhaps (in %s)" % (CHANCE, code.co_filename))

    def _picks(self, frame):
        """Who goes through all of the environment, and keeps some others: `urllib` what ends in `_proxy`, `botocore` settings."""
        for _ in range(4):
            frame = frame.f_back
            if frame is None:
                return False
            file, name = frame.f_code.co_filename, frame.f_code.co_name
            if name == "getproxies_environment" and file == self._library + "urllib/request.py":
                return True
            if name == "__init__" and file.endswith("/botocore/utils.py"):
                return True
        return False

    def _audit(self, event, args):
        if not self.is_on:
            return
        try:
            if event == "open":
                if not _imports(sys._getframe(1)):
                    self._opened(*args)
            elif event == "import":
                if isinstance(args[1], str) and not self._is_ours(args[1]):
                    self._unfit("loaded compiled code (%s)" % args[1])
            elif event in LISTED:
                if isinstance(args[0], str) and not _imports(sys._getframe(1)) and _is_lively(args[0]):
                    self._unfit("looked into %s" % args[0])
            elif event.startswith(OUTSIDE) and not _imports(sys._getframe(1)) and not _tries_addresses(event, sys._getframe(1)):
                self._unfit("did what only one can do (%s)" % event)
        except Exception as error:
            self._unfit("could not be watched: %r" % (error,))

    def _opened(self, path, _mode, flags):
        if isinstance(flags, int) and flags & WRITING:
            return self._unfit("wrote a file (%r)" % (path,))
        if isinstance(path, int):
            return
        path = os.fsdecode(path)
        if _is_lively(path):
            self._unfit("read %s" % path)

    def _is_ours(self, file):
        return file.startswith(self._library + "lib-dynload/")

    # Afterwards.

    def _foreign(self):
        """Compiled modules may do what nobody sees."""
        from importlib.machinery import EXTENSION_SUFFIXES

        for module in list(sys.modules.values()):
            file = getattr(module, "__file__", None)
            if isinstance(file, str) and file.endswith(tuple(EXTENSION_SUFFIXES)) and not self._is_ours(file):
                return "loaded compiled code (%s)" % file
        return None

    def _kept(self):
        """Looks for moments of this import, and for this instance's name."""
        import gc

        spans = [(began, ended, scale) for began, ended in zip(self._began, _moments()) for scale in (1, 1e3, 1e6, 1e9)]
        stream, text = self._stream, None if self._stream is None else os.fsdecode(self._stream)
        datetime = sys.modules.get("datetime")
        moment = None if datetime is None else datetime.datetime
        own = {id(it) for it in (self, self.__dict__, self._began, os.environ._data, spans, *spans)}
        tracked = gc.get_objects()
        untracked = []
        for holder in itertools.chain(tracked, untracked):
            if holder is tracked or id(holder) in own or type(holder).__name__ == "frame":
                continue
            for value in gc.get_referents(holder):
                kind = type(value)
                if kind is float or kind is int:
                    # Whole seconds of other clocks than the first are too small to mean anything.
                    if 1000 < value < 1e25 and any(_is_in(value, kind, *span) for span in spans):
                        return "keeps a moment in a %s" % type(holder).__name__
                elif kind is str and value == text or kind is bytes and value == stream:
                    return "keeps the name of its log stream"
                elif kind is moment and _is_within(value, spans[0]):
                    return "keeps a moment in a %s" % type(holder).__name__
                elif kind.__name__ == "Random" and kind.__module__ == "_random":
                    return CHANCE
                elif (kind is dict or kind is tuple) and not gc.is_tracked(value):
                    untracked.append(value)  # the collector knows that there is nothing in them for it
        return None


def _imports(frame):
    """The importer reads code, and would keep what it compiled where it may; in `/tmp` that shows."""
    return frame.f_code.co_filename == "<frozen importlib._bootstrap_external>"


def _tries_addresses(event, frame):
    """Of `urllib3`, which binds a socket to see whether it may, and closes it."""
    if event not in ("socket.__new__", "socket.bind"):
        return False
    for frame in (frame, frame.f_back):
        if frame is not None and frame.f_code.co_name == "_has_ipv6":
            return frame.f_code.co_filename.endswith("/urllib3/util/connection.py")
    return False


def _is_lively(path):
    path, task = os.path.abspath(path), os.environ.get("LAMBDA_TASK_ROOT", "/var/task")
    is_below = lambda place: path == place or path.startswith(place + "/")
    return not is_below(task) and path != "/dev/null" and any(map(is_below, LIVELY))


def _moments():
    return (time.time(), time.monotonic(), time.perf_counter())


def _is_in(value, kind, began, ended, scale):
    if kind is int and scale == 1:
        return began > 1e9 and int(began) <= value < ended
    return began < value / scale < ended


def _is_within(moment, wall):
    try:
        aware = moment.timestamp()
        plain = (moment - type(moment)(1970, 1, 1)).total_seconds() if moment.tzinfo is None else aware
    except (ValueError, OverflowError, OSError, TypeError):
        return False
    return any(wall[0] - 1 < value < wall[1] for value in (aware, plain))


def _draws():
    """What the generator of `random` has come to."""
    random = sys.modules.get("random")
    return None if random is None else random._inst.getstate()


def renew(watch):
    """Makes anew, in a copy, what the interpreter and its library made when they were loaded."""
    random = sys.modules.get("random")
    if random is not None and not watch.is_seeded:
        random._inst.seed()
    logging = sys.modules.get("logging")
    if logging is not None:
        logging._startTime = time.time_ns() if type(logging._startTime) is int else time.time()
    threading = sys.modules.get("threading")
    if threading is not None:
        threading.main_thread()._set_native_id()
    process = sys.modules.get("multiprocessing.process")
    if process is not None and watch.secret is not None:
        config = process._current_process._config
        if config.get("authkey") is watch.secret:
            config["authkey"] = process.AuthenticationString(os.urandom(32))
    for parser in watch.parsers:
        parser._year = time.localtime().tm_year
        parser._century = parser._year // 100 * 100
