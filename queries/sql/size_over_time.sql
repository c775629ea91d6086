-- title: Size of what grew most, over time
-- question: How large were the layers that changed most in size, at even steps of time, and whose are they?
-- window: since until
-- parameter since timestamp required: from this instant on
-- parameter until timestamp = now: up to this instant
-- parameter most integer = 30: at most so many layers, those whose size changed most
-- parameter steps integer = 60: number of steps
-- parameter cluster text: only this cluster
-- parameter node text: only this node
-- column moment: the instant
-- column owner: pod, container or image that owns it, else its role
-- column layer_id: the layer
-- column bytes: the newest measurement before that instant (0 where it was not there)
-- column cluster: cluster of the node
-- column node: node
-- column store_root: root of the store
WITH
samples AS (
    SELECT cluster, node, store_root, subject AS layer_id, occurred_before AS sampled, bytes,
        coalesce(nullif(concat_ws('/', k8s_namespace_name, k8s_pod_name), ''), container_name, container_image_name, role, 'unknown') AS owner
    FROM usage
    WHERE scope = 'layer' AND bytes IS NOT NULL AND occurred_before <= $until::TIMESTAMPTZ
      AND ($cluster IS NULL OR cluster = $cluster) AND ($node IS NULL OR node = $node)
),
chosen AS (
    SELECT cluster, node, store_root, layer_id, arg_max(owner, sampled) AS owner
    FROM samples WHERE sampled >= $since::TIMESTAMPTZ GROUP BY ALL
    ORDER BY max(bytes) - min(bytes) DESC, max(bytes) DESC LIMIT $most
),
removals AS (
    SELECT cluster, node, store_root, coalesce(layer_id, subject) AS layer_id, occurred_before AS removed
    FROM links WHERE link_kind IN ('layer_directory', 'temporary_directory') AND action = 'removed' AND occurred_before <= $until::TIMESTAMPTZ
),
points AS (
    SELECT cluster, node, store_root, layer_id, sampled, bytes FROM samples SEMI JOIN chosen USING (cluster, node, store_root, layer_id)
    UNION ALL
    SELECT cluster, node, store_root, layer_id, removed, 0 FROM removals SEMI JOIN chosen USING (cluster, node, store_root, layer_id)
),
grid AS (
    SELECT c.*, $since::TIMESTAMPTZ + to_microseconds((date_diff('microsecond', $since::TIMESTAMPTZ, $until::TIMESTAMPTZ) * step / $steps)::BIGINT) AS moment
    FROM chosen AS c, range(0, $steps + 1) AS r(step)
)
SELECT g.moment, g.owner, g.layer_id, coalesce(p.bytes, 0) AS bytes, g.cluster, g.node, g.store_root
FROM grid AS g
ASOF LEFT JOIN points AS p
    ON p.cluster = g.cluster AND p.node = g.node AND p.store_root = g.store_root AND p.layer_id = g.layer_id AND g.moment >= p.sampled
ORDER BY g.moment, g.owner, g.layer_id
