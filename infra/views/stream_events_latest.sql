-- Exactly one row an event of the stream's life (connects, gaps, budget, dead letters), by event_id.
-- Always filter on `at`, so that only those days are billed (see tweets_latest for how).
SELECT *
FROM `${dataset}.stream_events`
WHERE TRUE
QUALIFY
  ROW_NUMBER() OVER (
    PARTITION BY event_id, at
    ORDER BY inserted_at DESC, message_id DESC
  ) = 1
