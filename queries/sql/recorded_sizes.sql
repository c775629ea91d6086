-- title: Recorded against measured sizes
-- question: Where do the engine's own size and what is on disk disagree, or is a layer empty that should not be?
-- window: at
-- parameter at timestamp = now: the instant
-- parameter cluster text: only this cluster
-- parameter node text: only this node
-- column subject: layer id
-- column role: what it served as
-- column recorded_bytes: size that the engine's record states (of the tar stream for containers/storage)
-- column apparent_bytes: sum of file sizes as measured
-- column bytes: allocated bytes as measured
-- column difference_bytes: apparent less recorded
-- column sampled_before: the measurement had ended then
-- column cluster: cluster of the node
-- column node: node
-- column store_root: root of the store
SELECT subject, role, recorded_bytes, apparent_bytes, bytes, apparent_bytes - recorded_bytes AS difference_bytes, occurred_before AS sampled_before,
    cluster, node, store_root
FROM usage_at($at)
WHERE scope = 'layer' AND recorded_bytes IS NOT NULL AND apparent_bytes IS NOT NULL AND ($cluster IS NULL OR cluster = $cluster) AND ($node IS NULL OR node = $node)
ORDER BY abs(apparent_bytes - recorded_bytes) DESC, node, store_root, subject
