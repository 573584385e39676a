"""
Who may read the public views (schema ``xray_public``, made by the migrations) with SQL.
"""

from __future__ import annotations

import psycopg
from psycopg import sql

from store.database import libpq_url
from store.errors import Unavailable, XRayStoreError

SCHEMA = "xray_public"
VIEWS = ("runs", "steps", "reasons", "outcomes", "step_hours")


class CannotGrant(XRayStoreError):
    """The role is unknown, or whoever asks may not give rights."""


def grant_reader(url: str, role: str) -> None:
    """
    Let a role that exists read the views, those of later versions too, and nothing else of ours.

    Raises ``CannotGrant`` and ``Unavailable``.
    """
    schema, reader = sql.Identifier(SCHEMA), sql.Identifier(role)
    try:
        with psycopg.connect(libpq_url(url)) as connection:
            connection.execute(sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(schema, reader))
            connection.execute(
                sql.SQL("GRANT SELECT ON ALL TABLES IN SCHEMA {} TO {}").format(schema, reader)
            )
            # Of views that a later migration makes, as long as the same role migrates.
            connection.execute(
                sql.SQL("ALTER DEFAULT PRIVILEGES IN SCHEMA {} GRANT SELECT ON TABLES TO {}").format(
                    schema, reader
                )
            )
    except (psycopg.errors.UndefinedObject, psycopg.errors.ReservedName):
        raise CannotGrant(f"the database has no role {role!r}; CREATE ROLE … LOGIN makes one") from None
    except psycopg.errors.InvalidSchemaName:
        raise CannotGrant("the database has no views yet; run xray db upgrade") from None
    except psycopg.errors.InsufficientPrivilege as exc:
        raise CannotGrant(
            f"the role of the database URL may not give this right: {exc.diag.message_primary}"
        ) from exc
    except psycopg.OperationalError as exc:
        raise Unavailable("the database cannot be reached") from exc
