-- Posts a minute over the last 31 days, for a time line.
-- A post counts as X delivers and bills it: reposts, replies, quotes and each version of an edited
-- post count as one each. The columns beside `posts` tell them apart; a post may be in more than one.
--
-- minute DATETIME: start of the minute in which the post was created, UTC
-- posts INTEGER: posts of all kinds
-- reposts INTEGER: of them, reposts (retweets)
-- quotes INTEGER: of them, quotes
-- replies INTEGER: of them, replies
SELECT
  DATETIME_TRUNC(post.created_at, MINUTE) AS minute,
  COUNT(DISTINCT post.id) AS posts,
  COUNT(DISTINCT IF(referenced.type = 'retweeted', post.id, NULL)) AS reposts,
  COUNT(DISTINCT IF(referenced.type = 'quoted', post.id, NULL)) AS quotes,
  COUNT(DISTINCT IF(referenced.type = 'replied_to', post.id, NULL)) AS replies
FROM `${dataset}.tweets_latest` AS post
LEFT JOIN UNNEST(post.referenced_posts) AS referenced
WHERE post.created_at >= DATETIME(TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL 31 DAY))
GROUP BY 1
