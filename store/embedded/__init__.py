"""
A real PostgreSQL in a folder, run by this process and gone with it.

``EmbeddedPostgres(data_dir)`` is all that others use. The files: ``binaries`` finds the
programs, ``identity`` decides as whom they run (PostgreSQL refuses root), ``enter`` is the
script between fork and exec, ``process`` runs programs through it, ``folder`` knows what lies
in the data folder, ``server`` puts it together.
"""

from store.embedded.server import EmbeddedPostgres

__all__ = ["EmbeddedPostgres"]
