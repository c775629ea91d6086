-- title: Layers
-- question: Which layers were there at an instant: record, directory, parent, and what held them?
-- window: at
-- parameter at timestamp = now: the instant
-- parameter cluster text: only this cluster
-- parameter node text: only this node
-- column layer_id: layer
-- column record: state of its record (null: none)
-- column directory: state of its directory (null: none)
-- column parent: its parent by the record
-- column images: images of which it is the top layer
-- column containers: containers whose writable layer it is
-- column leases: leases that hold it
-- column names: names it has
-- column bytes: allocated bytes, by the newest sample
-- column role: what it served as then
-- column certainty: certain, or possible where the instant lies in the interval of a change
-- column directory_path: its directory, relative to store_root
-- column cluster: cluster of the node
-- column node: node
-- column store_kind: kind of the store
-- column store_root: root of the store
SELECT layer_id, record, directory, parent, images, containers, leases, names, bytes, role, certainty, directory_path,
    cluster, node, store_kind, store_root
FROM layers_at($at) WHERE ($cluster IS NULL OR cluster = $cluster) AND ($node IS NULL OR node = $node)
ORDER BY node, store_root, layer_id
