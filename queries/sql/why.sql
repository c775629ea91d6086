-- title: What holds an id, all the way up
-- question: Why is this layer or image not collected: by which path of links does an image, container, lease, label or mount hold it?
-- window: at
-- parameter id text required: the whole id
-- parameter at timestamp = now: the instant
-- parameter cluster text: only this cluster
-- parameter node text: only this node
-- column held_by: image, container, lease (one that has not expired), label, mount, name, temporary directory or phantom child
-- column holder: id of the holder
-- column holder_name: a name of it, where it has one
-- column k8s_namespace_name: namespace of the pod that owns the holder, as far as known
-- column k8s_pod_name: pod that owns the holder, as far as known
-- column path: ids from the holder down to the asked one
-- column steps: number of links in the path
-- column file_path: where the first of them is written, relative to store_root
-- column held_after: the youngest link of the path is there since after this instant (null: before recording began)
-- column held_before: the youngest link of the path was there before this instant
-- column certainty: certain, or possible where the instant lies in the interval of a change
-- column cluster: cluster of the node
-- column node: node
-- column store_root: root of the store
WITH RECURSIVE
standing AS MATERIALIZED (
    SELECT cluster, node, store_root, link_kind, subject, target, file_path, detail, occurred_after, occurred_before, certainty,
        container_name, container_image_name, k8s_namespace_name, k8s_pod_name
    FROM lake.links_of($at, ['parent_pointer', 'child_pointer', 'image_layer', 'container_layer', 'container_image', 'image_name', 'lease',
        'label_reference', 'mount', 'temporary_directory', 'layer_record'])
    WHERE ($cluster IS NULL OR cluster = $cluster) AND ($node IS NULL OR node = $node)
      -- a lease that has expired holds nothing any more, though it stands until the next collection
      AND NOT (link_kind = 'lease' AND coalesce(try_cast(json_extract_string(detail, '$.expires') AS TIMESTAMPTZ) <= $at, false))
),
above AS (
    SELECT DISTINCT cluster, node, store_root, $id::VARCHAR AS id, [$id::VARCHAR] AS path, NULL::TIMESTAMPTZ AS held_after,
        NULL::TIMESTAMPTZ AS held_before, true AS certain
    FROM standing
    UNION
    SELECT a.cluster, a.node, a.store_root, p.subject, list_prepend(p.subject, a.path),
        CASE WHEN a.held_before IS NULL OR p.occurred_before > a.held_before THEN p.occurred_after ELSE a.held_after END,
        greatest(a.held_before, p.occurred_before), a.certain AND p.certainty = 'certain'
    FROM above AS a
    JOIN standing AS p
        ON p.link_kind = 'parent_pointer' AND p.cluster = a.cluster AND p.node = a.node AND p.store_root = a.store_root AND p.target = a.id
    WHERE NOT list_contains(a.path, p.subject) AND len(a.path) < 500
),
names AS (
    SELECT cluster, node, store_root, target AS image, min(subject) AS name FROM standing WHERE link_kind = 'image_name' GROUP BY ALL
),
holders AS (
    SELECT CASE s.link_kind WHEN 'image_layer' THEN 'image' WHEN 'container_layer' THEN 'container' WHEN 'container_image' THEN 'container'
            WHEN 'label_reference' THEN 'label' WHEN 'image_name' THEN 'name' WHEN 'temporary_directory' THEN 'temporary directory'
            ELSE s.link_kind END AS held_by,
        s.subject AS holder, s.container_name, a.path, s.file_path, a.held_after, a.held_before, a.certain, s.occurred_after, s.occurred_before,
        s.certainty, s.k8s_namespace_name, s.k8s_pod_name, s.cluster, s.node, s.store_root
    FROM above AS a
    JOIN standing AS s
        ON s.link_kind NOT IN ('parent_pointer', 'child_pointer', 'layer_record') AND s.cluster = a.cluster AND s.node = a.node
        AND s.store_root = a.store_root AND s.target = a.id
    UNION ALL
    SELECT 'phantom child', s.target, NULL, a.path, s.file_path, a.held_after, a.held_before, a.certain, s.occurred_after, s.occurred_before,
        s.certainty, NULL, NULL, s.cluster, s.node, s.store_root
    FROM above AS a
    JOIN standing AS s
        ON s.link_kind = 'child_pointer' AND s.cluster = a.cluster AND s.node = a.node AND s.store_root = a.store_root AND s.subject = a.id
    WHERE NOT EXISTS (
        FROM standing AS r
        WHERE r.link_kind = 'layer_record' AND r.cluster = s.cluster AND r.node = s.node AND r.store_root = s.store_root AND r.subject = s.target
    )
)
SELECT DISTINCT h.held_by, h.holder, coalesce(h.container_name, n.name) AS holder_name, h.k8s_namespace_name, h.k8s_pod_name,
    CASE WHEN h.holder = h.path[1] THEN h.path ELSE list_prepend(h.holder, h.path) END AS path, len(h.path) AS steps, h.file_path,
    CASE WHEN h.held_before IS NULL OR h.occurred_before > h.held_before THEN h.occurred_after ELSE h.held_after END AS held_after,
    greatest(h.held_before, h.occurred_before) AS held_before,
    CASE WHEN h.certain AND h.certainty = 'certain' THEN 'certain' ELSE 'possible' END AS certainty, h.cluster, h.node, h.store_root
FROM holders AS h
LEFT JOIN names AS n ON n.cluster = h.cluster AND n.node = h.node AND n.store_root = h.store_root AND n.image = h.holder
ORDER BY node, store_root, steps, held_by, holder, file_path
