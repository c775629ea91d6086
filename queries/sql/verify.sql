-- title: Is the record whole
-- question: Do the rows in the lake agree with the batches that the collectors sealed: hash chain, numbering and row counts of every run?
-- window: since until
-- parameter since timestamp: only runs of which a batch was received after this instant
-- parameter until timestamp: only runs of which a batch was received by this instant
-- parameter cluster text: only this cluster
-- parameter node text: only this node
-- column verdict: whole, gap (batches are missing, and the record says so), or broken
-- column node: node
-- column run: collector run
-- column first_sealed: the first batch of it had been received then
-- column last_sealed: the last batch of it had been received then
-- column batches: number of batches received
-- column missing_batches: numbers that are missing between the first and the last
-- column unstated_batches: how many of them no gap of the record speaks of
-- column chain_breaks: batches whose digest the next one does not name, and contradictions that the processor stated
-- column rows_stated: rows that the batches held
-- column rows_found: rows of them that are in the lake
-- column rows_strange: rows of the run that no batch speaks of, and rows that views show once more than sealed
-- column rows_twice: rows that are stored more than once (views show each once)
-- column cluster: cluster of the node
WITH
kept AS (  -- retention takes whole days; of those before the horizon it carries single rows, which stand in no chain any more
    SELECT first FROM lake.horizon
),
chained AS (  -- a batch whose row is there more than once counts by the first
    SELECT cluster, node, run, batch, batch_rows, first_seq, last_seq, batch_digest, previous_digest, observed_at,
        occurred_after::DATE < (SELECT first FROM kept) AS aged, occurred_after::DATE <= (SELECT first FROM kept) AS early,
        lag(batch) OVER place AS before, lag(batch_digest) OVER place AS digest_before, lag(last_seq) OVER place AS seq_before
    FROM coverage
    WHERE kind = 'batch' AND day >= (SELECT first FROM kept) AND ($cluster IS NULL OR cluster = $cluster) AND ($node IS NULL OR node = $node)
    WINDOW place AS (PARTITION BY cluster, node, run ORDER BY batch, observed_at)
    QUALIFY before IS DISTINCT FROM batch
),
stated AS (
    SELECT cluster, node, run, count(DISTINCT (batch, first_seq, last_seq)) FILTER (cause = 'chain-broken') AS contradictions,
        bool_or(cause IN ('batch-missing', 'batch-undecodable')) AS holes
    FROM coverage WHERE kind = 'gap' AND cause IN ('chain-broken', 'batch-missing', 'batch-undecodable') GROUP BY ALL
),
runs AS (
    SELECT c.cluster, c.node, c.run, min(c.observed_at) AS first_sealed, max(c.observed_at) AS last_sealed, count(*) AS batches,
        (coalesce(sum(c.batch - c.before - 1), 0) + CASE WHEN bool_or(c.early) THEN 0 ELSE min(c.batch) END)::BIGINT AS missing,
        count(*) FILTER (c.before = c.batch - 1 AND c.previous_digest IS DISTINCT FROM c.digest_before) AS breaks,
        coalesce(sum(c.batch_rows) FILTER (NOT c.aged), 0)::BIGINT AS rows_stated, bool_or(c.aged) AS some_aged,
        min(c.first_seq) FILTER (NOT c.aged) AS first_row, max(c.last_seq) FILTER (NOT c.aged) AS last_row,
        bool_and(c.batch_rows = c.last_seq - c.first_seq + 1 AND (c.seq_before IS NULL OR c.first_seq = c.seq_before + 1)) AS in_a_row
    FROM chained AS c GROUP BY ALL
),
numbered AS NOT MATERIALIZED (
    SELECT cluster, node, run, seq FROM links WHERE seq IS NOT NULL AND day >= (SELECT first FROM kept)
    UNION ALL SELECT cluster, node, run, seq FROM findings WHERE seq IS NOT NULL AND day >= (SELECT first FROM kept)
    UNION ALL SELECT cluster, node, run, seq FROM usage WHERE seq IS NOT NULL AND day >= (SELECT first FROM kept)
    UNION ALL SELECT cluster, node, run, seq FROM coverage WHERE seq IS NOT NULL AND day >= (SELECT first FROM kept)
),
counted AS NOT MATERIALIZED (
    SELECT cluster, node, run, count(*) AS rows, min(seq) AS first, max(seq) AS last, sum(seq) AS total,
        sum(seq::HUGEINT * seq) AS squares
    FROM numbered WHERE ($cluster IS NULL OR cluster = $cluster) AND ($node IS NULL OR node = $node) GROUP BY ALL
),
doubtful AS MATERIALIZED (
    -- Batches that follow each other say every number from first_row to last_row once. Where the rows have every number from their first
    -- to their last once (count, sum and sum of squares say so), and end where the batches end, nothing is lost, strange or twice, and no
    -- row needs to be placed in its batch. Only the rows of the other runs are.
    SELECT r.cluster, r.node, r.run, row_number() OVER () AS number
    FROM runs AS r LEFT JOIN counted AS n USING (cluster, node, run)
    WHERE (
        r.in_a_row AND r.rows_stated = r.last_row - r.first_row + 1
        AND n.rows = n.last - n.first + 1 AND 2 * n.total = n.rows::HUGEINT * (n.first + n.last)
        AND 6 * n.squares = n.last::HUGEINT * (n.last + 1) * (2 * n.last + 1) - (n.first - 1)::HUGEINT * n.first * (2 * n.first - 1)
        AND n.last = r.last_row AND (n.first = r.first_row OR (r.some_aged AND n.first < r.first_row))
    ) IS NOT TRUE
),
placed AS (  -- by the number of the run: placing by three texts takes far longer
    SELECT n.number, n.seq, b.batch IS NULL OR n.seq > b.last_seq AS strange, b.aged
    FROM (SELECT d.number, r.seq FROM numbered AS r JOIN doubtful AS d USING (cluster, node, run)) AS n
    ASOF LEFT JOIN (SELECT d.number, c.* FROM chained AS c JOIN doubtful AS d USING (cluster, node, run)) AS b
    ON b.number = n.number AND n.seq >= b.first_seq
),
found AS (
    SELECT number, count(DISTINCT seq) FILTER (NOT strange AND NOT aged) AS known,
        count(*) FILTER (NOT strange AND NOT aged) AS stored, count(*) FILTER (strange) AS strange
    FROM placed GROUP BY number
),
twice AS (
    SELECT cluster, node, run, count(*) AS rows FROM lake.repeated GROUP BY ALL
),
judged AS (
    SELECT r.*, coalesce(s.contradictions, 0) AS contradictions, CASE WHEN coalesce(s.holes, false) THEN 0 ELSE r.missing END AS unstated,
        CASE WHEN d.run IS NULL THEN r.rows_stated ELSE coalesce(f.known, 0) END AS known,
        CASE WHEN r.missing > 0 OR r.some_aged THEN 0 ELSE coalesce(f.strange, 0) END + coalesce(f.stored - f.known, 0) AS strange
    FROM runs AS r
    LEFT JOIN stated AS s USING (cluster, node, run)
    LEFT JOIN doubtful AS d USING (cluster, node, run)
    LEFT JOIN found AS f ON f.number = d.number
)
SELECT CASE WHEN j.breaks + j.contradictions + j.unstated + j.strange > 0 OR j.known <> j.rows_stated THEN 'broken' WHEN j.missing > 0 THEN 'gap' ELSE 'whole' END AS verdict,
    node, run, j.first_sealed, j.last_sealed, j.batches, j.missing AS missing_batches, j.unstated AS unstated_batches, j.breaks + j.contradictions AS chain_breaks,
    j.rows_stated, j.known AS rows_found, j.strange AS rows_strange, coalesce(t.rows, 0) AS rows_twice, cluster
FROM judged AS j LEFT JOIN twice AS t USING (cluster, node, run)
WHERE ($since IS NULL OR j.last_sealed > $since::TIMESTAMPTZ) AND ($until IS NULL OR j.first_sealed <= $until::TIMESTAMPTZ)
ORDER BY list_position(['broken', 'gap', 'whole'], verdict), node, run
