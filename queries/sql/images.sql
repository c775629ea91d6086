-- title: Images at an instant
-- question: Which images were there, under which names, how large, and how many containers stood on each?
-- window: at
-- order: node
-- parameter at timestamp = now: the instant
-- parameter cluster text: only this cluster
-- parameter node text: only this node
-- column image: names of the image (none: untagged)
-- column image_id: id of it
-- column bytes: allocated bytes of its layers together, as measured (null: not all measured)
-- column layers: number of its layers, every platform that is unpacked
-- column shared_layers: how many of them other images have too
-- column containers: number of containers that stand on it
-- column created: when the record says it was made
-- column top_layers: ids of its top layers
-- column known_after: the record is there since after this instant (null: before recording began)
-- column known_before: the record was there before this instant
-- column certainty: certain, or possible where the instant lies in the interval of a change
-- column cluster: cluster of the node
-- column node: node
-- column store_root: root of the store
WITH RECURSIVE
standing AS MATERIALIZED (
    SELECT cluster, node, store_root, link_kind, subject, target, detail, occurred_after, occurred_before, certainty
    FROM lake.links_of($at, ['image_record', 'image_name', 'image_layer', 'parent_pointer', 'container_image'])
    WHERE ($cluster IS NULL OR cluster = $cluster) AND ($node IS NULL OR node = $node)
),
chain AS (
    SELECT cluster, node, store_root, subject AS image, target AS layer FROM standing WHERE link_kind = 'image_layer' AND target IS NOT NULL
    UNION
    SELECT c.cluster, c.node, c.store_root, c.image, p.target
    FROM chain AS c
    JOIN standing AS p
        ON p.link_kind = 'parent_pointer' AND p.cluster = c.cluster AND p.node = c.node AND p.store_root = c.store_root AND p.subject = c.layer
    WHERE p.target IS NOT NULL
),
sharing AS (SELECT cluster, node, store_root, layer, count(DISTINCT image) AS images FROM chain GROUP BY ALL),
sizes AS (
    SELECT c.cluster, c.node, c.store_root, c.image, count(*) AS layers, count(*) FILTER (s.images > 1) AS shared_layers,
        CASE WHEN count(u.bytes) = count(*) THEN sum(u.bytes)::BIGINT END AS bytes
    FROM chain AS c
    JOIN sharing AS s USING (cluster, node, store_root, layer)
    LEFT JOIN (
        SELECT * FROM usage_at($at) WHERE scope = 'layer' AND ($cluster IS NULL OR cluster = $cluster) AND ($node IS NULL OR node = $node)
    ) AS u
        ON u.cluster = c.cluster AND u.node = c.node AND u.store_root = c.store_root AND u.subject = c.layer
    GROUP BY ALL
),
records AS (
    SELECT cluster, node, store_root, subject AS image, any_value(detail) AS detail, arg_min(occurred_after, occurred_before) AS known_after,
        min(occurred_before) AS known_before, bool_and(certainty = 'certain') AS certain
    FROM standing WHERE link_kind = 'image_record' GROUP BY ALL
),
pointing AS (
    SELECT cluster, node, store_root, target AS image, list_sort(list_distinct(coalesce(list(subject) FILTER (link_kind = 'image_name'), []))) AS names,
        count(DISTINCT subject) FILTER (link_kind = 'container_image') AS containers
    FROM standing WHERE link_kind IN ('image_name', 'container_image') GROUP BY ALL
),
tops AS (
    SELECT cluster, node, store_root, subject AS image, list_sort(list(DISTINCT target)) AS layers FROM standing WHERE link_kind = 'image_layer' GROUP BY ALL
)
SELECT coalesce(p.names, []) AS image, r.image AS image_id, z.bytes, coalesce(z.layers, 0) AS layers, coalesce(z.shared_layers, 0) AS shared_layers,
    coalesce(p.containers, 0) AS containers, json_extract_string(r.detail, '$.created') AS created, coalesce(t.layers, []) AS top_layers, r.known_after, r.known_before,
    CASE WHEN r.certain THEN 'certain' ELSE 'possible' END AS certainty, r.cluster, r.node, r.store_root
FROM records AS r
LEFT JOIN pointing AS p USING (cluster, node, store_root, image)
LEFT JOIN sizes AS z USING (cluster, node, store_root, image)
LEFT JOIN tops AS t USING (cluster, node, store_root, image)
ORDER BY r.node, r.store_root, image, image_id
