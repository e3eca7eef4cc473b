-- Exactly one row an event of the stream's life (connects, gaps, budget, dead letters), by event_id.
-- Always filter on `at`, so that only those days are billed (see tweets_latest for how).
SELECT
  event_id, kind, `at`, gap_from, gap_to, reason, last_id_before, first_id_after, posts_used,
  post_budget, detail, producer, sink, published_at, inserted_at, message_id
FROM `${dataset}.stream_events`
WHERE TRUE
QUALIFY
  ROW_NUMBER() OVER (
    PARTITION BY event_id, `at`
    ORDER BY inserted_at DESC, message_id DESC
  ) = 1
