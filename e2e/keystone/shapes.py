"""Random values of botocore's shapes, and their canonical form: JSON with {"$b": base64}, {"$t": microseconds} and
{"$f": text} for what JSON has no word for."""

import base64
import datetime

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
TEXT = "abcXYZ019 -_.~:/?#[]@!$&'()*+,;=%<>\"\\{}|^`é漢😀"
PLAIN = "abcXYZ019-_."
DEPTH_MAX = 5


class Maker:
    """Draws values; `place` is where a value travels, which limits what it may be."""

    def __init__(self, random, protocol, output):
        self.random = random
        self.protocol = protocol
        self.output = output
        # Forms have no empty map and no empty structure, XML no difference between an empty one and none.
        self.sparse = protocol in ("query", "rest-xml")

    def structure(self, shape, depth=0, whole=False):
        names = list(shape.members)
        if getattr(shape, "is_tagged_union", False):
            whole = True
            names = [self.random.choice(names)] if names else []
        made = {}
        for name in names:
            member = shape.members[name]
            required = name in shape.required_members
            if not required and not whole and self.random.random() < (0.4 if depth < 2 else 0.7):
                continue
            value = self.member(member, depth, required)
            if value is not None:
                made[name] = value
        if self.sparse and depth and not made:
            for name in names:
                value = self.member(shape.members[name], depth, False)
                if value is not None:
                    made[name] = value
                    break
        return made

    def member(self, shape, depth, required):
        place = shape.serialization.get("location", "body")
        if place == "statusCode":
            return self.random.choice([200, 201, 202])
        if shape.serialization.get("eventpayload"):
            return None
        return self.value(shape, depth + 1, place)

    def value(self, shape, depth, place="body"):
        kind = shape.type_name
        if kind in ("structure", "list", "map") and depth > DEPTH_MAX:
            return None
        make = getattr(self, "make_" + kind, None)
        return make(shape, depth, place) if make else self.make_integer(shape, depth, place)

    def make_structure(self, shape, depth, place):
        if getattr(shape, "is_eventstream", False) or shape.serialization.get("eventstream"):
            return None
        made = self.structure(shape, depth)
        empty = not made and (self.sparse or getattr(shape, "is_tagged_union", False))
        return None if empty else made

    def make_list(self, shape, depth, place):
        flat = shape.serialization.get("flattened") and self.sparse
        least = 1 if place != "body" or flat and (self.output or self.protocol == "rest-xml") else 0
        made = [self.value(shape.member, depth + 1, place) for _ in range(self.random.randint(least, 3))]
        made = [value for value in made if value is not None]
        return None if not made and (least or self.protocol == "query" and not self.output) else made

    def make_map(self, shape, depth, place):
        made = {}
        for _ in range(self.random.randint(1 if self.sparse or place != "body" else 0, 3)):
            key = self.text(PLAIN, 1, 8).lower() if place == "headers" else self.key(shape.key)
            value = self.value(shape.value, depth + 1, place)
            if value is not None:
                made[key] = value
        return None if not made and (self.sparse or place != "body") else made

    def key(self, shape):
        return self.random.choice(shape.enum) if getattr(shape, "enum", None) else self.text(TEXT, 1, 8)

    def make_string(self, shape, depth, place):
        if getattr(shape, "enum", None):
            return self.random.choice(shape.enum)
        if shape.serialization.get("hostLabel"):
            return self.text("abcxyz019", 1, 8)
        if place in ("header", "headers", "uri"):
            # No white space at the ends, which HTTP takes off; no `.` and `..`, which clients resolve.
            inner = PLAIN + " =+/%" if place != "uri" else TEXT.replace("/", "")
            return "x" + self.text(inner, 0, 10) + "y"
        return self.text(TEXT, 1 if self.sparse or place != "body" else 0, 12)

    def text(self, alphabet, least, most):
        return "".join(self.random.choice(alphabet) for _ in range(self.random.randint(least, most)))

    def make_blob(self, shape, depth, place):
        return self.random.randbytes(self.random.randint(1 if self.sparse else 0, 40))

    def make_boolean(self, shape, depth, place):
        return self.random.random() < 0.5

    def make_integer(self, shape, depth, place):
        return self.random.choice([0, 1, -1, self.random.randint(-(2**31), 2**31 - 1)])

    def make_long(self, shape, depth, place):
        return self.random.choice([0, 1, -1, self.random.randint(-(2**63), 2**63 - 1)])

    def make_double(self, shape, depth, place):
        return self.random.choice([0.0, 1.5, -2.25, self.random.uniform(-1e9, 1e9), 1e-7, 1e300])

    def make_float(self, shape, depth, place):
        # CBOR carries a float in 32 bits.
        return self.random.choice([0.0, 1.5, -2.25, float(self.random.randint(-(2**20), 2**20)) / 8])

    def make_timestamp(self, shape, depth, place):
        micros = self.random.randint(0, 4_000_000_000) * 1_000_000
        stated = shape.serialization.get("timestampFormat")
        date = stated == "rfc822" or not stated and place in ("header", "headers")
        if self.output and not date:
            micros += self.random.choice([0, 1000, 123_000])
        return EPOCH + datetime.timedelta(microseconds=micros)


def canonical(value):
    if isinstance(value, dict):
        return {key: canonical(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [canonical(item) for item in value]
    if isinstance(value, datetime.datetime):
        since = value - EPOCH
        return {"$t": since.days * 86_400_000_000 + since.seconds * 1_000_000 + since.microseconds}
    if isinstance(value, (bytes, bytearray)):
        return {"$b": base64.b64encode(bytes(value)).decode()}
    if isinstance(value, float):
        return {"$f": repr(value)}
    return value


def same(one, other):
    """Equality of canonical forms; floats by value, however they are spelled."""
    if isinstance(one, dict) and isinstance(other, dict):
        if "$f" in one and "$f" in other:
            return float(one["$f"]) == float(other["$f"])
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other
