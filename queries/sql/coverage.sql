-- title: Where the record reaches
-- question: Was the record of each store complete in this time: from when to when does it reach, and how much of it may miss something?
-- window: since until
-- parameter since timestamp: from this instant on
-- parameter until timestamp = now: up to this instant
-- parameter cluster text: only this cluster
-- parameter node text: only this node
-- column node: node
-- column store_kind: kind of the store
-- column store_root: root of the store
-- column recorded_from: recording began then
-- column recorded_to: the collector vouches for the record up to then
-- column runs: number of collector runs
-- column recording: whether the last word was no stop
-- column gaps: number of gaps in the asked time
-- column gap_seconds: how long they are together, each counted within the asked time
-- column causes: their causes
-- column cluster: cluster of the node
WITH
stores AS (
    SELECT cluster, node, any_value(store_kind) AS store_kind, store_root, min(began) AS began, max(vouched) AS vouched, count(DISTINCT run) AS runs,
        NOT arg_max(stopped, run) AS recording
    FROM lake.recorded_runs
    WHERE ($cluster IS NULL OR cluster = $cluster) AND ($node IS NULL OR node = $node)
    GROUP BY cluster, node, store_root HAVING min(began) IS NOT NULL
)
SELECT s.node, s.store_kind, s.store_root, s.began AS recorded_from, s.vouched AS recorded_to, s.runs, s.recording, count(g.ended) AS gaps,
    coalesce(sum(date_diff('microsecond', greatest(g.began, $since::TIMESTAMPTZ, s.began), least(g.ended, $until::TIMESTAMPTZ)))
        FILTER (g.ended IS NOT NULL AND least(g.ended, $until::TIMESTAMPTZ) > greatest(g.began, $since::TIMESTAMPTZ, s.began)), 0) / 1000000 AS gap_seconds,
    list_sort(list_distinct(coalesce(list(g.cause) FILTER (g.cause IS NOT NULL), []))) AS causes, s.cluster
FROM stores AS s
LEFT JOIN gaps AS g
    ON g.cluster = s.cluster AND g.node = s.node AND (g.store_root IS NULL OR g.store_root = s.store_root)
    AND ($since IS NULL OR g.ended >= $since) AND (g.began IS NULL OR g.began <= $until)
GROUP BY ALL ORDER BY s.node, s.store_root
