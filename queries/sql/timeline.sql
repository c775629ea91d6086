-- title: Timeline of one thing, or of all
-- question: What happened to a layer, image, container, short link or path (or to all of them): created, linked, grew, leaked, broke, removed?
-- window: since until
-- parameter id text: the whole id or name (linktrail timeline also takes a beginning of it); with neither id nor path: everything
-- parameter path text: a path relative to the store root
-- parameter since timestamp: from this instant on
-- parameter until timestamp = now: up to this instant
-- parameter cluster text: only this cluster
-- parameter node text: only this node
-- column after: it happened after this instant (null: unknown); where a size grew or shrank, the measurement before began then
-- column before: it happened before this instant; a size was measured by then
-- column observed_at: when linktrail saw it
-- column cluster: cluster of the node
-- column node: node
-- column store_root: root of the store (null: the whole node)
-- column origin: how it is known
-- column about: link, finding, size or record
-- column action: created, removed, opened, measured, gap, start, ...
-- column kind: link kind, finding code, scope of a size, or cause of a gap
-- column subject: what the link starts from, or what the finding or size is about
-- column target: where a link points now
-- column previous_target: where it pointed before
-- column state: link state, or severity of a finding
-- column file_path: where the link is written
-- column bytes: bytes measured, or held by what the finding is about
-- column previous_bytes: bytes of the measurement before
-- column message: a finding's or a gap's own words
-- column container_name: owner then, as far as known
-- column container_image_name: owner then, as far as known
-- column k8s_pod_name: owner then, as far as known
-- column run: collector run
-- column seq: number of the row in its run
WITH
directories AS MATERIALIZED (  -- Docker's layers stand in directories of another name
    SELECT DISTINCT target AS id FROM links
    WHERE link_kind = 'layer_record' AND subject = $id AND store_kind = 'docker_overlay2' AND target IS NOT NULL
),
ids AS MATERIALIZED (SELECT $id AS id WHERE $id IS NOT NULL UNION FROM directories),
short_names AS MATERIALIZED (
    SELECT subject AS name FROM links WHERE link_kind = 'short_link' AND layer_id IN (FROM ids)
    UNION
    SELECT target FROM links WHERE link_kind = 'link_file' AND subject IN (FROM ids) AND target <> ''
),
lowers AS MATERIALIZED (  -- what names it in a list of names; looked for in one column, before whole rows are read
    SELECT target FROM (SELECT DISTINCT target FROM links WHERE link_kind = 'lower_reference' AND $id IS NOT NULL)
    WHERE contains(target, $id) OR EXISTS (FROM short_names AS n WHERE contains(target, n.name))
),
found_links AS MATERIALIZED (  -- comparison by comparison: each alone lets files be left out, all in one OR would read every row whole
    SELECT l.*
    FROM (
        FROM links WHERE subject IN (FROM ids)
        UNION FROM links WHERE layer_id IN (FROM ids)
        UNION FROM links WHERE target = $id
        UNION FROM links WHERE previous_target = $id
        UNION FROM links WHERE link_kind = 'short_link' AND subject IN (FROM short_names)
        UNION FROM links WHERE link_kind = 'lower_reference' AND target IN (FROM lowers)
        UNION FROM links WHERE file_path = $path OR starts_with(file_path, $path || '/') OR starts_with(file_path, $path || '#')
        UNION ALL FROM links
        WHERE $id IS NULL AND $path IS NULL AND ($since IS NULL OR occurred_before >= $since) AND coalesce(occurred_after, occurred_before) <= $until
    ) AS l
    WHERE ($cluster IS NULL OR l.cluster = $cluster) AND ($node IS NULL OR l.node = $node)
),
found_findings AS MATERIALIZED (
    SELECT f.*
    FROM findings AS f
    WHERE (($id IS NULL AND $path IS NULL AND ($since IS NULL OR f.occurred_before >= $since) AND coalesce(f.occurred_after, f.occurred_before) <= $until)
        OR f.subject = $id OR f.container_id = $id OR f.container_image_id = $id OR contains(f.related, to_json($id)::VARCHAR)
        OR f.file_path = $path OR starts_with(f.file_path, $path || '/'))
      AND ($cluster IS NULL OR f.cluster = $cluster) AND ($node IS NULL OR f.node = $node)
),
measured AS MATERIALIZED (  -- with nothing named, what was measured in that time; else every size would be in every time
    FROM usage WHERE $id IS NULL AND $path IS NULL AND ($since IS NULL OR occurred_before >= $since) AND occurred_before <= $until
),
measured_before AS (
    SELECT u.cluster, u.node, max((u.run, u.seq)) AS last
    FROM usage AS u SEMI JOIN measured AS m ON m.cluster = u.cluster AND m.node = u.node AND m.scope = u.scope AND m.subject = u.subject
    WHERE u.occurred_before < $since GROUP BY u.cluster, u.node, u.store_root, u.scope, u.subject
),
found_sizes AS MATERIALIZED (
    SELECT u.*, lag(u.bytes) OVER (PARTITION BY u.cluster, u.node, u.store_root, u.scope, u.subject ORDER BY u.run, u.seq) AS previous_bytes,
        lag(u.inodes) OVER (PARTITION BY u.cluster, u.node, u.store_root, u.scope, u.subject ORDER BY u.run, u.seq) AS previous_inodes,
        lag(u.occurred_after, 1, u.occurred_after) OVER (PARTITION BY u.cluster, u.node, u.store_root, u.scope, u.subject ORDER BY u.run, u.seq) AS known_after
    FROM (
        FROM usage WHERE subject = $id
        UNION FROM usage WHERE container_id = $id
        UNION ALL FROM measured
        UNION ALL
        SELECT e.* FROM usage AS e JOIN measured_before AS b ON b.cluster = e.cluster AND b.node = e.node AND b.last[1] = e.run AND b.last[2] = e.seq
    ) AS u
    WHERE ($cluster IS NULL OR u.cluster = $cluster) AND ($node IS NULL OR u.node = $node)
),
places AS MATERIALIZED (
    SELECT DISTINCT cluster, node, store_root
    FROM (
        SELECT cluster, node, store_root FROM found_links UNION ALL SELECT cluster, node, store_root FROM found_findings
        UNION ALL SELECT cluster, node, store_root FROM found_sizes
        UNION ALL
        SELECT cluster, node, store_root FROM lake.recorded_runs
        WHERE $id IS NULL AND $path IS NULL AND ($cluster IS NULL OR cluster = $cluster) AND ($node IS NULL OR node = $node)
    )
),
full_filesystems AS (
    SELECT f.* FROM findings AS f JOIN places AS p ON p.cluster = f.cluster AND p.node = f.node AND p.store_root IS NOT DISTINCT FROM f.store_root
    WHERE f.subject_kind = 'filesystem' AND f.subject IS DISTINCT FROM $id AND ($id IS NOT NULL OR $path IS NOT NULL)
),
statements AS (
    SELECT c.*, lag(c.boot_id) OVER (PARTITION BY c.cluster, c.node, c.store_root ORDER BY c.run, c.seq) AS previous_boot
    FROM coverage AS c JOIN places AS p ON p.cluster = c.cluster AND p.node = c.node AND p.store_root IS NOT DISTINCT FROM c.store_root
    WHERE c.kind IN ('start', 'stop')
),
events AS (
    SELECT occurred_after AS after, occurred_before AS before, observed_at, cluster, node, store_root, origin,
        'link' AS about, action, link_kind AS kind, subject, target, previous_target, link_state AS state, file_path,
        NULL::BIGINT AS bytes, NULL::BIGINT AS previous_bytes, NULL AS message, container_name, container_image_name, k8s_pod_name, run, seq
    FROM found_links
    UNION ALL
    SELECT occurred_after, occurred_before, observed_at, cluster, node, store_root, origin,
        'finding', action, code, subject, NULL, NULL, severity, file_path, bytes, NULL, message, container_name, container_image_name,
        k8s_pod_name, run, seq
    FROM (FROM found_findings UNION ALL FROM full_filesystems)
    UNION ALL
    SELECT known_after, occurred_before, observed_at, cluster, node, store_root, origin,  -- it changed between two measurements
        'size', 'measured', scope, subject, NULL, NULL, role, NULL, bytes, previous_bytes, NULL, container_name, container_image_name,
        k8s_pod_name, run, seq
    FROM found_sizes WHERE bytes IS DISTINCT FROM previous_bytes OR inodes IS DISTINCT FROM previous_inodes
    UNION ALL
    SELECT occurred_after, occurred_before, observed_at, cluster, node, store_root, origin,
        'record', CASE WHEN kind = 'start' AND previous_boot <> boot_id THEN 'boot' ELSE kind END, mode, NULL, NULL, NULL, NULL, NULL,
        NULL, NULL, message, NULL, NULL, NULL, run, seq
    FROM statements
    UNION ALL
    SELECT g.began, g.ended, g.ended, g.cluster, g.node, g.store_root, 'survey',
        'record', 'gap', g.cause, NULL, NULL, NULL, NULL, NULL, NULL, NULL, g.message, NULL, NULL, NULL, g.run, NULL
    FROM gaps AS g
    WHERE EXISTS (
        FROM places AS p WHERE p.cluster = g.cluster AND p.node = g.node AND (g.store_root IS NULL OR g.store_root IS NOT DISTINCT FROM p.store_root)
    )
)
SELECT * FROM events
WHERE ($since IS NULL OR before >= $since) AND coalesce(after, before) <= $until
ORDER BY before, after NULLS FIRST, run, seq, node, store_root, about, kind, subject
