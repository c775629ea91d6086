-- The skeleton of a made-up history: every row of every table as (table, node, second, layer, what), then numbered as a collector does.
-- $layers, $nodes, $beat (seconds between heartbeats) and $sample (seconds between samples of a filesystem) size it; nothing is random.
CREATE MACRO u(a, b) AS (hash(a, b) % 1000003) / 1000003.0;

CREATE TABLE layers AS
SELECT *, least(dies, 2591990) AS ends, dies < 2591990 AS is_removed
FROM (
    SELECT l, l % $nodes AS n, u(l, 1) < 0.4 AS is_container, u(l, 1) > 0.88 AS is_top,
        u(l, 2) < 0.1 AS is_baseline, CASE WHEN u(l, 2) < 0.1 THEN 2 ELSE 600 + u(l, 3) * 2590000 END AS born,
        CASE WHEN u(l, 2) < 0.1 THEN 2 ELSE 600 + u(l, 3) * 2590000 END + 60 - ln(u(l, 4) + 1e-6) * 432000 AS dies,
        sha256('layer' || l) AS id, upper(substr(md5('short' || l), 1, 26)) AS short_name, hash(l, 5) % 2000 AS image,
        CASE WHEN l >= 8 * $nodes THEN l - $nodes * (1 + hash(l, 6) % 7)::BIGINT END AS parent, 4096 + (u(l, 7) * 2e8)::BIGINT // 4096 * 4096 AS size
    FROM range($layers) AS r(l)
);

