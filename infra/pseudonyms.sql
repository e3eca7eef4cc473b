-- Posts without names, one row a post: each id and handle is replaced by a keyed hash.
-- Hashes are HMAC-SHA256, 32 hex digits, each over its kind: the same author, post or handle has the
-- same hash in every row, a hash of a post is never one of a user. No raw line, no links.
-- What it does not protect against stands in docs/operate.md: read that before you hand it out.
-- Always filter on created_at, so that only those days are billed.
--
-- post STRING: hash of the post's id
-- original STRING: hash of the id of the post's first version
-- created_at DATETIME: when X created the post, UTC
-- author STRING: hash of the author's X user id
-- author_handle STRING: hash of the author's handle in lower case, as in mentions
-- lang STRING: BCP 47 tag that X detected
-- conversation STRING: hash of the id of the post that started the conversation
-- in_reply_to_author STRING: hash of the X user id that the post replies to
-- possibly_sensitive BOOLEAN: X's own mark for sensitive links
-- hashtags STRING: hashtags without #, as written
-- mentions STRING: hashes of the handles mentioned, in lower case
-- links INTEGER: how many links the post has
-- referenced_posts RECORD: type, and hash of the id, of the posts that it refers to
-- public_metrics RECORD: counts when the post was read
-- rule_tags STRING: hashes of the tags of the rules that the post matched: a tag may be a query
-- source STRING: stream or backfill
-- ingested_at TIMESTAMP: when the producer read the post
SELECT
  PSEUDONYM('post', post.id) AS post,
  PSEUDONYM('post', post.original_id) AS original,
  post.created_at,
  PSEUDONYM('user', post.author_id) AS author,
  PSEUDONYM('handle', post.author_username) AS author_handle,
  post.lang,
  PSEUDONYM('post', post.conversation_id) AS conversation,
  PSEUDONYM('user', post.in_reply_to_user_id) AS in_reply_to_author,
  post.possibly_sensitive,
  post.hashtags,
  ARRAY(
    SELECT PSEUDONYM('handle', mention) FROM UNNEST(post.mentions) AS mention
  ) AS mentions,
  ARRAY_LENGTH(post.urls) AS links,
  ARRAY(
    SELECT AS STRUCT referenced.type, PSEUDONYM('post', referenced.id) AS post
    FROM UNNEST(post.referenced_posts) AS referenced
  ) AS referenced_posts,
  post.public_metrics,
  ARRAY(
    SELECT PSEUDONYM('tag', digest)
    FROM (SELECT TO_HEX(SHA256(tag)) AS digest FROM UNNEST(post.rule_tags) AS tag)
  ) AS rule_tags,
  post.source,
  post.ingested_at${text}
FROM `${dataset}.tweets` AS post
CROSS JOIN `${key}` AS key
WHERE TRUE
QUALIFY
  -- One row a post, by the same rule as tweets_latest.
  ROW_NUMBER() OVER (
    PARTITION BY post.id, post.created_at
    ORDER BY post.ingested_at DESC, post.inserted_at DESC, post.message_id DESC
  ) = 1
