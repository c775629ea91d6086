-- title: Leaks by code
-- question: How many leaks of which sort were open at an instant on each node, and how much do they hold?
-- window: at
-- parameter at timestamp = now: the instant
-- parameter cluster text: only this cluster
-- parameter node text: only this node
-- column node: node
-- column code: finding code
-- column leaks: number of open leaks
-- column bytes: allocated bytes they hold, as far as measured
-- column unmeasured: number of those whose size is unknown
-- column oldest_before: the oldest of them began before this instant
-- column cluster: cluster of the node
SELECT node, code, count(*) AS leaks, sum(bytes)::BIGINT AS bytes, count(*) FILTER (bytes IS NULL) AS unmeasured,
    min(coalesce(since_before, opened_before)) AS oldest_before, cluster
FROM findings_at($at) WHERE family = 'leaks' AND ($cluster IS NULL OR cluster = $cluster) AND ($node IS NULL OR node = $node)
GROUP BY cluster, node, code ORDER BY bytes DESC NULLS LAST, leaks DESC, node, code
