-- The hundred most used hashtags of each of the last 31 days.
-- Case and Unicode's forms of one letter are folded (#BTS is #bts) and a post counts once a hashtag.
-- A repost counts: it carries the tag.
--
-- day DATE: day on which the post was created, UTC
-- hashtag STRING: without #, case folded, in Unicode NFC
-- posts INTEGER: posts of the day that carry it
SELECT
  DATE(created_at) AS day,
  NORMALIZE_AND_CASEFOLD(tag, NFC) AS hashtag,
  COUNT(DISTINCT id) AS posts
FROM `${dataset}.tweets_latest`
CROSS JOIN UNNEST(hashtags) AS tag
WHERE created_at >= DATETIME(TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL 31 DAY))
GROUP BY 1, 2
QUALIFY ROW_NUMBER() OVER (PARTITION BY day ORDER BY posts DESC, hashtag) <= 100
