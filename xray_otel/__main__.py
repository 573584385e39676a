"""``python -m xray_otel``."""

from __future__ import annotations

import sys

from xray_otel._sync import main

if __name__ == "__main__":
    sys.exit(main())
