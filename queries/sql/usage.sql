-- title: Sizes
-- question: What took the space at an instant: which layers, as what, owned by whom, and how full were the filesystems?
-- window: at
-- parameter at timestamp = now: the instant
-- parameter cluster text: only this cluster
-- parameter node text: only this node
-- parameter store text: only the store with this root
-- parameter scope text: only samples of this scope
-- parameter without text: no samples of this scope
-- column scope: layer, store, filesystem, or beside: what a store keeps beside its layers, by directory
-- column subject: layer id, store root, mount point, or a directory of the store (/* after it: the files that lie loose in it)
-- column role: what a layer served as: image, container, orphan (also where a leak names it), temporary; beside: metadata, content, logs, volumes, other
-- column bytes: allocated bytes (of a filesystem: used bytes), a hard-linked file counted once
-- column recorded_bytes: size that the engine's own record states
-- column apparent_bytes: sum of file sizes
-- column shared_bytes: allocated bytes of files that have further names outside
-- column inodes: number of inodes
-- column capacity_bytes: size of the filesystem
-- column available_bytes: bytes of it still free
-- column capacity_inodes: inodes of the filesystem
-- column available_inodes: inodes of it still free
-- column images: number of images that need the layer
-- column containers: number of containers that need the layer
-- column k8s_namespace_name: owner, as far as known
-- column k8s_pod_name: owner, as far as known
-- column container_name: owner, as far as known
-- column container_id: owner, as far as known
-- column container_image_name: owner, or one of the images that need the layer
-- column container_image_id: owner, or one of the images that need the layer
-- column sampled_after: the measurement began then
-- column sampled_before: the measurement had ended then
-- column cluster: cluster of the node
-- column node: node
-- column store_kind: kind of the store
-- column store_root: root of the store
WITH RECURSIVE
standing AS MATERIALIZED (
    SELECT cluster, node, store_root, link_kind, subject, target, container_name
    FROM lake.links_of($at, ['image_layer', 'image_name', 'container_layer', 'parent_pointer'])
    WHERE target IS NOT NULL AND ($scope IS NULL OR $scope = 'layer')
      AND ($cluster IS NULL OR cluster = $cluster) AND ($node IS NULL OR node = $node) AND ($store IS NULL OR store_root = $store)
),
needed AS (
    SELECT cluster, node, store_root, subject AS image, target AS layer FROM standing WHERE link_kind = 'image_layer'
    UNION
    SELECT n.cluster, n.node, n.store_root, n.image, p.target
    FROM needed AS n JOIN standing AS p
        ON p.link_kind = 'parent_pointer' AND p.cluster = n.cluster AND p.node = n.node AND p.store_root = n.store_root AND p.subject = n.layer
),
run_on AS (
    SELECT cluster, node, store_root, subject AS container, target AS layer FROM standing WHERE link_kind = 'container_layer'
    UNION
    SELECT r.cluster, r.node, r.store_root, r.container, p.target
    FROM run_on AS r JOIN standing AS p
        ON p.link_kind = 'parent_pointer' AND p.cluster = r.cluster AND p.node = r.node AND p.store_root = r.store_root AND p.subject = r.layer
),
users AS (SELECT cluster, node, store_root, layer, count(DISTINCT container) AS containers FROM run_on GROUP BY ALL),
image_names AS (
    SELECT cluster, node, store_root, target AS image, min(subject) AS name FROM standing WHERE link_kind = 'image_name' GROUP BY ALL
),
images AS (
    SELECT n.cluster, n.node, n.store_root, n.layer, count(DISTINCT n.image) AS images, min(i.name) AS name,
        coalesce(arg_min(n.image, i.name), min(n.image)) AS image
    FROM needed AS n LEFT JOIN image_names AS i USING (cluster, node, store_root, image) GROUP BY ALL
),
containers AS (
    SELECT cluster, node, store_root, target AS layer, min(subject) AS container, any_value(container_name) AS name
    FROM standing WHERE link_kind = 'container_layer' GROUP BY ALL
),
leaked AS (  -- a layer of which deleted files are open may be used by the container that holds them
    SELECT DISTINCT cluster, node, store_root, subject AS layer FROM findings_at($at)
    WHERE family = 'leaks' AND subject_kind = 'layer' AND code <> 'deleted-open-file' AND ($scope IS NULL OR $scope = 'layer')
),
sampled AS MATERIALIZED (
    FROM usage_at($at)
    WHERE ($cluster IS NULL OR cluster = $cluster) AND ($node IS NULL OR node = $node) AND ($store IS NULL OR store_root = $store)
      AND ($scope IS NULL OR scope = $scope) AND ($without IS NULL OR scope <> $without)
),
beside AS (  -- each run tells of all that there is
    SELECT cluster, node, store_root, max(run) AS run FROM sampled WHERE scope = 'beside' GROUP BY ALL
)
SELECT u.scope, u.subject, CASE WHEN l.layer IS NOT NULL THEN 'orphan' ELSE u.role END AS role,
    u.bytes, u.recorded_bytes, u.apparent_bytes, u.shared_bytes, u.inodes,
    u.capacity_bytes, u.available_bytes, u.capacity_inodes, u.available_inodes, i.images, r.containers,
    u.k8s_namespace_name, u.k8s_pod_name, coalesce(u.container_name, c.name) AS container_name, coalesce(u.container_id, c.container) AS container_id,
    coalesce(u.container_image_name, i.name) AS container_image_name, coalesce(u.container_image_id, i.image) AS container_image_id,
    u.occurred_after AS sampled_after, u.occurred_before AS sampled_before, u.cluster, u.node, u.store_kind, u.store_root
FROM sampled AS u
LEFT JOIN images AS i ON u.scope = 'layer' AND i.cluster = u.cluster AND i.node = u.node AND i.store_root = u.store_root AND i.layer = u.subject
LEFT JOIN containers AS c ON u.scope = 'layer' AND c.cluster = u.cluster AND c.node = u.node AND c.store_root = u.store_root AND c.layer = u.subject
LEFT JOIN leaked AS l ON u.scope = 'layer' AND l.cluster = u.cluster AND l.node = u.node AND l.store_root = u.store_root AND l.layer = u.subject
LEFT JOIN users AS r ON u.scope = 'layer' AND r.cluster = u.cluster AND r.node = u.node AND r.store_root = u.store_root AND r.layer = u.subject
LEFT JOIN beside AS b ON u.scope = 'beside' AND b.cluster = u.cluster AND b.node = u.node AND b.store_root = u.store_root
WHERE u.scope <> 'beside' OR (u.run = b.run AND u.bytes > 0)
ORDER BY list_position(['filesystem', 'store', 'layer', 'beside'], u.scope), u.bytes DESC NULLS LAST, u.node, u.store_root, u.subject