CREATE TABLE skeleton AS
WITH
kinds AS (
    SELECT l, n, born, ends, is_removed, is_baseline,
        unnest(['layer_directory', 'layer_record', 'parent_pointer', 'link_file', 'short_link', 'lower_reference']
            || CASE WHEN is_container THEN ['container_record', 'container_layer', 'container_image', 'mount'] ELSE [] END
            || CASE WHEN is_top THEN ['image_record', 'image_name', 'image_layer'] ELSE [] END) AS kind
    FROM layers
),
parts AS (
    SELECT 'links' AS tbl, n, born + 0.001 * length(kind) AS t, l, kind, CASE WHEN is_baseline THEN 'observed' ELSE 'created' END AS action, 0 AS k FROM kinds
    UNION ALL
    SELECT 'links', n, ends + 0.001 * length(kind), l, kind, 'removed', 1 FROM kinds WHERE is_removed
    UNION ALL
    SELECT 'links', n, born + (ends - born) * (k + 1) / 42, l, CASE k // 3 % 4 WHEN 0 THEN 'whiteout' ELSE 'symlink' END,
        ['created', 'retargeted', 'removed'][k % 3 + 1], k FROM layers, range(42) AS r(k) WHERE is_container
    UNION ALL
    SELECT 'usage', n, born + (ends - born) * (k + 0.5) / 20, l, 'layer', NULL, k FROM layers, range(20) AS r(k) WHERE is_container OR k = 0
    UNION ALL
    SELECT 'usage', n, k * $sample + n * 1.3 + 5, NULL, unnest(['filesystem', 'store']), NULL, k
    FROM range($nodes) AS a(n), range(2591000 // $sample) AS b(k)
    UNION ALL
    SELECT 'findings', n, born + (ends - born) * ([0.3, 0.4, 0.5, 0.6, 0.9][k + 1]), l, NULL,
        ['opened', 'changed', 'changed', 'changed', 'closed'][k + 1], k
    FROM layers, range(5) AS r(k) WHERE u(l, 8) < 0.1 AND (k < 4 OR u(l, 9) < 0.8)
    UNION ALL
    SELECT 'coverage', n, k * $beat + $beat - 1, NULL, 'heartbeat', NULL, k FROM range($nodes) AS a(n), range(2592000 // $beat) AS b(k)
    UNION ALL
    SELECT 'coverage', n, k * 864000 + 0.5, NULL, unnest(CASE k WHEN 0 THEN ['start'] ELSE ['start', 'gap'] END), NULL, k
    FROM range($nodes) AS a(n), range(3) AS b(k)
)
SELECT *, row_number() OVER (PARTITION BY n, run ORDER BY hour, tbl, t, l, kind, k) - 1 AS seq
FROM (SELECT *, floor(t / 86400)::INTEGER AS day, floor(t / 864000)::INTEGER AS run, floor(t / 3600)::INTEGER AS hour FROM parts)
ORDER BY day, tbl;

CREATE TABLE batches AS
SELECT *, row_number() OVER (PARTITION BY n, run ORDER BY hour, tbl) - 1 AS batch
FROM (SELECT n, run, hour, tbl, min(seq) AS first_seq, max(seq) AS last_seq, count(*) AS count FROM skeleton GROUP BY ALL);

CREATE MACRO moment(s) AS make_timestamptz(epoch_us($start::TIMESTAMPTZ) + (s * 1e6)::BIGINT);
CREATE MACRO node_name(n) AS 'node-' || lpad(n::VARCHAR, 3, '0');
CREATE MACRO run_name(n, r) AS strftime($start::TIMESTAMPTZ + to_days(10 * r), '%Y%m%dT%H%M%SZ') || '-' || substr(md5('run' || n || r), 1, 8);

CREATE VIEW common AS
SELECT moment(t)::DATE AS day, 'fleet' AS cluster, node_name(s.n) AS node, run_name(s.n, run) AS run, seq,
    CASE WHEN s.action = 'observed' THEN NULL ELSE moment(t - 0.02) END AS occurred_after, moment(t) AS occurred_before, moment(t + 0.05) AS observed_at,
    ((t + 86400) * 1e9)::BIGINT AS monotonic_ns, md5('boot' || s.n)::UUID::VARCHAR AS boot_id,
    CASE WHEN s.action = 'observed' THEN 'baseline' WHEN tbl = 'links' THEN 'watch' ELSE 'survey' END AS origin,
    'containers_storage' AS store_kind, '/var/lib/containers/storage' AS store_root,
    s.* EXCLUDE (day, run, seq), s.day AS day_number,
    CASE WHEN y.is_container THEN 'app-' || y.image || '-' || substr(y.id, 1, 5) END AS k8s_pod_name,
    CASE WHEN y.is_container THEN 'team-' || y.image % 40 END AS k8s_namespace_name,
    CASE WHEN y.is_container THEN md5('pod' || l)::UUID::VARCHAR END AS k8s_pod_uid,
    CASE WHEN y.is_container THEN sha256('container' || l) END AS container_id,
    CASE WHEN y.is_container THEN 'app-' || y.image END AS container_name,
    CASE WHEN y.is_container OR y.is_top THEN 'registry.example/team/app-' || y.image || ':1.' || y.image % 7 END AS container_image_name,
    CASE WHEN y.is_container OR y.is_top THEN sha256('image' || y.image) END AS container_image_id,
    y.id, y.short_name, y.size, y.is_container, p.id AS parent_id, p.short_name AS parent_short, sha256('container' || l) AS of_container,
    sha256('image' || y.image) AS of_image
FROM skeleton AS s LEFT JOIN layers AS y USING (l) LEFT JOIN layers AS p ON p.l = y.parent;

CREATE VIEW made_links AS
SELECT * REPLACE (CASE WHEN action = 'removed' THEN NULL ELSE target END AS target),
    CASE WHEN action IN ('removed', 'retargeted') THEN target END AS previous_target
FROM (
    SELECT *, kind AS link_kind,
        CASE WHEN kind IN ('container_record', 'container_layer', 'container_image') THEN of_container WHEN kind IN ('image_record', 'image_layer') THEN of_image
            WHEN kind = 'image_name' THEN container_image_name WHEN kind = 'short_link' THEN short_name
            WHEN kind = 'mount' THEN store_root || '/overlay/' || id || '/merged' ELSE id END AS subject,
        CASE kind WHEN 'parent_pointer' THEN parent_id WHEN 'link_file' THEN short_name WHEN 'short_link' THEN '../' || id || '/diff'
            WHEN 'lower_reference' THEN 'l/' || parent_short WHEN 'container_layer' THEN id WHEN 'container_image' THEN of_image WHEN 'mount' THEN id
            WHEN 'image_name' THEN of_image WHEN 'image_layer' THEN id WHEN 'symlink' THEN '/usr/lib/app/release-' || k // 3 || '/lib.so.' || k % 3 END AS target,
        CASE WHEN kind LIKE 'image%' THEN NULL ELSE id END AS layer_id,
        CASE kind WHEN 'layer_directory' THEN 'overlay/' || id WHEN 'link_file' THEN 'overlay/' || id || '/link' WHEN 'lower_reference' THEN 'overlay/' || id || '/lower'
            WHEN 'short_link' THEN 'overlay/l/' || short_name WHEN 'symlink' THEN 'overlay/' || id || '/diff/opt/app/current-' || k // 3
            WHEN 'whiteout' THEN 'overlay/' || id || '/diff/var/cache/file-' || k // 3
            WHEN 'container_record' THEN 'overlay-containers/containers.json' WHEN 'container_layer' THEN 'overlay-containers/containers.json'
            WHEN 'container_image' THEN 'overlay-containers/containers.json' WHEN 'mount' THEN NULL WHEN 'image_record' THEN 'overlay-images/images.json'
            WHEN 'image_name' THEN 'overlay-images/images.json' WHEN 'image_layer' THEN 'overlay-images/images.json' ELSE 'overlay-layers/layers.json' END AS file_path,
        CASE WHEN kind IN ('layer_directory', 'link_file', 'short_link', 'symlink') THEN (hash(l, kind, k) % 50000000)::BIGINT END AS file_inode,
        CASE WHEN kind IN ('layer_directory', 'link_file', 'short_link', 'symlink') THEN 1 END AS file_nlink,
        CASE action WHEN 'removed' THEN 'removed' ELSE 'present' END AS link_state,
        CASE kind WHEN 'layer_record' THEN '{"created":"' || strftime(occurred_before, '%Y-%m-%dT%H:%M:%SZ') || '","diff-digest":"sha256:' || sha256(id) || '"}' END AS detail
    FROM common WHERE tbl = 'links'
);

CREATE VIEW made_findings AS
SELECT *, sha256('finding' || id) AS finding_id, ['unreferenced-layer', 'unaccounted-layer', 'short-link-missing', 'ghost-reference'][l % 4 + 1] AS code,
    CASE WHEN l % 4 = 2 THEN 'breaks' ELSE 'leaks' END AS family, CASE WHEN l % 4 = 2 THEN 'error' ELSE 'warning' END AS severity, 'layer' AS subject_kind,
    id AS subject, 'overlay/' || id AS file_path, size + k * 1048576 AS bytes, to_json([parent_id])::VARCHAR AS related, false AS read_only,
    occurred_after - to_seconds(60 * (k + 1)) AS since_after, occurred_before - to_seconds(60 * (k + 1)) AS since_before,
    'Nothing refers to layer ' || substr(id, 1, 12) || '.' AS message, '{"holders":[],"size":' || size + k * 1048576 || '}' AS evidence,
    'Look at linktrail why ' || substr(id, 1, 12) || ' before anything is removed.' AS advice
FROM common WHERE tbl = 'findings';

CREATE VIEW made_usage AS
SELECT *, kind AS scope, CASE kind WHEN 'layer' THEN id WHEN 'store' THEN store_root ELSE '/var' END AS subject,
    CASE WHEN kind = 'layer' THEN CASE WHEN is_container THEN 'container' ELSE 'image' END END AS role, used AS bytes, used * 9 // 10 AS apparent_bytes,
    used // 20000 AS inodes, CASE kind WHEN 'layer' THEN 0 END AS shared_bytes, CASE WHEN kind = 'layer' AND NOT is_container THEN used * 9 // 10 END AS recorded_bytes,
    CASE kind WHEN 'filesystem' THEN 2000000000000 END AS capacity_bytes, CASE kind WHEN 'filesystem' THEN 2000000000000 - used END AS available_bytes,
    CASE kind WHEN 'filesystem' THEN 120000000 END AS capacity_inodes, CASE kind WHEN 'filesystem' THEN 120000000 - used // 20000 END AS available_inodes
FROM (
    SELECT *, CASE kind WHEN 'layer' THEN size + k * (size // 50 // 4096 * 4096) ELSE 400000000000 + (t * (100000 + n * 1000))::BIGINT + hash(n, k)::HUGEINT % 9000000000 END::BIGINT AS used
    FROM common WHERE tbl = 'usage'
);

CREATE VIEW made_coverage AS
SELECT * REPLACE (CASE WHEN kind = 'gap' THEN moment(t - 31) WHEN kind = 'heartbeat' THEN moment(t - $beat) ELSE occurred_before END AS occurred_after),
    CASE kind WHEN 'gap' THEN 'restart' END AS cause, CASE kind WHEN 'gap' THEN 'gap-' || node || '-' || k END AS gap_id,
    CASE kind WHEN 'gap' THEN 'linktrail was restarted' END AS message, NULL::BIGINT AS batch, NULL AS batch_table, NULL::BIGINT AS batch_rows, NULL::BIGINT AS first_seq,
    NULL::BIGINT AS last_seq, NULL AS batch_digest, NULL AS previous_digest, NULL AS source, NULL::BIGINT AS source_offset,
    CASE kind WHEN 'gap' THEN NULL ELSE 2100 END AS watches, CASE kind WHEN 'gap' THEN NULL ELSE 'inotify' END AS mode
FROM common WHERE tbl = 'coverage'
UNION ALL BY NAME
SELECT moment(3600 * hour)::DATE AS day, 'fleet' AS cluster, node_name(n) AS node, run_name(n, run) AS run, moment(3600 * hour) AS occurred_after,
    moment(3600 * hour + 3599) AS occurred_before, moment(3600 * hour + 3599.5) AS observed_at, (hour * 3600e9)::BIGINT AS monotonic_ns, 'processor' AS boot_id,
    'processor' AS origin, hour // 24 AS day_number, 'batch' AS kind, batch, tbl AS batch_table, count AS batch_rows, first_seq, last_seq,
    sha256(run || '/' || n || '/' || batch) AS batch_digest, CASE batch WHEN 0 THEN '' ELSE sha256(run || '/' || n || '/' || (batch - 1)) END AS previous_digest,
    'kafka/linktrail.events.v1/' || n % 12 || '/made' AS source, batch AS source_offset
FROM batches;
