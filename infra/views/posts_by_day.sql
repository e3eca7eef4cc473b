-- Posts a day, for as long as the table keeps them: the long view of the volume and its price.
-- Counts as posts_by_minute does: each post that X delivers is one, reposts and edits included.
--
-- day DATE: day on which the post was created, UTC
-- posts INTEGER: posts of all kinds
-- authors INTEGER: distinct authors
-- languages INTEGER: distinct languages
SELECT
  DATE(created_at) AS day,
  COUNT(*) AS posts,
  COUNT(DISTINCT author_id) AS authors,
  COUNT(DISTINCT lang) AS languages
FROM `${dataset}.tweets_latest`
GROUP BY 1
