-- One row a post, as it reads now: the newest version of an edited post, found by original_id.
-- A version not (yet) delivered cannot be shown: X streams an edit only where it matches a rule.
-- A filter on created_at bills the whole table here, since the versions of one post may lie on two
-- days: filter on original_id or clustering columns, or use tweets_latest for counts by time.
SELECT
  id, created_at, text, author_id, author_username, lang, conversation_id, in_reply_to_user_id,
  possibly_sensitive, hashtags, mentions, urls, referenced_posts, edit_history_ids, original_id,
  public_metrics, rule_tags, raw, source, ingested_at, published_at, inserted_at, message_id
FROM `${dataset}.tweets_latest`
WHERE TRUE
QUALIFY
  -- Snowflake ids grow with time, so the largest id is the newest version.
  ROW_NUMBER() OVER (PARTITION BY original_id ORDER BY id DESC) = 1
