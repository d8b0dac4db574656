"""What `watch.py` makes of imports: each line of a table is a function's module, and why no copy of it may be made."""

import json

from host import HARMLESS, INIT, INIT_ERROR, PARKED, READY, UNFIT, message
from prepared import BOOTSTRAPS

with open(BOOTSTRAPS + "/python/watch.py") as file:
    TOLD = {"template": file.read()}

HANDLER = "\ndef handler(event, context):\n    return globals().get('answer', dict)()\n"

CLOCK, CHANCE, NUMBER, STATE = "read a clock", "drew a random number", "asked for its process's number", "changed its process"
ONE = "did what only one can do"

# Nothing here may tell one instance from another.
FIT = [
    "",
    "import json, logging, os, re, sys, time, uuid, random, secrets, hashlib, ssl, tempfile, socket, threading, datetime, decimal",
    "import urllib.request, http.client, email.mime.text, concurrent.futures, asyncio, dataclasses, queue, calendar, _strptime, zipfile",
    "import os; table = os.environ.get('TABLE'); region = os.environ['AWS_REGION']; key = os.getenv('AWS_ACCESS_KEY_ID')",
    "import os; os.environ['ADDED'] = '1'; os.environ.setdefault('MORE', '2'); 'X' in os.environ",
    "from time import time, monotonic as clock; from uuid import uuid4; from datetime import datetime; from random import choice",
    "import time, functools\ndef wait(clock=time.time, last=functools.partial(max, 1)): return clock()",
    "import datetime; day = datetime.datetime(2020, 1, 1).strftime('%Y'); at = datetime.datetime.fromtimestamp(0)",
    "import random; random.seed(7); other = random.Random(8)",
    "import threading; lock = threading.RLock(); local = threading.local(); local.a = 1",
    "import urllib.request; proxies = urllib.request.getproxies_environment()",
    "import ssl; context = ssl.create_default_context()",
    "print('loaded'); open(__file__).read(); import os; os.listdir(os.path.dirname(__file__))",
    "import logging; log = logging.getLogger(); log.setLevel('INFO'); log.debug('nothing')",
    "import collections; P = collections.namedtuple('P', 'a b'); n = 10 ** 400; x = [float(i) for i in range(5000)]; y = list(range(90000))",
]

