"""Signs random requests with botocore and prints each as a line of JSON: what goes over the wire, who signed it.

    sign.py SEED COUNT

Bytes are in Base64. The same seed gives the same requests, for one version of botocore.
"""

import base64
import datetime
import io
import json
import random
import sys
from urllib.parse import quote, urlsplit

import botocore.auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.httpchecksum import AwsChunkedWrapper, Crc32Checksum, Sha1Checksum, Sha256Checksum

NOW = datetime.datetime(2026, 1, 1, 0, 0, 0)
# The services of which one shares a signing name with another, and S3, whose paths are signed differently.
SERVICES = ["lambda", "sts", "iam", "sqs", "dynamodb", "kinesis", "events", "states", "execute-api", "apigateway"]
METHODS = ["GET", "POST", "PUT", "DELETE", "HEAD", "PATCH"]
CHECKSUMS = {"crc32": Crc32Checksum, "sha1": Sha1Checksum, "sha256": Sha256Checksum}
LETTERS = "abcXYZ019-._~ /+%&=?#:;,@!$'()*[]\"\\<>^`{|}\u00e9\u00df\u1234\U0001f600"
# What http.client can put into a header: Latin-1, of which botocore takes NEL and NBSP for blanks.
HEADER_LETTERS = "abcXYZ019-._~  \t/+%&=?#:;,@!$'()*[]\"\\<>^`{|}\u00e9\u00df\u00ff"


def text(random, letters, longest):
    return "".join(random.choice(letters) for _ in range(random.randint(0, longest)))


def path(random):
    segments = []
    for _ in range(random.randint(0, 5)):
        odd = random.random()
        if odd < 0.1:
            segments.append(random.choice(["", ".", "..", "...", "%2F", "a%2Fb"]))
        else:
            segments.append(quote(text(random, LETTERS, 8), safe="~"))
    return "/" + "/".join(segments)


def query(random):
    pairs = []
    for _ in range(random.choice([0, 0, 1, 2, 5])):
        name = quote(text(random, LETTERS, 6) or "n", safe="-_.~")
        pairs.append(f"{name}={quote(text(random, LETTERS, 8), safe='-_.~')}")
        if random.random() < 0.2:
            pairs.append(f"{name}={quote(text(random, LETTERS, 8), safe='-_.~')}")
    return "&".join(pairs)


def add_headers(random, request):
    for _ in range(random.randint(0, 4)):
        name = random.choice(["x-amz-target", "x-amz-meta-a", "x-amz-meta-b", "content-type", "range", "accept", "x-b"])
        if name in request.headers and name != "x-b":
            continue
        request.headers.add_header(name, text(random, HEADER_LETTERS, 12) or "v")


def streamed(random, request, content):
    """A body in chunks with a checksum behind it, over TLS: how uploads go by default."""
    name = random.choice(list(CHECKSUMS))
    header = f"x-amz-checksum-{name}"
    request.context["checksum"] = {"request_algorithm": {"in": "trailer", "algorithm": name, "name": header}}
    request.headers["x-amz-trailer"] = header
    request.headers["content-encoding"] = "aws-chunked"
    request.headers["x-amz-decoded-content-length"] = str(len(content))
    wrapper = AwsChunkedWrapper(
        io.BytesIO(content), checksum_cls=CHECKSUMS[name], checksum_name=header, chunk_size=random.choice([64, 1000])
    )
    return wrapper.read()


def signer(random, service, presigned, credentials, region):
    s3 = service == "s3"
    if presigned:
        kind = botocore.auth.S3SigV4QueryAuth if s3 else botocore.auth.SigV4QueryAuth
        return kind(credentials, service, region, expires=random.randint(1, 604800))
    kind = botocore.auth.S3SigV4Auth if s3 else botocore.auth.SigV4Auth
    return kind(credentials, service, region)


def case(random):
    service = "s3" if random.random() < 0.3 else random.choice(SERVICES)
    region = random.choice(["us-east-1", "eu-central-1", "cn-north-1", "lamp"])
    token = text(random, "abcXYZ019/+=", 300) if random.random() < 0.3 else None
    credentials = Credentials(f"AKIA{random.randint(0, 99)}", text(random, "abcXYZ019/+", 40) or "s", token or None)
    presigned = random.random() < 0.3
    content = b"" if presigned else random.randbytes(random.choice([0, 2, 300, 3000]))
    host = random.choice([f"{service}.{region}.amazonaws.com", "localhost:4566", "127.0.0.1:4566", "[::1]:4566"])
    target = path(random)
    search = query(random)
    url = f"https://{host}{target}" + (f"?{search}" if search else "")
    request = AWSRequest(method=random.choice(METHODS), url=url)
    add_headers(random, request)
    body = content
    chunked = service == "s3" and not presigned and random.random() < 0.3
    if chunked:
        body = streamed(random, request, content)
    request.data = body
    # The clock of the client may be off by a quarter of an hour; that of a presigned URL by that in one direction.
    skew = datetime.timedelta(seconds=random.randint(0 if presigned else -900, 900))
    botocore.auth.get_current_datetime = lambda: NOW + skew
    signer(random, service, presigned, credentials, region).add_auth(request)
    parts = urlsplit(request.url)
    headers = [(name, value) for name, value in request.headers.items()]
    if "host" not in request.headers:
        headers.append(("host", host))
    return {
        "method": request.method,
        "path": parts.path,
        "query": parts.query,
        "headers": [(name.lower(), base64.b64encode(value.encode("latin-1")).decode()) for name, value in headers],
        "body": base64.b64encode(body).decode(),
        "content": base64.b64encode(content).decode(),
        "presigned": presigned,
        "chunked": chunked,
        "service": service,
        "region": region,
        "access_key_id": credentials.access_key,
        "secret_access_key": credentials.secret_key,
        "session_token": credentials.token,
    }


def main():
    seed, count = int(sys.argv[1]), int(sys.argv[2])
    generator = random.Random(seed)
    for _ in range(count):
        print(json.dumps(case(generator)))


main()
