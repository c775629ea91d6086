-- Which rows from before the horizon still matter to an answer about the horizon or later. Times are microseconds UTC; `horizon` holds one.
-- old_<table>: the decisive columns of all rows of days before the horizon, each row once, with its position.
-- kept_floor: the lowest (run, seq) of each node among rows of later days. kept_findings: the findings that those rows are about.
-- keep_<table> is the result: positions. The reasoning follows queries/views.sql, and a property test compares all of its views.

CREATE TABLE straddling AS  -- not settled before the horizon yet: such rows stay, whatever they are
SELECT 'links' AS name, cluster, node, run, seq, position FROM old_links, horizon WHERE occurred_before >= instant
UNION ALL SELECT 'findings', cluster, node, run, seq, position FROM old_findings, horizon WHERE occurred_before >= instant
UNION ALL SELECT 'usage', cluster, node, run, seq, position FROM old_usage, horizon WHERE occurred_before >= instant
UNION ALL SELECT 'coverage', cluster, node, run, seq, position FROM old_coverage, horizon WHERE occurred_before >= instant;

CREATE TABLE lowest AS  -- of a node: the lowest (run, seq) of all rows that stay in any case; what is older cannot come back over them
SELECT cluster, node, min((run, seq)) AS first
FROM (FROM kept_floor UNION ALL SELECT cluster, node, run, seq FROM straddling WHERE seq IS NOT NULL) GROUP BY ALL;

-- A store that was recorded anew counts from that baseline on; one row of it, the first, keeps saying when that was.
CREATE TABLE resets AS
SELECT cluster, node, store_root, max(began) AS began
FROM (SELECT cluster, node, store_root, run, min(observed_at) AS began FROM old_links WHERE origin = 'baseline' GROUP BY ALL) GROUP BY ALL;

CREATE TABLE anchors AS
SELECT arg_min(l.position, (l.run, l.seq)) AS position
FROM old_links AS l JOIN resets AS r
    ON r.cluster = l.cluster AND r.node = l.node AND r.store_root IS NOT DISTINCT FROM l.store_root AND r.began = l.observed_at
WHERE l.origin = 'baseline' GROUP BY l.cluster, l.node, l.store_root;

-- links: the newest word about each link, unless it is that the link is gone. That word stays too where an older one would speak again.
CREATE TABLE settled_links AS
SELECT l.*, hash(l.cluster, l.node, l.store_root, l.link_kind, l.subject, l.subject_raw, l.file_path, l.file_path_raw) AS link
FROM old_links AS l CROSS JOIN horizon
LEFT JOIN resets AS r ON r.cluster = l.cluster AND r.node = l.node AND r.store_root = l.store_root
WHERE l.occurred_before < instant AND (r.began IS NULL OR l.observed_at >= r.began);

CREATE TABLE newest_links AS
SELECT unnest(arg_max(s, (s.run, s.seq)))
FROM settled_links AS s
GROUP BY s.cluster, s.node, s.store_root, s.link_kind, s.subject, s.subject_raw, s.file_path, s.file_path_raw;

CREATE TABLE certain_links AS
SELECT position FROM straddling WHERE name = 'links' UNION FROM anchors
UNION SELECT position FROM newest_links WHERE action <> 'removed';

CREATE TABLE keep_links AS
FROM certain_links
UNION
SELECT n.position FROM newest_links AS n LEFT JOIN lowest AS f ON f.cluster = n.cluster AND f.node = n.node
WHERE n.action = 'removed' AND (
    (n.run, n.seq) >= f.first
    OR n.link IN (
        SELECT hash(l.cluster, l.node, l.store_root, l.link_kind, l.subject, l.subject_raw, l.file_path, l.file_path_raw)
        FROM old_links AS l WHERE l.position IN (FROM certain_links) AND l.position <> n.position
    )
)
UNION  -- usage_at asks about removals of layers before a new baseline too
SELECT l.position FROM old_links AS l JOIN lowest AS f ON f.cluster = l.cluster AND f.node = l.node
WHERE l.action = 'removed' AND l.link_kind IN ('layer_directory', 'temporary_directory') AND (l.run, l.seq) >= f.first;

-- usage: the newest sample of everything that is still there.
CREATE TABLE removed_layers AS
SELECT cluster, node, store_root, layer, max((run, seq)) AS last
FROM (
    SELECT cluster, node, store_root, run, seq, unnest([subject, layer_id]) AS layer
    FROM old_links, horizon
    WHERE link_kind IN ('layer_directory', 'temporary_directory') AND action = 'removed' AND occurred_before < instant
)
WHERE layer IS NOT NULL GROUP BY ALL;

