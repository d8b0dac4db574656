"""The keystone: what botocore writes, our codec reads to the same values, and the other way round.

For every operation of every service, in every protocol that the service offers: random inputs are serialised by
botocore and decoded by us; random outputs and every modelled error are encoded by us and parsed by botocore. Any
difference fails the run. `run.py` calls this once for each botocore that is needed.

    keystone.py PEER SERVICES_DIR PROTOCOL SERVICE...

PROTOCOL is `all`, or the one to check. KEYSTONE_SAMPLES (3) and KEYSTONE_SEED (1) choose how many and which.
"""

import base64
import collections
import io
import json
import os
import random
import subprocess
import sys
import warnings

warnings.filterwarnings("ignore")

import botocore.parsers
import botocore.serialize
import botocore.session
from botocore.awsrequest import HeadersDict, create_request_object, prepare_request_dict

from shapes import Maker, canonical, same

SAMPLES = int(os.environ.get("KEYSTONE_SAMPLES", "3"))
SEED = int(os.environ.get("KEYSTONE_SEED", "1"))
SHOWN_MAX = 20

# What no request can tell apart by what routing looks at.
AMBIGUOUS = {
    # Deprecated forms of operations at the same method and URI.
    ("s3", "GetBucketLifecycle"),
    ("s3", "GetBucketNotification"),
    ("s3", "PutBucketLifecycle"),
    ("s3", "PutBucketNotification"),
    # Told from ListBuckets by its host alone.
    ("s3", "ListDirectoryBuckets"),
}


class Peer:
    """Collects questions, asks them all at once, and hands each answer to whoever asked."""

    def __init__(self, path, services):
        self.command = [path, services]
        self.asked = []

    def ask(self, question, then):
        self.asked.append((question, then))

    def now(self, question):
        return self.run([question])[0]

    def run(self, questions):
        lines = "".join(json.dumps(question) + "\n" for question in questions)
        done = subprocess.run(self.command, input=lines, stdout=subprocess.PIPE, text=True, check=True)
        return [json.loads(line) for line in done.stdout.splitlines()]

    def settle(self):
        answers = self.run([question for question, _ in self.asked])
        assert len(answers) == len(self.asked), "the peer answered too few"
        for (_, then), answer in zip(self.asked, answers):
            then(answer)


class Raw:
    """A body that arrives in pieces."""

    def __init__(self, body):
        self.body = body

    def stream(self):
        for start in range(0, len(self.body), 100):
            yield self.body[start : start + 100]

    def close(self):
        pass


