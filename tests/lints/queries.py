from typing import NamedTuple
ALLOWED = {}
class Finding(NamedTuple):
    rule: str
    what: str
class L(NamedTuple):
    findings: tuple = ()
def look_at(text): return L()
