-- title: What grew
-- question: Which layers, stores and filesystems grew or shrank between two instants, and by how much?
-- window: since until
-- parameter since timestamp: from this instant on
-- parameter until timestamp = now: up to this instant
-- parameter cluster text: only this cluster
-- parameter node text: only this node
-- column scope: layer, store or filesystem
-- column subject: layer id, store root or mount point
-- column role: what a layer served as when it was last measured
-- column growth_bytes: bytes at the last sample less bytes at the first
-- column first_bytes: bytes at the first sample
-- column last_bytes: bytes at the last sample
-- column largest_bytes: the largest sample in between
-- column samples: number of samples
-- column first_sampled: the first sample had been taken then
-- column last_sampled: the last sample had been taken then
-- column container_name: owner, as far as known
-- column container_image_name: owner, as far as known
-- column k8s_pod_name: owner, as far as known
-- column cluster: cluster of the node
-- column node: node
-- column store_root: root of the store
SELECT scope, subject, arg_max(role, (run, seq)) AS role, arg_max(bytes, (run, seq)) - arg_min(bytes, (run, seq)) AS growth_bytes,
    arg_min(bytes, (run, seq)) AS first_bytes, arg_max(bytes, (run, seq)) AS last_bytes, max(bytes) AS largest_bytes, count(*) AS samples,
    min(occurred_before) AS first_sampled, max(occurred_before) AS last_sampled, arg_max(container_name, (run, seq)) AS container_name,
    arg_max(container_image_name, (run, seq)) AS container_image_name, arg_max(k8s_pod_name, (run, seq)) AS k8s_pod_name,
    cluster, node, store_root
FROM usage
WHERE ($cluster IS NULL OR cluster = $cluster) AND ($node IS NULL OR node = $node) AND ($since IS NULL OR occurred_before >= $since) AND occurred_before <= $until AND bytes IS NOT NULL
GROUP BY scope, subject, cluster, node, store_root
ORDER BY growth_bytes DESC, last_bytes DESC, node, store_root, subject
