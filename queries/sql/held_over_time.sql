-- title: Bytes held, by reason, over time
-- question: How many bytes did open findings of each code hold, from change to change?
-- window: since until
-- parameter since timestamp required: from this instant on
-- parameter until timestamp = now: up to this instant
-- parameter cluster text: only this cluster
-- parameter node text: only this node
-- column moment: from this instant on it was so (the latest instant at which the change had happened)
-- column code: finding code
-- column findings: findings of that code that were open
-- column bytes: bytes that they held together, as far as measured
WITH
changes AS (
    SELECT code, occurred_before AS moment, cluster, node, finding_id, run, seq,
        CASE WHEN action = 'closed' THEN 0 ELSE coalesce(bytes, 0) END AS bytes, CASE WHEN action = 'closed' THEN 0 ELSE 1 END AS open
    FROM findings
    WHERE ($cluster IS NULL OR cluster = $cluster) AND ($node IS NULL OR node = $node) AND occurred_before <= $until::TIMESTAMPTZ
),
steps AS (
    SELECT code, greatest(moment, $since::TIMESTAMPTZ) AS moment,
        bytes - coalesce(lag(bytes) OVER finding, 0) AS more_bytes, open - coalesce(lag(open) OVER finding, 0) AS more
    FROM changes WINDOW finding AS (PARTITION BY cluster, node, finding_id ORDER BY run, seq)
),
summed AS (SELECT code, moment, sum(more_bytes) AS more_bytes, sum(more) AS more FROM steps GROUP BY ALL)
SELECT moment, code, (sum(more) OVER place)::BIGINT AS findings, (sum(more_bytes) OVER place)::BIGINT AS bytes
FROM summed WINDOW place AS (PARTITION BY code ORDER BY moment ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
ORDER BY moment, code