# The module, and how the reason begins.
NOT = [
    ("import time; began = time.time()", CLOCK),
    ("from time import time as t; began = t()", CLOCK),
    ("import time; time.monotonic()", CLOCK),
    ("import time; time.perf_counter_ns()", CLOCK),
    ("import time; time.time_ns()", CLOCK),
    ("import time; time.clock_gettime(time.CLOCK_REALTIME)", CLOCK),
    ("import time; time.localtime()", CLOCK),
    ("import time; text = time.strftime('%H')", CLOCK),
    ("import time; text = time.ctime()", CLOCK),
    ("import time; args = (); time.time(*args)", CLOCK),
    ("import os; os.times()", CLOCK),
    ("import datetime; began = datetime.datetime.now()", CLOCK),
    ("from datetime import datetime, timezone; began = datetime.now(timezone.utc)", CLOCK),
    ("from datetime import datetime; began = datetime.utcnow()", CLOCK),
    ("import datetime; day = datetime.date.today()", CLOCK),
    ("import datetime\nclass Own(datetime.datetime): pass\nOwn.now()", CLOCK),
    ("import resource; resource.getrusage(0)", CLOCK),
    ("import functools, time; began = functools.partial(time.time)()", "keeps a moment"),
    ("import time; began = list(map(lambda clock: clock, [1])) + [int(next(iter(time.time, None)))]", "keeps a moment"),
    ("import time; began = [x for x in map(divmod, [1], [1])] + list(__import__('itertools').islice(iter(time.monotonic_ns, None), 1))", "keeps a moment"),
    ("import logging; logging.warning('at import')", CLOCK),
    ("import os; salt = os.urandom(8)", CHANCE),
    ("import os; salt = os.getrandom(8)", CHANCE),
    ("from os import urandom; salt = list(map(urandom, [8]))", CHANCE),
    ("import uuid; own = uuid.uuid4()", CHANCE),
    ("import uuid; own = uuid.uuid1()", ""),
    ("from uuid import uuid4; own = [*map(lambda _: uuid4(), [1])]", CHANCE),
    ("import random; own = random.random()", CHANCE),
    ("import random; own = random.choice([1, 2, 3])", CHANCE),
    ("import random; own = next(iter(random.random, None))", CHANCE),
    ("import random; random.seed()", CHANCE),
    ("import random; own = random.Random()", CHANCE),
    ("import _random; own = _random.Random().random()", CHANCE),
    ("import random; own = random.SystemRandom().random()", CHANCE),
    ("import secrets; own = secrets.token_hex()", CHANCE),
    ("import ssl; own = ssl.RAND_bytes(8)", CHANCE),
    ("import tempfile; name = tempfile.mktemp()", ""),
    ("open('/dev/urandom', 'rb').read(8)", "read /dev/urandom"),
    ("[line for line in open('/proc/sys/kernel/random/uuid')]", "read /proc"),
    ("import os; os.listdir('/proc/self/task')", "looked into"),
    ("import os; own = os.getpid()", NUMBER),
    ("import threading; own = threading.get_native_id()", NUMBER),
    ("import tempfile; kept = tempfile.mkdtemp()", ""),
    ("open('/tmp/lamp-template-test', 'w').close()", "wrote a file"),
    ("import os; os.mkdir('/tmp/lamp-template-test-folder'); os.rmdir('/tmp/lamp-template-test-folder')", ONE),
    ("kept = open(__file__)", "left a file"),
    ("import os; kept = os.pipe()", "left a file"),
    ("import socket; socket.socket().close()", ONE),
    ("import _socket; _socket.socket().close()", ONE),
    ("import socket; socket.gethostname()", ONE),
    ("import threading; t = threading.Thread(target=int); t.start(); t.join()", ""),
    ("import subprocess; subprocess.run(['true'])", ""),
    ("import os\nif os.fork() == 0: os._exit(0)\nos.wait()", ""),
    ("import os; os.system('true')", ONE),
    ("import ctypes", ONE),
    ("import mmap; kept = mmap.mmap(-1, 4096)", ONE),
    ("import signal; signal.alarm(1000)", STATE),
    ("import signal; signal.setitimer(signal.ITIMER_REAL, 1000)", STATE),
    ("import os; os.nice(1)", STATE),
    ("import faulthandler; faulthandler.enable()", STATE),
    ("import resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0))", ""),
    ("import sys; sys.setprofile(None)", ""),
    ("import sys; sys.settrace(None)", ONE),
    ("import sys; sys.addaudithook(print)", ""),
    ("import os; own = os.environ['AWS_LAMBDA_LOG_STREAM_NAME']", "read the name of its log stream"),
    ("import os; own = os.getenv('AWS_LAMBDA_LOG_STREAM_NAME')", "read the name of its log stream"),
    ("import os; own = os.environb.get(b'AWS_LAMBDA_LOG_STREAM_NAME')", "read the name of its log stream"),
    ("import os; del os.environ['AWS_LAMBDA_LOG_STREAM_NAME']", "changed the name of its log stream"),
    ("import os; own = dict(os.environ)", "read the whole environment"),
    ("import os; own = os.environ.copy()", "read the whole environment"),
    ("import os; own = repr(os.environ)", "read the whole environment"),
    ("import os; own = [*os.environ.items()]", "read the whole environment"),
    ("import os; own = dict(os.environ._data)", "keeps the name of its log stream"),
    ("import os\nclass Settings: stream = os.fsdecode(os.environ._data[b'AWS_LAMBDA_LOG_STREAM_NAME'])", "keeps the name of its log stream"),
]


# As in a sandbox, where code is not the function's to change.
READ_ONLY = {"PYTHONDONTWRITEBYTECODE": "1"}


def verdict(function):
    """Why it may not be copied; None if it may."""
    function.expect(PARKED)
    function.send_init()
    kind, stream, payload = function.message()
    assert stream == 0 and kind in (HARMLESS, UNFIT, INIT_ERROR), (kind, payload)
    return None if kind == HARMLESS else payload.decode()


def become(function, **own):
    """Makes the template that waits an instance."""
    function.socket.sendall(message(INIT, 0, json.dumps({"env": own}).encode()))
    function.expect(READY)
