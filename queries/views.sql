-- What people query, over the four base views (links, findings, usage, coverage), which hide rows that were stored twice.
--
-- A change is known to have happened in an interval (occurred_after, occurred_before]. At an instant t inside it nobody knows whether it had
-- happened yet, so every "_at(t)" macro says certainty = 'certain' or 'possible', and gives both sides where both may have been true.
-- A change without occurred_after was found by the first reading of a run: it may have happened since the run before it ended (its restart
-- gap), or, where there was none, at any time before; then it counts from the beginning of that reading on, and before nothing is known.
-- Within a node, changes are ordered by (run, seq), which does not depend on the wall clock; run names begin with their start time.

CREATE MACRO lake.resets(t) AS TABLE
SELECT cluster, node, store_root, max(began) AS began
FROM (
    SELECT cluster, node, store_root, run, min(observed_at) AS began
    FROM links WHERE origin = 'baseline' AND observed_at <= t::TIMESTAMPTZ GROUP BY ALL
)
GROUP BY ALL;

-- What few rows of coverage say of runs is read once: nearly all others are heartbeats and batches.

CREATE TABLE lake.starts_and_gaps AS FROM coverage WHERE kind IN ('gap', 'start');

CREATE VIEW lake.run_bounds AS
SELECT cluster, node, run, store_root,
    coalesce(min(occurred_after) FILTER (kind = 'gap' AND cause = 'restart'), min(occurred_after) FILTER (kind = 'start')) AS earliest
FROM lake.starts_and_gaps GROUP BY ALL;

CREATE MACRO lake.settled_links(t) AS TABLE
SELECT l.*
FROM links AS l
LEFT JOIN lake.resets(t) AS r ON r.cluster = l.cluster AND r.node = l.node AND r.store_root = l.store_root
WHERE l.occurred_before <= t::TIMESTAMPTZ AND (r.began IS NULL OR l.observed_at >= r.began);

CREATE MACRO lake.moving_links(t) AS TABLE
SELECT l.*
FROM links AS l
LEFT JOIN lake.run_bounds AS b ON b.cluster = l.cluster AND b.node = l.node AND b.run = l.run AND b.store_root = l.store_root
WHERE l.occurred_before > t::TIMESTAMPTZ AND coalesce(l.occurred_after, b.earliest) < t::TIMESTAMPTZ;

-- Of the links of some kinds (a list; null: of all), because only what stands in here is left out before the newest of each is looked for.

CREATE MACRO lake.links_of(t, kinds) AS TABLE
WITH
newest AS (
    SELECT cluster, node, max((run, seq)) AS last
    FROM lake.settled_links(t) WHERE kinds IS NULL OR list_contains(kinds, link_kind)
    GROUP BY cluster, node, store_root, link_kind, subject, subject_raw, file_path, file_path_raw
),
moving AS MATERIALIZED (FROM lake.moving_links(t) WHERE kinds IS NULL OR list_contains(kinds, link_kind)),
doubted AS (SELECT DISTINCT cluster, node, store_root, link_kind, subject, subject_raw, file_path, file_path_raw FROM moving)
SELECT k.*, CASE WHEN d.node IS NULL THEN 'certain' ELSE 'possible' END AS certainty
FROM lake.settled_links(t) AS k
JOIN newest AS n ON n.cluster = k.cluster AND n.node = k.node AND n.last[1] = k.run AND n.last[2] = k.seq
LEFT JOIN doubted AS d
    ON d.cluster = k.cluster AND d.node = k.node AND d.store_root IS NOT DISTINCT FROM k.store_root AND d.link_kind = k.link_kind
    AND d.subject = k.subject AND d.subject_raw IS NOT DISTINCT FROM k.subject_raw
    AND d.file_path IS NOT DISTINCT FROM k.file_path AND d.file_path_raw IS NOT DISTINCT FROM k.file_path_raw
WHERE k.action <> 'removed' AND (kinds IS NULL OR list_contains(kinds, k.link_kind))
UNION ALL BY NAME
SELECT *, 'possible' AS certainty FROM moving WHERE action <> 'removed';