CREATE TABLE keep_usage AS
SELECT position FROM straddling WHERE name = 'usage'
UNION
SELECT n.position
FROM (
    SELECT unnest(arg_max(u, (u.run, u.seq)))
    FROM old_usage AS u, horizon WHERE u.occurred_before < instant GROUP BY u.cluster, u.node, u.store_root, u.scope, u.subject
) AS n
LEFT JOIN removed_layers AS g
    ON n.scope = 'layer' AND g.cluster = n.cluster AND g.node = n.node AND g.store_root IS NOT DISTINCT FROM n.store_root AND g.layer = n.subject
WHERE g.last IS NULL OR g.last < (n.run, n.seq);

-- findings: the newest word about each that is open, and the word that opened it.
CREATE TABLE standing_findings AS
SELECT f.cluster, f.node, f.finding_id,
    arg_max(f.position, (f.run, f.seq)) FILTER (f.occurred_before < instant) AS newest,
    arg_max(f.action, (f.run, f.seq)) FILTER (f.occurred_before < instant) AS action,
    arg_max(f.position, (f.run, f.seq)) FILTER (f.action = 'opened') AS opened,
    bool_or(f.occurred_before >= instant) AS straddles
FROM old_findings AS f CROSS JOIN horizon
LEFT JOIN resets AS r ON r.cluster = f.cluster AND r.node = f.node AND r.store_root = f.store_root
WHERE r.began IS NULL OR f.observed_at >= r.began
GROUP BY f.cluster, f.node, f.finding_id;

CREATE TABLE keep_findings AS
SELECT position FROM straddling WHERE name = 'findings'
UNION
SELECT unnest([newest, opened]) AS position
FROM standing_findings AS s
WHERE s.action <> 'closed' OR s.straddles
    OR EXISTS (FROM kept_findings AS k WHERE k.cluster = s.cluster AND k.node = s.node AND k.finding_id = s.finding_id);

-- coverage: of each store the runs that later ones are compared with, the gaps that hide something for ever, and where the processor was.
CREATE TABLE stretches AS
SELECT c.cluster, c.node, c.store_kind, c.store_root, c.run,
    min(c.observed_at) FILTER (c.kind = 'start') AS began, max(c.occurred_before) AS vouched,
    coalesce(c.run >= any_value(f.first[1]), false) OR max(c.occurred_before) >= any_value(instant) AS recent
FROM old_coverage AS c CROSS JOIN horizon LEFT JOIN lowest AS f ON f.cluster = c.cluster AND f.node = c.node
WHERE c.kind IN ('start', 'heartbeat', 'stop') GROUP BY c.cluster, c.node, c.store_kind, c.store_root, c.run;

CREATE TABLE wanted_runs AS
SELECT * FROM stretches
QUALIFY recent
    OR row_number() OVER (PARTITION BY cluster, node, store_kind, store_root ORDER BY began NULLS LAST, run) = 1
    OR row_number() OVER (PARTITION BY cluster, node, store_kind, store_root ORDER BY run DESC) = 1
    OR row_number() OVER (PARTITION BY cluster, node, store_kind, store_root, recent ORDER BY vouched DESC, run) <= 2;

CREATE TABLE lasting_gaps AS
SELECT position, run, first_seq, last_seq FROM old_coverage WHERE kind = 'gap' AND cause IN ('batch-missing', 'batch-undecodable');

CREATE TABLE keep_coverage AS
SELECT position FROM straddling WHERE name = 'coverage'
UNION
SELECT c.position FROM old_coverage AS c SEMI JOIN wanted_runs AS w ON w.cluster = c.cluster AND w.node = c.node AND w.run = c.run
WHERE c.kind IN ('start', 'stop') OR (c.kind = 'gap' AND c.cause IN ('restart', 'ledger-lost'))
UNION
SELECT unnest([arg_max(c.position, c.occurred_before), arg_max(c.position, c.seq)])
FROM old_coverage AS c JOIN wanted_runs AS w
    ON w.cluster = c.cluster AND w.node = c.node AND w.run = c.run
    AND w.store_root IS NOT DISTINCT FROM c.store_root AND w.store_kind IS NOT DISTINCT FROM c.store_kind
WHERE c.kind IN ('start', 'heartbeat', 'stop') GROUP BY c.cluster, c.node, c.store_kind, c.store_root, c.run
UNION
SELECT position FROM lasting_gaps
UNION
SELECT b.position FROM old_coverage AS b JOIN lasting_gaps AS g ON g.run = b.run AND b.first_seq >= g.first_seq AND b.last_seq <= g.last_seq
WHERE b.kind = 'batch'
UNION
SELECT arg_max(c.position, c.batch) FROM old_coverage AS c SEMI JOIN wanted_runs AS w ON w.cluster = c.cluster AND w.node = c.node AND w.run = c.run
WHERE c.kind = 'batch' GROUP BY c.cluster, c.node, c.run
UNION
SELECT arg_max(position, source_offset) FROM old_coverage WHERE kind = 'batch' GROUP BY source;
