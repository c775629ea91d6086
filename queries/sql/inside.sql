-- title: A path inside of containers
-- question: Was a path, or a name on its way, a symbolic link (to where), a hard link or a whiteout in the writable layer of a container at an instant, and since when?
-- window: at
-- parameter path text required: the path as a container names it
-- parameter at timestamp = now: the instant
-- parameter id text: only the layer with this id
-- parameter cluster text: only this cluster
-- parameter node text: only this node
-- column path: the path, or the name on its way that is the link
-- column kind: symlink, hardlink, whiteout (the container removed what the layers below have), or unread_name (it changed faster than it could be read); only deep mode records them
-- column target: where the symbolic link points, as written; of a hard link inode:NUMBER
-- column layer_id: the writable layer
-- column since_after: it is so since after this instant (null: before recording began)
-- column since_before: it was so before this instant
-- column certainty: certain, or possible where the instant lies in the interval of a change
-- column container_id: the container
-- column container_name: name of it
-- column container_image_name: its image
-- column k8s_namespace_name: namespace of its pod
-- column k8s_pod_name: its pod
-- column file_path: where it is on disk, relative to store_root
-- column cluster: cluster of the node
-- column node: node
-- column store_root: root of the store
SELECT subject AS path, link_kind AS kind, target, layer_id, occurred_after AS since_after, occurred_before AS since_before, certainty,
    container_id, container_name, container_image_name, k8s_namespace_name, k8s_pod_name, file_path, cluster, node, store_root
FROM links_at($at)
WHERE link_kind IN ('symlink', 'hardlink', 'whiteout', 'unread_name') AND starts_with('/' || trim($path, '/') || '/', subject || '/')
  AND ($id IS NULL OR layer_id = $id) AND ($cluster IS NULL OR cluster = $cluster) AND ($node IS NULL OR node = $node)
ORDER BY node, store_root, layer_id, length(subject)
