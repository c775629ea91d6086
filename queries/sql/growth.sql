-- title: What grew
-- question: What grew or shrank between two instants, and by how much: layers, containers, pods, images, stores, nodes or filesystems?
-- window: since until
-- parameter since timestamp: from this instant on (left out: from the first sample)
-- parameter until timestamp = now: up to this instant
-- parameter by text = layer: layer, container, pod, image, store, node or filesystem
-- parameter cluster text: only this cluster
-- parameter node text: only this node
-- column name: what grew: an id, name, root or mount point
-- column growth_bytes: bytes at the end less bytes at the beginning; what was made in between began with none, what was removed ends with none
-- column first_bytes: bytes at the beginning
-- column last_bytes: bytes at the end
-- column largest_bytes: the largest single sample in between
-- column hourly_bytes: growth an hour, by the time between first and last sample
-- column layers: number of layers (or stores, filesystems) counted
-- column appeared: how many of them appeared in that time
-- column removed: how many of them were removed in that time
-- column first_sampled: the first sample had been taken then
-- column last_sampled: the last sample had been taken then
-- column container_name: owner, as far as known
-- column container_image_name: owner, as far as known
-- column k8s_pod_name: owner, as far as known
-- column cluster: cluster of the node
-- column node: node
-- column store_root: root of the store (null where several are counted together)
WITH
changed AS (
    SELECT cluster, node, store_root, coalesce(layer_id, subject) AS layer, run, min(occurred_before) FILTER (action = 'created') AS made,
        max(occurred_before) FILTER (action = 'removed') AS gone, arg_max(action, seq) AS last_action
    FROM links
    WHERE link_kind IN ('layer_directory', 'temporary_directory') AND action IN ('created', 'removed', 'observed') AND occurred_before <= $until::TIMESTAMPTZ
      AND ($cluster IS NULL OR cluster = $cluster) AND ($node IS NULL OR node = $node)
      AND $by NOT IN ('filesystem', 'store', 'node')
    GROUP BY ALL
),
changes AS MATERIALIZED (
    SELECT cluster, node, store_root, layer, min(made) AS made, max(gone) AS gone, arg_max(last_action, run) = 'removed' AS is_gone
    FROM changed GROUP BY cluster, node, store_root, layer
),
over AS (  -- removed before the time that is asked about: left out before anything is summed
    SELECT cluster, node, store_root, layer FROM changes WHERE is_gone AND gone <= $since::TIMESTAMPTZ
),
per_run AS (  -- the newest of a run by its number, then of all runs: far cheaper than comparing (run, seq) row by row
    SELECT cluster, node, store_root, subject, run,
        arg_max(bytes, seq) FILTER ($since IS NOT NULL AND occurred_before <= $since::TIMESTAMPTZ) AS before_bytes,
        arg_min(bytes, seq) FILTER ($since IS NULL OR occurred_before > $since::TIMESTAMPTZ) AS earliest_bytes,
        arg_max(bytes, seq) AS newest_bytes,
        max(bytes) FILTER ($since IS NULL OR occurred_before > $since::TIMESTAMPTZ) AS largest_bytes,
        max(occurred_before) FILTER ($since IS NOT NULL AND occurred_before <= $since::TIMESTAMPTZ) AS before_sampled,
        min(occurred_before) AS first_sampled, max(occurred_before) AS last_sampled,
        arg_max(container_name, seq) AS container_name, arg_max(container_image_name, seq) AS container_image_name,
        arg_max(k8s_pod_name, seq) AS k8s_pod_name,  -- the others are long, and read only where things are called by them
        arg_max(CASE WHEN $by = 'container' THEN container_id END, seq) AS container_id,
        arg_max(CASE WHEN $by = 'pod' THEN k8s_namespace_name END, seq) AS k8s_namespace_name
    FROM usage AS u
    ANTI JOIN over AS o ON o.cluster = u.cluster AND o.node = u.node AND o.store_root IS NOT DISTINCT FROM u.store_root AND o.layer = u.subject
    WHERE ($cluster IS NULL OR cluster = $cluster) AND ($node IS NULL OR node = $node) AND bytes IS NOT NULL AND occurred_before <= $until::TIMESTAMPTZ
      AND scope = CASE $by WHEN 'filesystem' THEN 'filesystem' WHEN 'store' THEN 'store' WHEN 'node' THEN 'store' ELSE 'layer' END
    GROUP BY cluster, node, store_root, subject, run
),
sampled AS (
    SELECT cluster, node, store_root, subject, arg_max(before_bytes, run) AS before_bytes, arg_min(earliest_bytes, run) AS earliest_bytes,
        arg_max(newest_bytes, run) AS newest_bytes, max(largest_bytes) AS largest_bytes,
        coalesce(max(before_sampled), min(first_sampled)) AS first_sampled, max(last_sampled) AS last_sampled,
        arg_max(container_id, run) AS container_id, arg_max(container_name, run) AS container_name,
        arg_max(container_image_name, run) AS container_image_name, arg_max(k8s_pod_name, run) AS k8s_pod_name,
        arg_max(k8s_namespace_name, run) AS k8s_namespace_name
    FROM per_run GROUP BY cluster, node, store_root, subject
),
each AS (
    SELECT s.*, c.made, c.gone, coalesce(c.is_gone, false) AS is_gone
    FROM sampled AS s
    LEFT JOIN changes AS c ON c.cluster = s.cluster AND c.node = s.node AND c.store_root IS NOT DISTINCT FROM s.store_root AND c.layer = s.subject
),
counted AS (
    SELECT *, made IS NOT NULL AND ($since IS NULL OR made > $since::TIMESTAMPTZ) AS appeared,
        CASE WHEN made IS NOT NULL AND ($since IS NULL OR made > $since::TIMESTAMPTZ) THEN 0 ELSE coalesce(before_bytes, earliest_bytes) END AS first_bytes,
        CASE WHEN is_gone THEN 0 ELSE newest_bytes END AS last_bytes,
        CASE $by WHEN 'container' THEN coalesce(container_name, container_id) WHEN 'pod' THEN concat_ws('/', k8s_namespace_name, k8s_pod_name)
            WHEN 'image' THEN container_image_name WHEN 'node' THEN node ELSE subject END AS name
    FROM each
)
SELECT name, sum(last_bytes - first_bytes)::BIGINT AS growth_bytes, sum(first_bytes)::BIGINT AS first_bytes, sum(last_bytes)::BIGINT AS last_bytes,
    max(largest_bytes) AS largest_bytes,
    round(sum(last_bytes - first_bytes) * 3600.0 / nullif(date_diff('microsecond', min(first_sampled), max(last_sampled)) / 1000000, 0))::BIGINT AS hourly_bytes,
    count(*) AS layers, count(*) FILTER (appeared) AS appeared, count(*) FILTER (is_gone) AS removed, min(first_sampled) AS first_sampled,
    max(last_sampled) AS last_sampled, any_value(container_name) AS container_name, any_value(container_image_name) AS container_image_name,
    any_value(k8s_pod_name) AS k8s_pod_name, cluster, node, CASE WHEN min(store_root) = max(store_root) THEN min(store_root) END AS store_root
FROM counted
WHERE name IS NOT NULL AND name <> '' AND ($by IN ('container', 'pod', 'image', 'node', 'layer', 'store', 'filesystem'))
GROUP BY name, cluster, node
ORDER BY growth_bytes DESC, last_bytes DESC, node, name
