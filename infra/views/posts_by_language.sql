-- Posts by day and language over the last 31 days.
-- Counts as posts_by_minute does: each post that X delivers is one, reposts and edits included.
--
-- day DATE: day on which the post was created, UTC
-- lang STRING: BCP 47 tag that X detected; 'und' where it could not, or said nothing
-- posts INTEGER: posts of the day in the language
SELECT
  DATE(created_at) AS day,
  COALESCE(lang, 'und') AS lang,
  COUNT(*) AS posts
FROM `${dataset}.tweets_latest`
WHERE created_at >= DATETIME(TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL 31 DAY))
GROUP BY 1, 2
