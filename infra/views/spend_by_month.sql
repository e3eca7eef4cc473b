-- Posts read and dollars spent on X, one row an X billing month, beside the stack's budget.
-- From the producer's usage events, which carry X's cap_reset_day, the day of the month on which
-- X counts anew (a shorter month: its last day); no event in a month, no row. X bills 0.005 dollars
-- a post read (docs.x.com/x-api/getting-started/pricing, 2026-11); its invoice has the last word.
--
-- month DATE: first day of the billing month, UTC; of the calendar month where X told no day
-- posts_used INTEGER: posts used in the month by its latest event; X's count or ours, the larger
-- post_budget INTEGER: posts allowed a month by the stack's configuration; 0 or NULL: no guard
-- dollars FLOAT: posts_used at 0.005 dollars
-- budget_dollars FLOAT: post_budget at 0.005 dollars; NULL without a guard
-- budget_used FLOAT: share of the budget used, 1.0 = all; NULL without a guard
-- at TIMESTAMP: when the latest event of the month was recorded
SELECT
  month,
  posts_used,
  post_budget,
  posts_used * CAST(0.005 AS FLOAT64) AS dollars,
  NULLIF(post_budget, 0) * CAST(0.005 AS FLOAT64) AS budget_dollars,
  posts_used / NULLIF(post_budget, 0) AS budget_used,
  `at`
FROM (
  SELECT
    IF(
      LEAST(DATE_ADD(calendar_month, INTERVAL reset_day - 1 DAY), LAST_DAY(day)) <= day,
      LEAST(DATE_ADD(calendar_month, INTERVAL reset_day - 1 DAY), LAST_DAY(day)),
      LEAST(
        DATE_ADD(DATE_SUB(calendar_month, INTERVAL 1 MONTH), INTERVAL reset_day - 1 DAY),
        DATE_SUB(calendar_month, INTERVAL 1 DAY)
      )
    ) AS month,
    posts_used,
    post_budget,
    `at`
  FROM (
    SELECT
      DATE(`at`) AS day,
      DATE_TRUNC(DATE(`at`), MONTH) AS calendar_month,
      COALESCE(SAFE_CAST(JSON_VALUE(detail, '$$.cap_reset_day') AS INT64), 1) AS reset_day,
      posts_used,
      post_budget,
      `at`
    FROM `${dataset}.stream_events_latest`
    WHERE kind = 'usage' AND posts_used IS NOT NULL
  )
)
WHERE TRUE
QUALIFY ROW_NUMBER() OVER (PARTITION BY month ORDER BY `at` DESC) = 1
