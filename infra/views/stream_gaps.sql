-- One row an interval without the stream: counts in these minutes are incomplete.
-- Times are DATETIME UTC, as in tweets.created_at.
--
-- gap_from DATETIME: last moment known to be covered, UTC
-- gap_to DATETIME: first moment covered again, UTC
-- seconds FLOAT: length of the gap
-- reason STRING: short cause, such as disconnected, http_429, budget, killed
-- last_id_before INTEGER: id of the last post read before
-- first_id_after INTEGER: id of the first post read after, where known
-- backfilled BOOLEAN: a backfill covers the whole gap; FALSE for ever where its begin is not known
-- reposts_missing BOOLEAN: ... by a search, and X's searches return no reposts: they stay missing
-- producer STRING: the process that saw it
-- at TIMESTAMP: when the gap was recorded; filter on it to prune partitions
SELECT
  DATETIME(gap.gap_from) AS gap_from,
  DATETIME(gap.gap_to) AS gap_to,
  TIMESTAMP_DIFF(gap.gap_to, gap.gap_from, MILLISECOND) / 1000 AS seconds,
  gap.reason,
  gap.last_id_before,
  gap.first_id_after,
  filled.event_id IS NOT NULL AS backfilled,
  COALESCE(filled.reposts_missing, FALSE) AS reposts_missing,
  gap.producer,
  gap.at
FROM `${dataset}.stream_events_latest` AS gap
LEFT JOIN (
  SELECT
    gap.event_id,
    LOGICAL_AND(COALESCE(JSON_VALUE(backfill.detail, '$$.reposts') = 'false', FALSE))
      AS reposts_missing
  FROM `${dataset}.stream_events_latest` AS gap
  INNER JOIN `${dataset}.stream_events_latest` AS backfill
    ON backfill.gap_from <= gap.gap_from AND backfill.gap_to >= gap.gap_to
  WHERE gap.kind = 'gap' AND backfill.kind = 'backfilled'
  GROUP BY 1
) AS filled ON filled.event_id = gap.event_id
WHERE gap.kind = 'gap'
