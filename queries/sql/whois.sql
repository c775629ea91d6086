-- title: Owners of an id, now and in the past
-- question: Which image, container or pod owns this layer or directory, or owned it before it was deleted?
-- window: since until
-- parameter id text required: the whole id, or its first characters
-- parameter since timestamp: only owners that were not gone before this instant
-- parameter until timestamp: only owners that were known by this instant
-- parameter cluster text: only this cluster
-- parameter node text: only this node
-- column id: the id asked about
-- column owner_kind: pod, container or image
-- column owner: name of the owner, else its id
-- column owner_id: id of the owner
-- column layer: the layer of the owner through which it owns the id (its top or writable layer, or the id itself)
-- column first_seen: when that was first recorded
-- column last_seen: when that was last recorded
-- column cluster: cluster of the node
-- column node: node
-- column store_root: root of the store
WITH RECURSIVE
ids AS MATERIALIZED (  -- looked for in the two columns that have them, before whole rows are read
    SELECT layer_id AS id FROM links WHERE starts_with(layer_id, $id)
    UNION
    SELECT subject FROM links
    WHERE link_kind IN ('container_record', 'container_layer', 'image_record', 'image_layer') AND starts_with(subject, $id)
),
owned AS MATERIALIZED (  -- as the view owners, of these ids alone
    SELECT id, cluster, node, store_root, k8s_namespace_name, k8s_pod_name, k8s_pod_uid, container_id, container_name, container_image_id,
        container_image_name, min(occurred_before) AS first_seen, max(occurred_before) AS last_seen,
        coalesce(arg_max(action = 'removed', (run, seq)) FILTER (
            link_kind IN ('layer_directory', 'layer_record', 'container_record', 'container_layer', 'image_record', 'image_layer')), false) AS is_gone
    FROM (
        SELECT *, layer_id AS id FROM links WHERE layer_id IN (FROM ids)
        UNION ALL
        SELECT *, subject AS id FROM links
        WHERE link_kind IN ('container_record', 'container_layer', 'image_record', 'image_layer') AND subject IN (FROM ids)
    )
    WHERE coalesce(k8s_pod_uid, k8s_pod_name, container_id, container_name, container_image_id, container_image_name) IS NOT NULL
    GROUP BY ALL
),
pointers AS MATERIALIZED (
    SELECT DISTINCT cluster, node, store_root, subject AS child, target AS parent FROM links
    WHERE link_kind = 'parent_pointer' AND target IS NOT NULL AND ($cluster IS NULL OR cluster = $cluster) AND ($node IS NULL OR node = $node)
),
asked AS (
    SELECT DISTINCT cluster, node, store_root, layer_id AS id FROM links WHERE layer_id IN (FROM ids)
    UNION
    SELECT cluster, node, store_root, id FROM owned
),
above AS (
    SELECT cluster, node, store_root, id, id AS layer FROM asked
    UNION
    SELECT a.cluster, a.node, a.store_root, a.id, p.child
    FROM above AS a JOIN pointers AS p ON p.cluster = a.cluster AND p.node = a.node AND p.store_root = a.store_root AND p.parent = a.layer
),
names AS MATERIALIZED (
    SELECT cluster, node, store_root, target AS image, min(subject) AS name
    FROM links WHERE link_kind = 'image_name' AND target IS NOT NULL AND ($cluster IS NULL OR cluster = $cluster) AND ($node IS NULL OR node = $node) GROUP BY ALL
),
stated AS (
    SELECT id, 'container' AS owner_kind, container_name AS name, container_id AS owner_id, id AS layer, first_seen, last_seen, is_gone, cluster, node, store_root
    FROM owned WHERE container_id IS NOT NULL
    UNION ALL
    SELECT id, 'pod', concat_ws('/', k8s_namespace_name, k8s_pod_name), k8s_pod_uid, id, first_seen, last_seen, is_gone, cluster, node, store_root
    FROM owned WHERE k8s_pod_name IS NOT NULL
    UNION ALL
    SELECT id, 'image', container_image_name, container_image_id, id, first_seen, last_seen, is_gone, cluster, node, store_root
    FROM owned WHERE container_image_id IS NOT NULL
    UNION ALL
    SELECT a.id, CASE l.link_kind WHEN 'image_layer' THEN 'image' ELSE 'container' END, coalesce(l.container_name, n.name), l.subject,
        a.layer, l.occurred_before, l.occurred_before, l.action = 'removed', l.cluster, l.node, l.store_root
    FROM links AS l
    JOIN above AS a ON a.cluster = l.cluster AND a.node = l.node AND a.store_root = l.store_root
        AND a.layer = coalesce(l.target, l.previous_target)
    LEFT JOIN names AS n ON n.cluster = l.cluster AND n.node = l.node AND n.store_root = l.store_root AND n.image = l.subject
    WHERE l.link_kind IN ('image_layer', 'container_layer') AND ($cluster IS NULL OR l.cluster = $cluster) AND ($node IS NULL OR l.node = $node)
)
SELECT id, owner_kind, coalesce(max(name), owner_id) AS owner, owner_id, arg_min(layer, (layer = id, layer)) AS layer,
    min(first_seen) AS first_seen, max(last_seen) AS last_seen, cluster, node, store_root
FROM stated WHERE ($cluster IS NULL OR cluster = $cluster) AND ($node IS NULL OR node = $node)
GROUP BY id, owner_kind, owner_id, cluster, node, store_root
HAVING ($until IS NULL OR min(first_seen) <= $until::TIMESTAMPTZ)
    AND ($since IS NULL OR max(last_seen) > $since::TIMESTAMPTZ OR NOT arg_max(is_gone, last_seen))
ORDER BY node, store_root, id, list_position(['pod', 'container', 'image'], owner_kind), first_seen, owner_id
