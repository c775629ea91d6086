-- title: The same finding on many nodes
-- question: Which nodes show the same finding, and since which minute did each of them (an upgrade that did it shows as many at once)?
-- window: at
-- parameter at timestamp = now: the instant
-- parameter cluster text: only this cluster
-- parameter node text: only this node
-- parameter code text: only this finding code
-- column code: finding code
-- column minute: the minute at the end of which the first of them on these nodes is known to have begun
-- column nodes: number of nodes on which the first one began in that minute
-- column node_names: those nodes
-- column findings: how many such findings are open on them
-- column bytes: bytes that they hold together, as far as measured
-- column certain_nodes: on how many of the nodes the beginning is known to the minute (its interval is shorter than one)
-- column all_nodes: on how many nodes this code is open at all
-- column first_minute: the minute in which it began on the first node
-- column cluster: cluster of the nodes
WITH
open_now AS (
    SELECT cluster, node, code, bytes, coalesce(since_before, opened_before) AS began_before,
        CASE WHEN since_before IS NULL THEN opened_after ELSE since_after END AS began_after
    FROM findings_at($at)
    WHERE ($cluster IS NULL OR cluster = $cluster) AND ($node IS NULL OR node = $node) AND ($code IS NULL OR code = $code)
),
by_node AS (
    SELECT cluster, node, code, count(*) AS findings, sum(bytes)::BIGINT AS bytes, min(began_before) AS began_before,
        arg_min(began_after, began_before) AS began_after
    FROM open_now GROUP BY ALL
),
dated AS (
    SELECT *, date_trunc('minute', began_before) AS minute, count(*) OVER (PARTITION BY cluster, code) AS all_nodes,
        min(date_trunc('minute', began_before)) OVER (PARTITION BY cluster, code) AS first_minute
    FROM by_node
)
SELECT code, minute, count(*) AS nodes, list_sort(list(node)) AS node_names, sum(findings)::BIGINT AS findings, sum(bytes)::BIGINT AS bytes,
    count(*) FILTER (began_after IS NOT NULL AND date_diff('second', began_after, began_before) <= 60) AS certain_nodes,
    any_value(all_nodes) AS all_nodes, any_value(first_minute) AS first_minute, cluster
FROM dated GROUP BY cluster, code, minute
ORDER BY all_nodes DESC, code, minute, cluster
