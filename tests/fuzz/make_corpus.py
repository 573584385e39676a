"""
Makes the inputs that the fuzzer begins with: ``python -m tests.fuzz.make_corpus``.

Small whole requests, one of each kind that we read, so that the fuzzer starts behind the first checks.
"""

from __future__ import annotations

import gzip
from pathlib import Path

import orjson

from tests.fixtures.otlp import Request, decisions, event, logs, span, traces
from tests.fixtures.otlp_json import encode
from tests.fuzz.fuzz_seeds import EVENTS, SPANS

CORPUS = Path(__file__).with_name("corpus")
COLUMNS = {
    "v": 1,
    "n": 3,
    "item": ["a", "b", "c"],
    "verdict": "KEE",
    "reasons": ["too_dear"],
    "reason": [None, 0, 0],
    "score": [0.5, None, 1],
    "value": [1, "x", True],
    "threshold": 2,
    "missing": [1],
    "p": 0.5,
    "checks": [None, [{"name": "price", "value": 1, "threshold": 2, "passed": True}], None],
}


def _requests() -> dict[str, list[Request]]:
    columns = {"xray.run.id": "r", "xray.step.id": "s", **decisions(COLUMNS)}
    return {
        "traces": [
            *(traces([span("a", attributes, trace="t")]) for attributes in SPANS),
            traces([span(str(number), attributes, trace="t") for number, attributes in enumerate(SPANS)]),
        ],
        "logs": [
            logs([event("xray.step.decisions", columns, trace="t", within="s")]),
            *(logs([event(name, attributes, trace="t")]) for name, attributes in EVENTS),
        ],
    }


def main() -> None:
    """Write the corpus anew."""
    inputs: dict[str, list[bytes]] = {"decisions": [orjson.dumps(COLUMNS)]}
    for signal, requests in _requests().items():
        inputs[f"{signal}_protobuf"] = [request.SerializeToString(deterministic=True) for request in requests]
        inputs[f"{signal}_json"] = [encode(request) for request in requests]
    whole = gzip.compress(inputs["traces_protobuf"][0], mtime=0)
    inputs["gzip_body"] = [whole, whole + whole, gzip.compress(bytes(100_000), mtime=0)]
    for target, bodies in inputs.items():
        folder = CORPUS / target
        folder.mkdir(parents=True, exist_ok=True)
        for number, body in enumerate(bodies):
            (folder / f"{number:02}").write_bytes(body)


if __name__ == "__main__":
    main()