-- links_at(t): a link as it stood at instant t, with the columns of links for the change that made it so, and
-- certainty. A store that was recorded anew from the beginning (a second baseline) counts from that baseline on.
CREATE MACRO links_at(t) AS TABLE FROM lake.links_of(t, NULL);

-- findings_at(t): a finding that was open at instant t, as it last stood, with the interval in which it was opened
-- (opened_after, opened_before) and certainty.
CREATE MACRO findings_at(t) AS TABLE
WITH
known AS (
    SELECT f AS finding, f.cluster, f.node, f.finding_id, f.subject, f.run, f.seq, f.action, f.occurred_after, f.occurred_before,
        f.occurred_before <= t::TIMESTAMPTZ AS settled
    FROM findings AS f
    LEFT JOIN lake.run_bounds AS b
        ON b.cluster = f.cluster AND b.node = f.node AND b.run = f.run AND b.store_root IS NOT DISTINCT FROM f.store_root
    LEFT JOIN lake.resets(t) AS r ON r.cluster = f.cluster AND r.node = f.node AND r.store_root = f.store_root
    WHERE (f.occurred_before <= t::TIMESTAMPTZ OR coalesce(f.occurred_after, b.earliest) < t::TIMESTAMPTZ)
      AND (r.began IS NULL OR f.observed_at >= r.began)
),
grouped AS (  -- an id is of one subject; named, what a question says of it holds before rows are gathered
    SELECT cluster AS of_cluster, node AS of_node, subject AS of_subject,
        arg_max(finding, (run, seq)) FILTER (settled) AS stands,
        arg_max(finding, (run, seq)) FILTER (NOT settled AND action <> 'closed') AS perhaps,
        coalesce(bool_or(NOT settled AND action = 'closed'), false) AS perhaps_closed,
        arg_max({'after': occurred_after, 'before': occurred_before}, (run, seq)) FILTER (action = 'opened') AS opened
    FROM known GROUP BY cluster, node, finding_id, subject
)
SELECT * EXCLUDE (of_cluster, of_node, of_subject) REPLACE (of_cluster AS cluster, of_node AS node, of_subject AS subject)
FROM (
    SELECT of_cluster, of_node, of_subject, unnest(CASE WHEN stands.action <> 'closed' THEN stands ELSE perhaps END),
        opened.after AS opened_after, opened.before AS opened_before,
        CASE WHEN stands.action <> 'closed' AND NOT perhaps_closed THEN 'certain' ELSE 'possible' END AS certainty
    FROM grouped
    WHERE stands.action <> 'closed' OR perhaps IS NOT NULL
);

-- leaks: a leak that is open at the end of the record.
CREATE VIEW leaks AS
SELECT * FROM findings_at('infinity') WHERE family = 'leaks';

-- usage_at(t): the newest size sample of a layer, store or filesystem at instant t; layers removed since are left out.
CREATE MACRO usage_at(t) AS TABLE
WITH
newest AS (  -- of a run by number, then of all runs: cheaper than comparing (run, seq) row by row
    SELECT cluster, node, scope, subject, max(run) AS run, arg_max(seq, run) AS seq
    FROM (
        SELECT cluster, node, store_root, scope, subject, run, max(seq) AS seq
        FROM usage WHERE occurred_before <= t::TIMESTAMPTZ GROUP BY cluster, node, store_root, scope, subject, run
    )
    GROUP BY cluster, node, store_root, scope, subject
),
gone AS (  -- the scope is a column, so that a question about others does not look
    SELECT 'layer' AS scope, cluster, node, store_root, layer, max((run, seq)) AS last
    FROM (
        SELECT cluster, node, store_root, run, seq, subject AS layer
        FROM links WHERE link_kind IN ('layer_directory', 'temporary_directory') AND action = 'removed' AND occurred_before <= t::TIMESTAMPTZ
        UNION ALL
        SELECT cluster, node, store_root, run, seq, layer_id AS layer
        FROM links WHERE link_kind IN ('layer_directory', 'temporary_directory') AND action = 'removed' AND occurred_before <= t::TIMESTAMPTZ
    )
    GROUP BY ALL
)
SELECT u.*
FROM usage AS u
JOIN newest AS n  -- scope and subject follow from the rest; named, what a question says of them holds here too
    ON n.cluster = u.cluster AND n.node = u.node AND n.scope = u.scope AND n.subject = u.subject AND n.run = u.run AND n.seq = u.seq
