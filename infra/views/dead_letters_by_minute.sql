-- Dead letters by minute and reason over the last 31 days; `tweets redrive` lists and resends them.
--
-- minute DATETIME: start of the minute in which the message was published, UTC
-- reason STRING: malformed_line, malformed_message, schema, too_large, row_rejected or partly_written
-- dead_letters INTEGER: messages set aside
SELECT
  DATETIME_TRUNC(DATETIME(`at`), MINUTE) AS minute,
  COALESCE(reason, 'unknown') AS reason,
  COUNT(*) AS dead_letters
FROM `${dataset}.stream_events_latest`
WHERE
  kind = 'dead_letter'
  AND `at` >= TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL 31 DAY)
GROUP BY 1, 2
