-- The hundred authors with most posts of each of the last 31 days, reposts by them included.
-- An author is an author_id; the handle shown is the one of the day's latest post.
--
-- day DATE: day on which the post was created, UTC
-- author_id INTEGER: X user id
-- author STRING: handle without @, or the id where X gave none
-- posts INTEGER: posts of the day by the author
SELECT
  DATE(created_at) AS day,
  author_id,
  COALESCE(MAX_BY(author_username, created_at), CAST(author_id AS STRING)) AS author,
  COUNT(*) AS posts
FROM `${dataset}.tweets_latest`
WHERE
  created_at >= DATETIME(TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL 31 DAY))
  AND author_id IS NOT NULL
GROUP BY 1, 2
QUALIFY ROW_NUMBER() OVER (PARTITION BY day ORDER BY posts DESC, author_id) <= 100