class Keystone:
    def __init__(self, peer):
        self.peer = peer
        self.session = botocore.session.get_session()
        self.counts = collections.Counter()
        self.failures = []

    def fail(self, where, **what):
        self.counts[where[:2] + ("FAILED",)] += 1
        self.failures.append((where, what))

    def service(self, name, only):
        for protocol in self.peer.now({"do": "protocols", "service": name}):
            if only in ("all", protocol):
                self.protocol(name, protocol)

    def protocol(self, name, protocol):
        model = self.session.get_service_model(name)
        spoken = "json" if protocol.startswith("json") else protocol
        offered = [model.metadata["protocol"], *model.metadata.get("protocols", [])]
        if spoken not in offered:
            # Another botocore speaks it.
            return
        model.metadata["protocol"] = spoken
        if protocol.startswith("json"):
            model.metadata["jsonVersion"] = protocol.removeprefix("json-")
        for operation in model.operation_names:
            if (name, operation) in AMBIGUOUS:
                continue
            operation = model.operation_model(operation)
            draw = random.Random(f"{SEED} {name} {protocol} {operation.name}")
            for sample in range(SAMPLES):
                self.input(name, protocol, spoken, operation, draw, whole=sample == 0)
                answer = self.stream if operation.has_event_stream_output else self.output
                answer(name, protocol, spoken, operation, draw, whole=sample == 0)
            for error in operation.error_shapes:
                self.error(name, protocol, spoken, operation, error, draw)

    def input(self, name, protocol, spoken, operation, draw, whole):
        where = (name, protocol, operation.name, "input")
        shape = operation.input_shape
        given = Maker(draw, spoken, False).structure(shape, whole=whole) if shape else {}
        request = botocore.serialize.create_serializer(spoken, False).serialize_to_request(given, operation)
        context = {"signing": {}, "is_presign_request": False}
        prepare_request_dict(request, "http://localhost", context)
        prepared = create_request_object(request).prepare()
        body = prepared.body
        body = body.read() if hasattr(body, "read") else body or b""
        body = body.encode() if isinstance(body, str) else bytes(body)
        headers = {
            key: value.decode("utf-8") if isinstance(value, bytes) else str(value)
            for key, value in prepared.headers.items()
        }
        signing = operation.service_model.signing_name
        # Some operations put a label before the host name.
        target = "/" + prepared.url.removeprefix("http://").split("/", 1)[1]
        question = dict(do="decode", service=name, signing=signing, method=prepared.method, target=target)
        question |= dict(headers=headers, body=base64.b64encode(body).decode())
        expected = self.expected(shape, given, headers)

        def then(answer):
            self.counts[where[:2] + ("input",)] += 1
            if answer.get("operation") != operation.name or answer.get("protocol") != protocol:
                self.fail(where, answer=answer, target=target, wanted=expected)
            elif not same(self.meant(shape, answer["value"]), expected):
                self.fail(where, got=answer["value"], wanted=expected, wire=body or target)

        self.peer.ask(question, then)

    def expected(self, shape, given, headers):
        """An empty payload is no payload (botocore writes both alike), and HTTP fills in the length that S3 has a member for."""
        given = dict(given)
        payload = shape.serialization.get("payload") if shape else None
        if payload and given.get(payload) in (b"", "", {}):
            del given[payload]
        for name, member in shape.members.items() if shape else ():
            if member.serialization.get("name") == "Content-Length" and "Content-Length" in headers:
                given.setdefault(name, int(headers["Content-Length"]))
        return canonical(given)

    def meant(self, shape, got):
        payload = shape.serialization.get("payload") if shape else None
        return {key: value for key, value in got.items() if key != payload or value != {}}

    def output(self, name, protocol, spoken, operation, draw, whole):
        where = (name, protocol, operation.name, "output")
        shape = operation.output_shape
        given = Maker(draw, spoken, True).structure(shape, whole=whole) if shape else {}
        expected = canonical(given)

        def then(answer):
            self.counts[where[:2] + ("output",)] += 1
            if "refused" in answer:
                return self.fail(where, answer=answer, wanted=expected)
            try:
                parsed = self.parse(spoken, operation, answer, shape)
            except Exception as error:
                return self.fail(where, error=repr(error), answer=self.shown(answer), wanted=expected)
            metadata = parsed.pop("ResponseMetadata", {})
            wanted = self.answered(operation, shape, given, answer, parsed)
            if not same(canonical(parsed), wanted):
                self.fail(where, got=canonical(parsed), wanted=wanted, wire=self.shown(answer))
            elif (shape or spoken != "smithy-rpc-v2-cbor") and metadata.get("RequestId") != "00000000-0000-0000-0000-000000000000":
                self.fail(where, metadata=metadata)

        question = dict(do="encode", service=name, operation=operation.name, protocol=protocol, value=expected)
        self.peer.ask(question, then)

    def stream(self, name, protocol, spoken, operation, draw, whole):
        where = (name, protocol, operation.name, "stream")
        shape = operation.output_shape
        maker = Maker(draw, spoken, True)
        given = maker.structure(shape, whole=whole)
        stream = shape.event_stream_name
        events = []
        for event, member in shape.members[stream].members.items():
            if not member.metadata.get("exception"):
                events.append({event: self.event(maker, member)})
        given.pop(stream, None)

        def then(answer):
            self.counts[where[:2] + ("output",)] += 1
            if "refused" in answer:
                return self.fail(where, answer=answer)
            body = base64.b64decode(answer["body"])
            response = dict(status_code=answer["status"], headers=HeadersDict(answer["headers"]))
            response |= dict(body=Raw(body), context={"operation_name": operation.name})
            parsed = botocore.parsers.create_parser(spoken).parse(response, shape)
            parsed.pop("ResponseMetadata")
            read = list(parsed.pop(stream))
            wanted = self.answered(operation, shape, given, answer, parsed)
            if not same(canonical(parsed), wanted) or not same(canonical(read), canonical(events)):
                self.fail(where, got=(canonical(parsed), canonical(read)), wanted=(wanted, canonical(events)), wire=body)

        question = dict(do="stream", service=name, operation=operation.name, protocol=protocol)
        self.peer.ask(question | dict(value=canonical(given), events=canonical(events)), then)

    def event(self, maker, shape):
        made = maker.structure(shape, whole=True)
        for name, member in shape.members.items():
            if member.serialization.get("eventpayload"):
                made[name] = maker.value(member, 1)
        return made

    def answered(self, operation, shape, given, answer, parsed):
        """What botocore makes of an answer: it fills in a status, and gives an absent payload as an empty one."""
        given = dict(given)
        if shape is None:
            return {}
        for name, member in shape.members.items():
            if member.serialization.get("location") == "statusCode":
                given.setdefault(name, answer["status"])
            if member.serialization.get("name", "").lower() == "content-type" and "content-type" in answer["headers"]:
                given.setdefault(name, answer["headers"]["content-type"])
            if member.serialization.get("location") == "headers" and name not in given and parsed.get(name) == {}:
                given[name] = {}
        payload = shape.serialization.get("payload")
        if payload and shape.members[payload].type_name in ("blob", "string"):
            empty = b"" if shape.members[payload].type_name == "blob" else ""
            given.setdefault(payload, empty)
        elif payload and parsed.get(payload) == {}:
            given.setdefault(payload, {})
        if operation.name == "GetBucketLocation":
            # botocore reads the odd root in a handler, after parsing.
            given = dict(parsed)
            root = base64.b64decode(answer["body"])
            assert b"<LocationConstraint" in root, root
        return canonical(given)

    def parse(self, spoken, operation, answer, shape):
        body = base64.b64decode(answer["body"])
        streaming = operation.has_streaming_output and answer["status"] < 300
        response = dict(status_code=answer["status"], headers=HeadersDict(answer["headers"]))
        response["body"] = io.BytesIO(body) if streaming else body
        response["context"] = {"operation_name": operation.name}
        parsed = botocore.parsers.create_parser(spoken).parse(response, shape)
        for key, value in parsed.items():
            if isinstance(value, io.BytesIO):
                payload = shape.members[key]
                parsed[key] = body if payload.type_name == "blob" else body.decode()
        return parsed

    def error(self, name, protocol, spoken, operation, error, draw):
        where = (name, protocol, operation.name, error.name)
        trait = error.metadata.get("error", {})
        sender = trait.get("senderFault", not error.metadata.get("fault", False))
        status = trait.get("httpStatusCode", 400 if sender else 500)
        maker = Maker(draw, spoken, True)
        spelled = next((member for member in error.members if member.lower() == "message"), None)
        members, texts = {}, {}
        for member, shape in error.members.items():
            if member == spelled or shape.type_name in ("structure", "list", "map", "blob", "timestamp"):
                continue
            members[member] = value = maker.member(shape, 1, False)
            texts[member] = json.dumps(value) if not isinstance(value, str) else value
        # botocore strips what surrounds the text of an element.
        message = "x" + maker.text("abc <>&\"é", 0, 12) + "y"
        question = dict(do="error", service=name, operation=operation.name, protocol=protocol, code=error.name)
        question |= dict(status=status, sender=sender, message=message, members=texts)

        def then(answer):
            self.counts[where[:2] + ("error",)] += 1
            if "refused" in answer:
                return self.fail(where, answer=answer)
            got = self.parse(spoken, operation, answer, operation.output_shape).get("Error", {})
            modelled = self.modelled(spoken, answer, error)
            modelled = {key: value for key, value in modelled.items() if key in members}
            # A service that once spoke Query gives the code of those days too; JSON's own is then beside it.
            got_code = got.get("QueryErrorCode", got.get("Code"))
            wanted_code = error.name if "QueryErrorCode" in got else error.error_code
            if (answer["status"], got_code, got.get("Message")) != (status, wanted_code, message):
                self.fail(where, got=got, wanted=(status, wanted_code, message), wire=self.shown(answer))
            elif not same(canonical(modelled), canonical(members)):
                self.fail(where, got=modelled, wanted=members, wire=self.shown(answer))

        self.peer.ask(question, then)

    def modelled(self, spoken, answer, error):
        response = dict(status_code=answer["status"], headers=HeadersDict(answer["headers"]))
        response["body"] = base64.b64decode(answer["body"])
        return botocore.parsers.create_parser(spoken)._do_modeled_error_parse(response, error)

    def shown(self, answer):
        return (answer["status"], answer["headers"], base64.b64decode(answer["body"]))


def main():
    peer_path, services, only, *names = sys.argv[1:]
    keystone = Keystone(Peer(peer_path, services))
    for name in names:
        keystone.service(name, only)
    keystone.peer.settle()
    rows = sorted({key[:2] for key in keystone.counts})
    for row in rows:
        count = {what: keystone.counts[row + (what,)] for what in ("input", "output", "error", "FAILED")}
        failed = f"  {count['FAILED']} FAILED" if count["FAILED"] else ""
        print(f"{row[0]:<24} {row[1]:<20} {count['input']:>5} in {count['output']:>5} out {count['error']:>6} err{failed}")
    for where, what in keystone.failures[:SHOWN_MAX]:
        print("\n" + " ".join(where), file=sys.stderr)
        for label, value in what.items():
            print(f"  {label}: {str(value)[:1500]}", file=sys.stderr)
    if keystone.failures or not rows:
        sys.exit(f"{len(keystone.failures)} differences, botocore {botocore.__version__}, seed {SEED}")


if __name__ == "__main__":
    main()
