"""Names that BigQuery takes only in backticks, which the engine below takes as they are.

Source of the list: docs.cloud.google.com/bigquery/docs/reference/standard-sql/lexical, reserved
keywords. After a dot any word is a name (`event.at`), everywhere else these are not.
"""

from __future__ import annotations

from functools import lru_cache

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

_WORDS = (
    "ALL AND ANY ARRAY AS ASC ASSERT_ROWS_MODIFIED AT BETWEEN BY CASE CAST COLLATE CONTAINS CREATE "
    "CROSS CUBE CURRENT DEFAULT DEFINE DESC DISTINCT ELSE END ENUM ESCAPE EXCEPT EXCLUDE EXISTS "
    "EXTRACT FALSE FETCH FOLLOWING FOR FROM FULL GROUP GROUPING GROUPS HASH HAVING IF IGNORE IN "
    "INNER INTERSECT INTERVAL INTO IS JOIN LATERAL LEFT LIKE LIMIT LOOKUP MERGE NATURAL NEW NO NOT "
    "NULL NULLS OF ON OR ORDER OUTER OVER PARTITION PRECEDING PROTO QUALIFY RANGE RECURSIVE "
    "RESPECT RIGHT ROLLUP ROWS SELECT SET SOME STRUCT TABLESAMPLE THEN TO TREAT TRUE UNBOUNDED "
    "UNION UNNEST USING WHEN WHERE WINDOW WITH WITHIN"
)
RESERVED = frozenset(_WORDS.split())


@lru_cache(maxsize=500)
def refusal(sql: str) -> str | None:
    """What BigQuery says of the first bare reserved word that is used as a name, or None."""
    try:
        statements = sqlglot.parse(sql, read="bigquery")
    except SqlglotError:
        return None  # the engine has words of its own for what nobody can parse
    for statement in statements:
        for name in statement.find_all(exp.Identifier) if statement else ():
            if not name.quoted and name.name.upper() in RESERVED and not _after_a_dot(name):
                return f"Syntax error: Unexpected keyword {name.name.upper()}"
    return None


def _after_a_dot(name: exp.Identifier) -> bool:
    parent = name.parent
    if isinstance(parent, exp.Column):
        return parent.this is name and parent.args.get("table") is not None
    return isinstance(parent, exp.Dot) and parent.expression is name