LEFT JOIN gone AS g
    ON g.scope = u.scope AND g.cluster = u.cluster AND g.node = u.node AND g.store_root IS NOT DISTINCT FROM u.store_root AND g.layer = u.subject
WHERE u.occurred_before <= t::TIMESTAMPTZ AND (g.last IS NULL OR g.last < (u.run, u.seq));

-- growth: a size sample beside the one before it of the same layer, store or filesystem: growth_bytes and growth_inodes in so
-- many seconds. A first sample has none.
CREATE VIEW growth AS
SELECT cluster, node, store_kind, store_root, scope, subject, role, previous_at, occurred_before AS sampled_at,
    date_diff('microsecond', previous_at, occurred_before) / 1000000 AS seconds, bytes, previous_bytes, bytes - previous_bytes AS growth_bytes,
    inodes - previous_inodes AS growth_inodes, container_name, container_image_name, k8s_namespace_name, k8s_pod_name
FROM (
    SELECT *, lag(bytes) OVER earlier AS previous_bytes, lag(inodes) OVER earlier AS previous_inodes, lag(occurred_before) OVER earlier AS previous_at
    FROM usage WINDOW earlier AS (PARTITION BY cluster, node, store_root, scope, subject ORDER BY run, seq)
);

-- layers_at(t): a layer as it stood at instant t: its record, directory, parent, what holds it (images, containers,
-- leases, names), its newest measured bytes, and certainty.
CREATE MACRO layers_at(t) AS TABLE
WITH
now_links AS MATERIALIZED (
    SELECT cluster, node, store_kind, store_root, link_kind, subject, target, layer_id, link_state, file_path, occurred_before, certainty
    FROM lake.links_of(t, ['layer_record', 'layer_directory', 'parent_pointer', 'image_layer', 'container_layer', 'lease', 'layer_name'])
),
sides AS (
    SELECT *, coalesce(layer_id, subject) AS layer FROM now_links WHERE link_kind IN ('layer_record', 'layer_directory', 'parent_pointer')
    UNION ALL
    SELECT *, target AS layer FROM now_links WHERE link_kind IN ('image_layer', 'container_layer', 'lease', 'layer_name')
),
layers AS (
    SELECT cluster, node, any_value(store_kind) AS store_kind, store_root, layer AS layer_id,
        any_value(link_state) FILTER (link_kind = 'layer_record') AS record,
        any_value(link_state) FILTER (link_kind = 'layer_directory') AS directory,
        any_value(file_path) FILTER (link_kind = 'layer_directory') AS directory_path,
        any_value(target) FILTER (link_kind = 'parent_pointer') AS parent,
        list_sort(list_distinct(coalesce(list(subject) FILTER (link_kind = 'image_layer'), []))) AS images,
        list_sort(list_distinct(coalesce(list(subject) FILTER (link_kind = 'container_layer'), []))) AS containers,
        list_sort(list_distinct(coalesce(list(subject) FILTER (link_kind = 'lease'), []))) AS leases,
        list_sort(list_distinct(coalesce(list(subject) FILTER (link_kind = 'layer_name'), []))) AS names,
        CASE WHEN bool_and(certainty = 'certain') THEN 'certain' ELSE 'possible' END AS certainty
    FROM sides WHERE layer IS NOT NULL GROUP BY cluster, node, store_root, layer
)
SELECT l.*, u.bytes, u.recorded_bytes, u.role
FROM layers AS l
LEFT JOIN (SELECT * FROM usage_at(t) WHERE scope = 'layer') AS u
    ON u.cluster = l.cluster AND u.node = l.node AND u.store_root IS NOT DISTINCT FROM l.store_root AND u.subject = l.layer_id;

-- owners: whom a layer, image or container id belonged to, kept after deletion, with when that was first and last said.
CREATE VIEW owners AS
SELECT cluster, node, store_kind, store_root, id, k8s_namespace_name, k8s_pod_name, k8s_pod_uid, container_id, container_name,
    container_image_id, container_image_name, min(occurred_before) AS first_seen, max(occurred_before) AS last_seen
