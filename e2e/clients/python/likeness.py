"""A managed runtime of ours beside AWS's own client for the same language: `likeness.py LANGUAGE RUNTIME CLIENT CODE PLAN`.

The same code runs on both, case by case: what the caller gets and what the log says must be the same. CLIENT is the folder
of AWS's client, CODE that of what is tried, PLAN says which handlers with which events. SHOW=1 prints what AWS's client gave.
"""

import json
import os
import re
import sys

from calling import awslambda, call, make, zipped

language, runtime, client, cases, plan_file = sys.argv[1:]
SHOW = os.environ.get("SHOW")
# Where the interpreter and the client are, and how deep a call is below them.
OWN = {
    "python": [
        (r"(/var/lang|/usr)/lib/python[\d.]+/", "LIB/"), (r"(/var/runtime|/var/task/awslambdaric)/bootstrap\.py", "BOOTSTRAP"),
        (r'(File \\?"(LIB|BOOTSTRAP|<frozen)[^"]*", line) \d+', r"\1 N"), (r"repeated \d+ more", "repeated N more"), (r"BOOTSTRAP:\d+", "BOOTSTRAP:N"),
        (r"^  (handle_event_request\($|response = None .*)", "  OWN"),
    ],
    "node": [
        (r"(file://)?/var/(task/node_modules/aws-lambda-ric|runtime)/[^\s)\"\\]*", "CLIENT"), (r"(CLIENT|node:[\w/]+):?\d+(:\d+)?", r"\1"),
        (r'(\\?",)?\\?"    at [^"]*(CLIENT|node:)[^"]*(?=\\?")', ""), (r"^    at .*(CLIENT|node:).*", ""),
    ],
    "java": [
        (r"(java\.base/|lamplight\.|com\.amazonaws\.(services\.lambda\.runtime\.(api|serialization)|lambda))[^\n]*", "CLIENT"),
        (r"^(\s*(at )?CLIENT|Caused by: | at \[Source|\s*\.\.\. ).*", ""),
        (r"@[0-9a-f]{5,8}\b", "@HASH"),
    ],
}  # fmt: skip


def plain(text, request):
    """Without what differs from call to call."""
    text = text.replace(request, "ID")
    text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "TIME", text)
    text = re.sub(r"0x[0-9a-f]{6,}|\b[0-9a-f]{32}\b|(ours|theirs)-\d+", "NAME", text)
    for pattern, instead in OWN[language]:
        text = re.sub(pattern, instead, text)
    return text


def plainly(value, request):
    """The same of every text in a value."""
    if isinstance(value, dict):
        return {key: plainly(inner, request) for key, inner in value.items()}
    if isinstance(value, list):
        return [inner for inner in (plainly(inner, request) for inner in value) if inner != ""]
    return plain(value, request) if isinstance(value, str) else value


def platform(line):
    if "Executing '" in line or "AWS Lambda plans to remove support for callback-based" in line:
        return True  # what only the one or the other of AWS's clients for Node.js says
    return line.startswith(("START ", "END ", "REPORT ", "INIT_START ", "INIT_REPORT ")) or '"type":"platform.' in line


def functions_own(lines):
    """Without frames of the client: a trace that nobody caught begins there, and matters from the function on."""
    is_client = False
    for line in lines:
        if line.startswith('  File "'):
            is_client = "/var/runtime/" in line or "/awslambdaric/" in line or "<frozen runpy>" in line
        if line.strip() and not (is_client and line.startswith("  ")):
            yield line


def seen(name, event):
    answer, result, log = call(name, event)
    request = answer["ResponseMetadata"]["RequestId"]
    lines = [line for line in log.replace("\r", "\n").replace("\u00a0", " ").splitlines() if not platform(line)]
    return {
        "failed": answer.get("FunctionError"), "result": plainly(result, request),
        "log": [line for line in (plain(line, request) for line in functions_own(lines)) if line],
    }  # fmt: skip


def like(what, ours, theirs):
    if SHOW:
        print(f"== {what}\n{json.dumps(theirs, ensure_ascii=False)[:600]}")
    if ours == theirs:
        return True
    print(f"DIFFERENT {what}")
    for part in ours:
        if ours[part] != theirs[part]:
            print(f"  {part}\n    ours   {json.dumps(ours[part], ensure_ascii=False)[:1500]}\n    theirs {json.dumps(theirs[part], ensure_ascii=False)[:1500]}")
    return False


with open(plan_file) as file:
    plan = json.load(file)
code = {"ours": zipped({}, cases), "theirs": zipped({}, client, cases)}
runtimes = {"ours": runtime, "theirs": "provided.al2023"}
different = count = 0
for number, group in enumerate(plan["groups"]):
    for handler in group["handlers"]:
        for side in code:
            more = {"LoggingConfig": group["logging"]} if "logging" in group else {}
            make(f"{side}-{count}", runtimes[side], handler, code[side], Timeout=10, MemorySize=256,
                 Environment={"Variables": {"AS_IF": f"AWS_Lambda_{runtime}"}}, **more)  # fmt: skip
        for event in group["events"]:
            pair = [seen(f"{side}-{count}", event) for side in code]
            different += not like(f"{handler} {group.get('name', '')} {event!r}", *pair)
        for side in code:
            awslambda.delete_function(FunctionName=f"{side}-{count}")
        count += 1
print(f"{different} different")
sys.exit(min(different, 100))
