-- How long a post takes to become a row, by minute, over the last 31 days.
-- Posts from the stream only: a backfilled post is late by nature. Approximate quantiles (1 %).
--
-- minute DATETIME: start of the minute in which the post was created, UTC
-- posts INTEGER: posts measured
-- post_to_row_p50_ms INTEGER: median of inserted_at - created_at; holds X's own delay
-- post_to_row_p99_ms INTEGER: 99th percentile of the same
-- read_to_row_p50_ms INTEGER: median of inserted_at - ingested_at: this pipeline alone
-- read_to_row_p99_ms INTEGER: 99th percentile of the same
SELECT
  minute,
  COUNT(*) AS posts,
  APPROX_QUANTILES(post_to_row_ms, 100)[OFFSET(50)] AS post_to_row_p50_ms,
  APPROX_QUANTILES(post_to_row_ms, 100)[OFFSET(99)] AS post_to_row_p99_ms,
  APPROX_QUANTILES(read_to_row_ms, 100)[OFFSET(50)] AS read_to_row_p50_ms,
  APPROX_QUANTILES(read_to_row_ms, 100)[OFFSET(99)] AS read_to_row_p99_ms
FROM (
  SELECT
    DATETIME_TRUNC(created_at, MINUTE) AS minute,
    DATETIME_DIFF(DATETIME(inserted_at), created_at, MILLISECOND) AS post_to_row_ms,
    TIMESTAMP_DIFF(inserted_at, ingested_at, MILLISECOND) AS read_to_row_ms
  FROM `${dataset}.tweets_latest`
  WHERE
    created_at >= DATETIME(TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL 31 DAY))
    AND inserted_at IS NOT NULL
    AND COALESCE(source, 'stream') = 'stream'
)
GROUP BY 1
