-- title: Gaps in the record
-- question: When may the record have missed something, where, and why?
-- window: since until
-- parameter since timestamp: from this instant on
-- parameter until timestamp = now: up to this instant
-- parameter cluster text: only this cluster
-- parameter node text: only this node
-- column began: the gap began then (null: unknown)
-- column ended: the gap ended then
-- column seconds: its length
-- column cause: restart, overflow, watch-budget, unmount, clock-jump, batch-missing, unrecorded, ...
-- column message: the cause in one sentence
-- column cluster: cluster of the node
-- column node: node
-- column store_kind: kind of the store (null: the whole node)
-- column store_root: root of the store (null: the whole node)
-- column gap_id: name of the gap
-- column run: collector run that stated it
SELECT began, ended, seconds, cause, message, cluster, node, store_kind, store_root, gap_id, run
FROM gaps
WHERE ($cluster IS NULL OR cluster = $cluster) AND ($node IS NULL OR node = $node) AND ($since IS NULL OR ended >= $since) AND (began IS NULL OR began <= $until)
ORDER BY ended, node, store_root, cause
