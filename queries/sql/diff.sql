-- title: What changed between two instants
-- question: Which links stood at one instant and not, or otherwise, at the other?
-- window: since until
-- order: node
-- parameter since timestamp required: the first instant
-- parameter until timestamp = now: the second instant
-- parameter cluster text: only this cluster
-- parameter node text: only this node
-- parameter store text: only the store with this root
-- column change: added, removed or changed
-- column link_kind: what sort of link it is
-- column subject: what the link starts from
-- column target_then: what it pointed to at the first instant
-- column target_now: what it pointed to at the second instant
-- column state_then: its state at the first instant (null: it was not there)
-- column state_now: its state at the second instant (null: it was not there)
-- column layer_id: layer concerned
-- column file_path: where the link is written, relative to store_root
-- column changed_after: the last change of it happened after this instant
-- column changed_before: the last change of it happened before this instant
-- column certainty: certain, or possible where an instant lies in the interval of a change
-- column cluster: cluster of the node
-- column node: node
-- column store_root: root of the store
WITH
earlier AS (FROM links_at($since) WHERE ($cluster IS NULL OR cluster = $cluster) AND ($node IS NULL OR node = $node) AND ($store IS NULL OR store_root = $store)),
later AS (FROM links_at($until) WHERE ($cluster IS NULL OR cluster = $cluster) AND ($node IS NULL OR node = $node) AND ($store IS NULL OR store_root = $store)),
gone AS (
    SELECT cluster, node, store_root, link_kind, subject, file_path, arg_max({'after': occurred_after, 'before': occurred_before}, (run, seq)) AS change
    FROM links
    WHERE action = 'removed' AND occurred_before <= $until::TIMESTAMPTZ AND ($cluster IS NULL OR cluster = $cluster) AND ($node IS NULL OR node = $node)
    GROUP BY ALL
),
both_sides AS (
    SELECT e.subject IS NOT NULL AS was, l.subject IS NOT NULL AS stands, coalesce(l.link_kind, e.link_kind) AS link_kind,
        coalesce(l.subject, e.subject) AS subject, e.target AS target_then, l.target AS target_now, e.link_state AS state_then,
        l.link_state AS state_now, e.detail AS detail_then, l.detail AS detail_now, coalesce(l.layer_id, e.layer_id) AS layer_id,
        coalesce(l.file_path, e.file_path) AS file_path, l.occurred_after, l.occurred_before,
        coalesce(e.certainty, 'certain') = 'certain' AND coalesce(l.certainty, 'certain') = 'certain' AS certain,
        coalesce(l.cluster, e.cluster) AS cluster, coalesce(l.node, e.node) AS node, coalesce(l.store_root, e.store_root) AS store_root
    FROM earlier AS e
    FULL JOIN later AS l
        ON l.cluster = e.cluster AND l.node = e.node AND l.store_root IS NOT DISTINCT FROM e.store_root AND l.link_kind = e.link_kind
        AND l.subject = e.subject AND l.subject_raw IS NOT DISTINCT FROM e.subject_raw
        AND l.file_path IS NOT DISTINCT FROM e.file_path AND l.file_path_raw IS NOT DISTINCT FROM e.file_path_raw
)
SELECT CASE WHEN NOT b.was THEN 'added' WHEN NOT b.stands THEN 'removed' ELSE 'changed' END AS change, b.link_kind, b.subject, b.target_then, b.target_now,
    b.state_then, b.state_now, b.layer_id, b.file_path, CASE WHEN b.stands THEN b.occurred_after ELSE g.change.after END AS changed_after,
    CASE WHEN b.stands THEN b.occurred_before ELSE g.change.before END AS changed_before,
    CASE WHEN b.certain THEN 'certain' ELSE 'possible' END AS certainty, b.cluster, b.node, b.store_root
FROM both_sides AS b
LEFT JOIN gone AS g
    ON NOT b.stands AND g.cluster = b.cluster AND g.node = b.node AND g.store_root IS NOT DISTINCT FROM b.store_root AND g.link_kind = b.link_kind
    AND g.subject = b.subject AND g.file_path IS NOT DISTINCT FROM b.file_path
WHERE NOT b.was OR NOT b.stands OR b.target_then IS DISTINCT FROM b.target_now OR b.state_then IS DISTINCT FROM b.state_now
   OR b.detail_then IS DISTINCT FROM b.detail_now
ORDER BY node, changed_before NULLS FIRST, store_root, link_kind, subject, file_path
