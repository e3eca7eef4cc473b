-- Exactly one row a tweet id: of several deliveries of one post, the one read last.
-- Read this view, not the table: X, Pub/Sub and a killed sink deliver a post twice now and then.
-- Each version of an edited post has an id of its own and so a row of its own; see tweets_current.
-- Always filter on created_at, so that only those days are billed.
--
-- Why created_at stands in PARTITION BY: it never differs between two rows of one id (the producer
-- takes it from the id, whether or not X sends it), so it changes no result, but a filter on a column of PARTITION BY may move below the window function and then
-- prunes the table's day partitions. BigQuery documents pruning for filters on the partitioning
-- column (cloud.google.com/bigquery/docs/querying-partitioned-tables) and does not document the move
-- through a window function: not verified here; a dry run of the query tells the bytes.
SELECT
  id, created_at, text, author_id, author_username, lang, conversation_id, in_reply_to_user_id,
  possibly_sensitive, hashtags, mentions, urls, referenced_posts, edit_history_ids, original_id,
  public_metrics, rule_tags, raw, source, ingested_at, published_at, inserted_at, message_id
FROM `${dataset}.tweets`
WHERE TRUE
QUALIFY
  ROW_NUMBER() OVER (
    PARTITION BY id, created_at
    ORDER BY ingested_at DESC, inserted_at DESC, message_id DESC
  ) = 1
