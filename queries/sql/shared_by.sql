-- title: What shares a layer
-- question: Which images and containers needed this layer at an instant, so that all must go before a new pull rebuilds it?
-- window: at
-- parameter id text required: the whole id of the layer
-- parameter at timestamp = now: the instant
-- parameter cluster text: only this cluster
-- parameter node text: only this node
-- column owner_kind: image or container
-- column owner_id: id of it
-- column owner: a name of it, where it has one
-- column layer: its top or writable layer
-- column depth: how many layers above the asked one that is
-- column cluster: cluster of the node
-- column node: node
-- column store_root: root of the store
WITH RECURSIVE
standing AS MATERIALIZED (
    SELECT cluster, node, store_root, link_kind, subject, target, container_name
    FROM lake.links_of($at, ['parent_pointer', 'image_layer', 'container_layer', 'image_name'])
    WHERE target IS NOT NULL AND ($cluster IS NULL OR cluster = $cluster) AND ($node IS NULL OR node = $node)
),
above AS (
    SELECT DISTINCT cluster, node, store_root, $id::VARCHAR AS layer, 0 AS depth FROM standing
    UNION
    SELECT a.cluster, a.node, a.store_root, p.subject, a.depth + 1
    FROM above AS a JOIN standing AS p
        ON p.link_kind = 'parent_pointer' AND p.cluster = a.cluster AND p.node = a.node AND p.store_root = a.store_root AND p.target = a.layer
    WHERE a.depth < 500
)
SELECT DISTINCT CASE s.link_kind WHEN 'image_layer' THEN 'image' ELSE 'container' END AS owner_kind, s.subject AS owner_id,
    coalesce(s.container_name, n.name) AS owner, a.layer, a.depth, s.cluster, s.node, s.store_root
FROM above AS a
JOIN standing AS s ON s.link_kind IN ('image_layer', 'container_layer')
    AND s.cluster = a.cluster AND s.node = a.node AND s.store_root = a.store_root AND s.target = a.layer
LEFT JOIN (
    SELECT cluster, node, store_root, target AS image, min(subject) AS name FROM standing WHERE link_kind = 'image_name' GROUP BY ALL
) AS n ON n.cluster = s.cluster AND n.node = s.node AND n.store_root = s.store_root AND n.image = s.subject
ORDER BY s.node, s.store_root, owner_kind, a.depth, owner_id
