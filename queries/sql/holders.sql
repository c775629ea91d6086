-- title: What holds an id
-- question: Why is this layer not collected: which child, container, image, lease, label or mount pointed to it at an instant?
-- window: at
-- parameter id text required: the whole id
-- parameter at timestamp = now: the instant
-- parameter cluster text: only this cluster
-- parameter node text: only this node
-- column held_by: kind of the link that points to it
-- column subject: what the link starts from: the id of the holder
-- column target: what it points to
-- column file_path: where that is written, relative to store_root
-- column since_after: the link is there since after this instant (null: before recording began)
-- column since_before: the link was there before this instant
-- column certainty: certain, or possible where the instant lies in the interval of a change
-- column cluster: cluster of the node
-- column node: node
-- column store_root: root of the store
-- column container_name: name of the holder, where it is a container
-- column k8s_pod_name: pod of the holder, as far as known
SELECT link_kind AS held_by, subject, target, file_path, occurred_after AS since_after, occurred_before AS since_before, certainty,
    cluster, node, store_root, container_name, k8s_pod_name
FROM lake.links_of($at, ['parent_pointer', 'child_pointer', 'image_layer', 'container_layer', 'container_image', 'image_name', 'layer_name',
    'lease', 'label_reference', 'mount', 'temporary_directory'])
WHERE target = $id AND ($cluster IS NULL OR cluster = $cluster) AND ($node IS NULL OR node = $node)
ORDER BY node, store_root, held_by, subject
