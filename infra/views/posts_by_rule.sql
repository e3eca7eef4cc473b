-- Posts by day and stream rule over the last 31 days: what each rule brings, and costs.
-- A post that matches two rules counts for both, so the sum can exceed the number of posts; under one
-- tag it counts once, however many rules have that tag.
--
-- day DATE: day on which the post was created, UTC
-- rule STRING: tag of the rule, or its id where it has no tag
-- posts INTEGER: posts of the day that matched the rule
SELECT
  DATE(created_at) AS day,
  rule,
  COUNT(DISTINCT id) AS posts
FROM `${dataset}.tweets_latest`
CROSS JOIN UNNEST(rule_tags) AS rule
WHERE created_at >= DATETIME(TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL 31 DAY))
GROUP BY 1, 2
