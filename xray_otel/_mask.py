"""
What is hidden of everything that leaves the process. Decision 0025.

A value is masked where it becomes text, before it is cut: of a secret that a cut went
through no pattern would see the rest. What is masked is ``***``; when a pattern or the
callback fails, the text is dropped and never sent as it was.
"""

from __future__ import annotations

import hmac
import json
import re
import secrets
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

MASKED = "***"
FAILED = "<dropped: its mask failed>"

KEYS = (
    "password",
    "passwd",
    "pwd",
    "passphrase",
    "passcode",
    "secret",
    "token",
    "api_key",
    "access_key",
    "private_key",
    "credential",
    "auth",
    "authorization",
    "cookie",
    "jwt",
    "csrf",
    "xsrf",
    "session_id",
    "access_token",
    "auth_token",
    "refresh_token",
    "ssn",
    "social_security",
    "credit_card",
    "card_number",
    "cvv",
    "cvc",
)
"""What a key is called whose value is hidden; also written as one word (``apikey``) or in the plural."""

SPAN = 4096
"""Characters beyond a cut that are looked at: a longer secret may be seen in part."""

_NO_PLURAL = frozenset({"token"})
"""``max_tokens`` and its like are counts of every language model."""
_SEPARATORS = re.compile(r"[\W\d_]+|(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_QUOTED_KEY = re.compile(r"""(["'])([^"'\\\n]{1,128})\\*\1(?:\s|\\+[nrtf])*:""")
_REMEMBERED = 4096
_LONGEST_KEY = 512
_MAX_DEPTH = 64

Callback = Callable[[str], str | None]
"""Takes a text that is about to leave and returns what leaves instead; None hides it."""


class Mask:
    """
    What to hide, by keys, patterns and a callback. Safe to use from any thread; never raises.

    keys: words; a value is hidden whose key has one of them as a word (``userPassword``,
    ``db.password``). patterns: what they match becomes ``***``, in texts and in whole
    numbers. callback: see ``Callback``; it may get what it has returned once more.
    item_id_key: when given, item ids leave as their HMAC with it.
    """

    def __init__(
        self,
        keys: Iterable[str] = KEYS,
        patterns: Iterable[str | re.Pattern[str]] = (),
        callback: Callback | None = None,
        item_id_key: bytes | None = None,
    ) -> None:
        forms = [_form(key) for key in keys]
        self._keys = re.compile("|".join(forms)) if forms else None
        self._patterns = tuple(re.compile(pattern) for pattern in patterns)
        self._callback = callback
        self._item_id_key = item_id_key
        self._hidden: dict[str, bool] = {}
        self.searches = bool(self._patterns) or callback is not None
        """Whether each text has to be looked at, not only what stands under a key."""
        self.hashes_item_ids = item_id_key is not None
        self.failed: Callable[[str], None] | None = None
        """Told when a pattern or the callback failed; by the kind of error, without the value."""

    def hides(self, key: str) -> bool:
        """Whether the value under this key, or of the attribute of this name, is hidden."""
        known = self._hidden.get(key)
        if known is None:
            words = _SEPARATORS.sub("_", key[:_LONGEST_KEY]).lower()
            known = self._keys is not None and self._keys.search(f"_{words}_") is not None
            if len(self._hidden) >= _REMEMBERED:
                self._hidden.clear()
            if len(key) <= _LONGEST_KEY:
                self._hidden[key] = known
        return known

    def text(self, text: str) -> str:
        """The text as it may leave; where nothing is hidden, the text itself."""
        try:
            if ":" in text and ('"' in text or "'" in text):
                structured = self._structured(text)
                if structured is not None:
                    return structured
            return self._search(text) if self.searches else text
        except Exception as error:  # noqa: BLE001 - a mask that fails lets nothing through
            return self._fail(error)

    def window(self, text: str, length: int) -> str:
        """As ``text``, of a text that is cut to ``length`` afterwards; looks a little further than that."""
        if len(text) <= length + SPAN:
            return self.text(text)
        masked = self.text(text[: length + SPAN])
        # The end of what was looked at may be the beginning of a secret.
        return (masked[:-SPAN] or MASKED[: len(masked)]) + "…"

    def number(self, value: Any) -> Any:
        """A plain number, or ``***`` when a pattern or the callback hides it as text."""
        if not self.searches or type(value) is bool:
            return value
        digits = digits_of(value)
        return value if self.text(digits) == digits else MASKED

    def finds_nothing(self, texts: Collection[str]) -> bool:
        """Whether these surely leave as they are, without a call per text; False when that is not known."""
        if self._callback is not None:
            return False
        together = "\n".join(texts)
        if ":" in together and ('"' in together or "'" in together):
            return False
        try:
            return not any(any(map(pattern.search, texts)) for pattern in self._patterns)
        except Exception:  # noqa: BLE001 - then each text is masked, and dropped where that fails
            return False

    def item_id(self, item_id: str) -> str:
        """An item's id as it may leave: its HMAC-SHA256 as 32 hex digits when ids are hashed."""
        if self._item_id_key is None:
            return self.text(item_id)
        data = item_id.encode("utf-8", "surrogatepass")
        return hmac.digest(self._item_id_key, data, "sha256")[:16].hex()

    def payload(self, data: bytes) -> bytes:
        """The bytes of an artifact as they may leave."""
        try:
            text, encoding = data.decode("utf-8"), "utf-8"
        except UnicodeDecodeError:
            if not self.searches:
                return data
            text, encoding = data.decode("latin-1"), "latin-1"  # a letter per byte, whatever they are
        masked = self.text(text)
        if masked is text or masked == text:
            return data
        return masked.encode(encoding, "replace")

    def tree(self, node: Any, depth: int = 0) -> Any:
        """A parsed JSON value as it may leave; texts that are JSON are looked into."""
        kind = type(node)
        if kind is str:
            return self.text(node)
        if kind is dict or kind is list:
            if depth >= _MAX_DEPTH:
                return FAILED
            if kind is list:
                if is_pair(node) and self.hides(node[0]):
                    return [self.text(node[0]), MASKED]
                return [self.tree(entry, depth + 1) for entry in node]
            hidden = self.hides_value_of(node)
            return {
                self.text(key): MASKED
                if self.hides(key) or (hidden and key == "value")
                else self.tree(value, depth + 1)
                for key, value in node.items()
            }
        return self.number(node) if kind is int or kind is float else node

    def hides_value_of(self, node: Any) -> bool:
        """Whether it is ``{"name": <a key that is hidden>, "value": …}``, as headers are often written."""
        if "value" not in node:
            return False
        name = node.get("name", node.get("key"))
        return isinstance(name, str) and self.hides(name)

    def _structured(self, text: str) -> str | None:
        """The text without what stands under hidden keys in it; None when it has no such structure."""
        hit = next(filter(self._names_hidden, _QUOTED_KEY.finditer(text)), None)
        if text.lstrip()[:1] in ("{", "[") and (hit is not None or self.searches or "\\u" in text):
            try:
                tree = json.loads(text)
            except (ValueError, RecursionError):
                pass
            else:
                masked = self.tree(tree)
                return text if masked == tree else json.dumps(masked, ensure_ascii=False)
        if hit is None:
            return None
        # Neither JSON nor whole: where the hidden value ends cannot be told.
        text = text[: hit.start()]
        return (self._search(text) if self.searches else text) + MASKED

    def _names_hidden(self, match: re.Match[str]) -> bool:
        return self.hides(match[2])

    def _search(self, text: str) -> str:
        for pattern in self._patterns:
            text = pattern.sub(MASKED, text)
        if self._callback is None:
            return text
        left = self._callback(text)
        if left is None:
            return MASKED
        if not isinstance(left, str):
            raise TypeError("a mask returns text or None")
        return str.__str__(left)

    def _fail(self, error: Exception) -> str:
        report = self.failed
        if report is not None:
            report(f"the mask failed with {type(error).__name__}; what it was given is dropped")
        return FAILED


def digits_of(value: int | float) -> str:
    """How a pattern sees a number: a whole one without a point."""
    try:
        return str(int(value)) if value % 1 == 0 else repr(value)
    except Exception:  # noqa: BLE001 - infinite, or too long to be written
        return ""


def is_pair(node: Sequence[Any]) -> bool:
    """Whether a sequence is (name, value), as headers are often written."""
    return len(node) == 2 and type(node[0]) is str


def _form(key: str) -> str:
    words = [re.escape(word) for word in _SEPARATORS.sub("_", key).lower().split("_") if word]
    if not words:
        raise ValueError(key)
    plural = "" if words[-1] in _NO_PLURAL else "s?"
    return f"_{'_?'.join(words)}{plural}_"


def key_words(changes: Iterable[str]) -> tuple[str, ...]:
    """``KEYS`` with these added; ``!word`` takes one out."""
    changes = tuple(changes)
    taken = {word[1:] for word in changes if word.startswith("!")}
    added = [word for word in changes if not word.startswith("!")]
    return tuple(word for word in dict.fromkeys([*KEYS, *added]) if word not in taken)


def closed() -> Mask:
    """A mask that lets no text through: for settings that do not say what is to be hidden."""

    def refuse(_: str) -> str:
        return FAILED

    return Mask(callback=refuse, item_id_key=secrets.token_bytes(32))


current = Mask()
"""The mask of this process, as the client is one per process; ``configure()`` replaces it."""


def install(mask: Mask) -> None:
    """Makes it the mask of this process."""
    global current
    current = mask
