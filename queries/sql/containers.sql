-- title: Containers at an instant
-- question: Which containers were there, on which image and writable layer, of which pod, mounted or not, and how large?
-- window: at
-- order: node
-- parameter at timestamp = now: the instant
-- parameter cluster text: only this cluster
-- parameter node text: only this node
-- column container_id: id of the container
-- column container_name: name of it
-- column image: name of its image, else the id
-- column k8s_namespace_name: namespace of its pod
-- column k8s_pod_name: its pod
-- column layer_id: its writable layer
-- column directory: directory of that layer, relative to store_root (null: gone)
-- column bytes: allocated bytes of the writable layer, as measured last
-- column mounted: where its root filesystem was mounted (empty: not mounted, or mounts were not read)
-- column created: when the record says it was made
-- column known_after: the record is there since after this instant (null: before recording began)
-- column known_before: the record was there before this instant
-- column certainty: certain, or possible where the instant lies in the interval of a change
-- column cluster: cluster of the node
-- column node: node
-- column store_root: root of the store
WITH
standing AS MATERIALIZED (
    SELECT cluster, node, store_root, link_kind, subject, target, layer_id, file_path, detail, container_name, container_image_name, container_image_id,
        k8s_namespace_name, k8s_pod_name, occurred_after, occurred_before, certainty
    FROM lake.links_of($at, ['container_record', 'container_layer', 'container_image', 'layer_record', 'layer_directory', 'mount'])
    WHERE ($cluster IS NULL OR cluster = $cluster) AND ($node IS NULL OR node = $node)
),
records AS (
    SELECT cluster, node, store_root, subject AS container, any_value(detail) AS detail, any_value(container_name) AS name,
        any_value(container_image_name) AS image_name, any_value(container_image_id) AS image_id, any_value(k8s_namespace_name) AS namespace,
        any_value(k8s_pod_name) AS pod, arg_min(occurred_after, occurred_before) AS known_after, min(occurred_before) AS known_before,
        bool_and(certainty = 'certain') AS certain
    FROM standing WHERE link_kind = 'container_record' GROUP BY ALL
),
layers AS (SELECT cluster, node, store_root, subject AS container, max(target) AS layer FROM standing WHERE link_kind = 'container_layer' GROUP BY ALL),
images AS (SELECT cluster, node, store_root, subject AS container, max(target) AS image FROM standing WHERE link_kind = 'container_image' GROUP BY ALL),
directories AS (
    SELECT cluster, node, store_root, coalesce(layer_id, subject) AS layer, max(file_path) AS path FROM standing WHERE link_kind = 'layer_directory' GROUP BY ALL
),
mounts AS (
    SELECT cluster, node, store_root, coalesce(target, layer_id) AS layer, list_sort(list(DISTINCT subject)) AS points FROM standing WHERE link_kind = 'mount' GROUP BY ALL
)
SELECT r.container AS container_id, coalesce(r.name, json_extract_string(r.detail, '$.names[0]')) AS container_name, coalesce(r.image_name, i.image, r.image_id) AS image,
    r.namespace AS k8s_namespace_name, r.pod AS k8s_pod_name, l.layer AS layer_id, d.path AS directory, u.bytes, coalesce(m.points, []) AS mounted,
    json_extract_string(r.detail, '$.created') AS created, r.known_after, r.known_before,
    CASE WHEN r.certain THEN 'certain' ELSE 'possible' END AS certainty, r.cluster, r.node, r.store_root
FROM records AS r
LEFT JOIN layers AS l USING (cluster, node, store_root, container)
LEFT JOIN images AS i USING (cluster, node, store_root, container)
LEFT JOIN directories AS d ON d.cluster = r.cluster AND d.node = r.node AND d.store_root = r.store_root AND d.layer = l.layer
LEFT JOIN mounts AS m ON m.cluster = r.cluster AND m.node = r.node AND m.store_root = r.store_root AND m.layer = l.layer
LEFT JOIN (
        SELECT * FROM usage_at($at) WHERE scope = 'layer' AND ($cluster IS NULL OR cluster = $cluster) AND ($node IS NULL OR node = $node)
    ) AS u
    ON u.cluster = r.cluster AND u.node = r.node AND u.store_root = r.store_root AND u.subject = l.layer
ORDER BY r.node, r.store_root, container_name, container_id