FROM (
    SELECT *, layer_id AS id FROM links WHERE layer_id IS NOT NULL
    UNION ALL
    SELECT *, subject AS id FROM links WHERE link_kind IN ('container_record', 'container_layer', 'image_record', 'image_layer')
)
WHERE coalesce(k8s_pod_uid, k8s_pod_name, container_id, container_name, container_image_id, container_image_name) IS NOT NULL
GROUP BY ALL;

CREATE TABLE lake.recorded_runs AS
SELECT cluster, node, store_kind, store_root, run,
    min(observed_at) FILTER (kind = 'start') AS began,
    max(occurred_before) AS vouched,
    arg_max(kind, seq) = 'stop' AS stopped
FROM coverage WHERE kind IN ('start', 'heartbeat', 'stop') AND store_root IS NOT NULL GROUP BY ALL;

CREATE VIEW lake.arrived_late AS
SELECT DISTINCT g.cluster, g.node, g.run, g.first_seq, g.last_seq
FROM lake.starts_and_gaps AS g
JOIN coverage AS b
    ON b.kind = 'batch' AND b.cluster = g.cluster AND b.node = g.node AND b.run = g.run AND b.first_seq >= g.first_seq AND b.last_seq <= g.last_seq
WHERE g.kind = 'gap' AND g.cause = 'batch-missing'
GROUP BY g.cluster, g.node, g.run, g.first_seq, g.last_seq, g.gap_id
HAVING sum(b.batch_rows) >= g.last_seq - g.first_seq + 1;

-- gaps: a time (began to ended) in which the record may miss something, the cause, and in which store (null: in all of the
-- node). Where nobody stated when a gap began, it is counted from the last word before it. Missing batches that arrived late are no gap.
CREATE VIEW gaps AS
WITH
earlier AS (
    SELECT cluster, node, store_kind, store_root, run, began,
        max(vouched) OVER (PARTITION BY cluster, node, store_root ORDER BY run ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS vouched
    FROM lake.recorded_runs
),
stated AS (
    SELECT cluster, node, store_kind, store_root, occurred_after, occurred_before, cause, message, gap_id, run
    FROM lake.starts_and_gaps AS g
    WHERE kind = 'gap' AND NOT EXISTS (
        FROM lake.arrived_late AS l
        WHERE g.cause = 'batch-missing' AND l.cluster = g.cluster AND l.node = g.node AND l.run = g.run
          AND l.first_seq = g.first_seq AND l.last_seq = g.last_seq
    )
),
dated AS (
    SELECT any_value(s.cluster) AS cluster, any_value(s.node) AS node, any_value(s.store_kind) AS store_kind,
        any_value(s.store_root) AS store_root, coalesce(any_value(s.occurred_after), max(r.vouched)) AS began,
        any_value(s.occurred_before) AS ended, any_value(s.cause) AS cause, any_value(s.message) AS message,
        any_value(s.gap_id) AS gap_id, any_value(s.run) AS run
    FROM (SELECT *, row_number() OVER () AS number FROM stated) AS s
    LEFT JOIN lake.recorded_runs AS r
        ON r.cluster = s.cluster AND r.node = s.node AND (s.store_root IS NULL OR r.store_root = s.store_root)
        AND r.run <> s.run AND r.vouched < s.occurred_before
    GROUP BY s.number
),
unstated AS (
    SELECT cluster, node, store_kind, store_root, vouched AS began, e.began AS ended, 'unrecorded' AS cause,
        'linktrail was not running, and what it had recorded before was not known to it' AS message, NULL AS gap_id, run
    FROM earlier AS e
    WHERE vouched IS NOT NULL AND vouched < e.began AND NOT EXISTS (
        FROM lake.starts_and_gaps AS c
        WHERE c.kind = 'gap' AND c.cause IN ('restart', 'ledger-lost') AND c.cluster = e.cluster AND c.node = e.node
          AND c.run = e.run AND c.store_root = e.store_root
    )
)
SELECT cluster, node, store_kind, store_root, began, ended,
    date_diff('microsecond', began, ended) / 1000000 AS seconds, cause, message, gap_id, run
FROM (FROM dated UNION ALL BY NAME FROM unstated);
