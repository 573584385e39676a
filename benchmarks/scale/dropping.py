from __future__ import annotations


def measure(url, say): ...
