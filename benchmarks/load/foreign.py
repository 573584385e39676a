"""Spans of other instrumentation, about 20 attributes each: a web server, a web client, a database."""

from __future__ import annotations

import random
from typing import Any

from opentelemetry.proto.trace.v1.trace_pb2 import Span

from benchmarks.load.otlp import SERIAL, make_span


def foreign_span(random_: random.Random, trace_id: bytes, at: int) -> Span:
    """A span as the HTTP or database instrumentation makes it; at: position in the request."""
    name, kind, own = random_.choice(_KINDS)
    attributes = {**_common(random_), **own(random_)}
    return make_span(random_, name, trace_id, SERIAL + f"{at:04x}".encode(), b"", attributes, kind)


def _common(random_: random.Random) -> dict[str, Any]:
    return {
        "network.protocol.name": "http",
        "network.protocol.version": "1.1",
        "network.transport": "tcp",
        "network.type": "ipv4",
        "network.peer.address": f"10.4.{random_.randrange(256)}.{random_.randrange(256)}",
        "network.peer.port": random_.randrange(32_768, 61_000),
        "thread.id": random_.randrange(1, 200),
        "thread.name": f"http-nio-8080-exec-{random_.randrange(1, 200)}",
        "enduser.id": f"u-{random_.getrandbits(40):010x}",
        "enduser.scope": "catalog:read catalog:search",
        "code.function.name": "com.shop.catalog.ProductController.search",
        "code.line.number": random_.randrange(1, 900),
    }


def _server(random_: random.Random) -> dict[str, Any]:
    product = f"P{random_.randrange(100_000):05}"
    return {
        "http.request.method": "GET",
        "http.route": "/api/v2/products/{id}/competitors",
        "http.response.status_code": 200,
        "http.response.body.size": random_.randrange(200, 90_000),
        "url.scheme": "https",
        "url.path": f"/api/v2/products/{product}/competitors",
        "url.query": "market=US&limit=30&sort=relevance",
        "server.address": "shop.internal",
        "user_agent.original": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    }


def _client(random_: random.Random) -> dict[str, Any]:
    return {
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "http.request.body.size": random_.randrange(100, 4_000),
        "url.full": f"http://search.internal:9200/products/_search?routing={random_.randrange(64)}",
        "server.address": "search.internal",
        "server.port": 9200,
        "http.request.resend_count": 0,
        "url.template": "/products/_search",
    }


def _database(random_: random.Random) -> dict[str, Any]:
    return {
        "db.system.name": "postgresql",
        "db.namespace": "catalog",
        "db.operation.name": "SELECT",
        "db.collection.name": "products",
        "db.query.text": "SELECT id, title, price, rating FROM products WHERE category = $1 AND price < $2",
        "db.query.summary": "SELECT products",
        "db.response.returned_rows": random_.randrange(5_000),
        "server.address": "catalog-db.internal",
    }


_KINDS = (
    ("GET /api/v2/products/{id}/competitors", Span.SPAN_KIND_SERVER, _server),
    ("POST /products/_search", Span.SPAN_KIND_CLIENT, _client),
    ("SELECT products", Span.SPAN_KIND_CLIENT, _database),
)
