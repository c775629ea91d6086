-- title: History of findings
-- question: Which findings were opened or closed between two instants, and how long were they open?
-- window: since until
-- parameter since timestamp: from this instant on
-- parameter until timestamp = now: up to this instant
-- parameter cluster text: only this cluster
-- parameter node text: only this node
-- parameter code text: only this finding code
-- column opened_after: it became a finding after this instant (null: unknown)
-- column opened_before: it became a finding before this instant
-- column closed_after: it was over after this instant (null: still open, or unknown)
-- column closed_before: it was over before this instant (null: still open)
-- column severity: critical, error, warning or info
-- column code: finding code
-- column subject_kind: what it is about
-- column subject: id of it
-- column bytes: allocated bytes it held when last seen
-- column message: what was wrong
-- column cluster: cluster of the node
-- column node: node
-- column store_root: root of the store
-- column finding_id: name of the finding
WITH numbered AS (
    SELECT *, count(*) FILTER (action = 'opened') OVER (PARTITION BY cluster, node, finding_id ORDER BY run, seq) AS episode
    FROM findings WHERE ($cluster IS NULL OR cluster = $cluster) AND ($node IS NULL OR node = $node) AND ($code IS NULL OR code = $code)
),
episodes AS (
    SELECT arg_min(occurred_after, (run, seq)) FILTER (action = 'opened') AS opened_after,
        min(occurred_before) FILTER (action = 'opened') AS opened_before,
        min(occurred_after) FILTER (action = 'closed') AS closed_after,
        min(occurred_before) FILTER (action = 'closed') AS closed_before,
        arg_max(severity, (run, seq)) AS severity, any_value(code) AS code, any_value(subject_kind) AS subject_kind, any_value(subject) AS subject,
        arg_max(bytes, (run, seq)) AS bytes, arg_max(message, (run, seq)) AS message, cluster, node, any_value(store_root) AS store_root, finding_id
    FROM numbered GROUP BY cluster, node, finding_id, episode
)
SELECT * FROM episodes
WHERE (opened_before BETWEEN coalesce($since, '-infinity'::TIMESTAMPTZ) AND $until)
   OR (closed_before BETWEEN coalesce($since, '-infinity'::TIMESTAMPTZ) AND $until)
ORDER BY coalesce(opened_before, closed_before), node, code, subject
