"""What goes from the table when posts, authors or locations are withdrawn."""

from collections.abc import Iterable

from operations.warehouse import Warehouse, parts

_GONE = "id IN UNNEST(@ids) OR original_id IN UNNEST(@ids)"
_REPEATED = (
    "EXISTS (SELECT 1 FROM UNNEST(referenced_posts) AS r "
    "WHERE r.type = 'retweeted' AND r.id IN UNNEST(@ids))"
)
_EMBEDDED = (
    "raw IS NOT NULL AND EXISTS (SELECT 1 FROM UNNEST(referenced_posts) AS r "
    "WHERE r.id IN UNNEST(@ids))"
)
_EMBEDDED_AUTHOR = (
    "raw IS NOT NULL AND EXISTS (SELECT 1 FROM UNNEST(ARRAY_CONCAT("
    "IFNULL(JSON_QUERY_ARRAY(raw, '$$.includes.tweets'), []), "
    "IFNULL(JSON_QUERY_ARRAY(raw, '$$.includes.posts'), []))) AS p "
    "WHERE SAFE_CAST(JSON_VALUE(p, '$$.author_id') AS INT64) IN UNNEST(@ids))"
)
_DELETE = "DELETE FROM `${dataset}.tweets`"
_CLEAR_RAW = "UPDATE `${dataset}.tweets` SET raw = NULL"
_CLEAR_PLACE = (
    "UPDATE `${dataset}.tweets` "
    "SET raw = JSON_REMOVE(JSON_REMOVE(raw, '$$.data.geo'), '$$.includes.places')"
)
_PLACE = (
    "id IN UNNEST(@ids) AND (JSON_QUERY(raw, '$$.data.geo') IS NOT NULL "
    "OR JSON_QUERY(raw, '$$.includes.places') IS NOT NULL)"
)


class Purge:
    """One removal from the table, and its counts.

    Args:
        warehouse: the dataset.
        act: false only counts.

    Attributes:
        removed: rows deleted.
        cleared: rows that stay without their copy of a gone post, or without their location.
        left: rows that wait in BigQuery's streaming buffer.
    """

    def __init__(self, warehouse: Warehouse, *, act: bool) -> None:
        self._warehouse = warehouse
        self._act = act
        self.removed = self.cleared = self.left = 0

    def posts(self, ids: Iterable[int]) -> None:
        """Remove posts with all their versions and retweets, and copies in quotes and replies.

        A quote or reply stays; X deletes retweets with their post. Where the gone post is
        embedded in `raw`, all of `raw` goes.
        """
        for part in parts(ids):
            self.removed += self._change(_DELETE, f"({_GONE} OR {_REPEATED})", part)
            embedded = f"NOT ({_GONE} OR {_REPEATED}) AND {_EMBEDDED}"
            self.cleared += self._change(_CLEAR_RAW, embedded, part)

    def authors(self, ids: Iterable[int]) -> None:
        """Remove every post of these authors, and copies of others embedded in `raw`."""
        for part in parts(ids):
            self.removed += self._change(_DELETE, "author_id IN UNNEST(@ids)", part)
            embedded = f"IFNULL(author_id NOT IN UNNEST(@ids), TRUE) AND {_EMBEDDED_AUTHOR}"
            self.cleared += self._change(_CLEAR_RAW, embedded, part)

    def places(self, ids: Iterable[int]) -> None:
        """Remove the location of posts that stay; only `raw` can hold one."""
        for part in parts(ids):
            self.cleared += self._change(_CLEAR_PLACE, _PLACE, part)

    def _change(self, statement: str, condition: str, ids: list[int]) -> int:
        held = self._warehouse.count(condition, ids)
        if not held or not self._act:
            return held
        self._warehouse.change(statement, condition, ids)
        left = self._warehouse.count(condition, ids)
        self.left += left
        return held - left
