-- title: Link changes by the hour
-- question: When did much change in the links of a store, and of which sort?
-- window: since until
-- parameter since timestamp: from this instant on
-- parameter until timestamp = now: up to this instant
-- parameter cluster text: only this cluster
-- parameter node text: only this node
-- column hour: hour (UTC) in which the changes were known to have happened
-- column cluster: cluster of the node
-- column node: node
-- column store_root: root of the store
-- column link_kind: kind of link
-- column created: links created in that hour
-- column removed: links removed
-- column retargeted: links that point elsewhere since
-- column changed: links changed otherwise
SELECT date_trunc('hour', occurred_before) AS hour, cluster, node, store_root, link_kind, count(*) FILTER (action = 'created') AS created,
    count(*) FILTER (action = 'removed') AS removed, count(*) FILTER (action = 'retargeted') AS retargeted, count(*) FILTER (action = 'changed') AS changed
FROM links
WHERE action <> 'observed' AND ($cluster IS NULL OR cluster = $cluster) AND ($node IS NULL OR node = $node) AND ($since IS NULL OR occurred_before >= $since) AND occurred_before <= $until
GROUP BY ALL ORDER BY hour, node, store_root, link_kind
