-- title: Open findings
-- question: What leaked, was broken or grew at an instant, since when, who owns it, and what is the next step?
-- window: at
-- parameter at timestamp = now: the instant
-- parameter cluster text: only this cluster
-- parameter node text: only this node
-- parameter store text: only the store with this root
-- parameter family text: only leaks, breaks, contents or growth
-- parameter code text: only this finding code
-- column severity: critical, error, warning or info
-- column code: finding code
-- column family: leaks, breaks, contents or growth
-- column subject_kind: layer, image, container, link, directory, mount, filesystem or store
-- column subject: id of it, as the engine writes it
-- column bytes: allocated bytes it holds; null where unknown
-- column since_after: the damage began after this instant (null: before recording began)
-- column since_before: the damage began before this instant
-- column opened_after: it became a finding after this instant (null: unknown)
-- column opened_before: it became a finding before this instant
-- column certainty: certain, or possible where the instant lies in the interval of its opening or closing
-- column cluster: cluster of the node
-- column node: node it was found on
-- column store_kind: kind of the store
-- column store_root: root of the store
-- column file_path: path of it, relative to store_root
-- column read_only: found in an additional read-only image store
-- column k8s_namespace_name: owner, as far as known
-- column k8s_pod_name: owner, as far as known
-- column container_name: owner, as far as known
-- column container_id: owner, as far as known
-- column container_image_name: owner, as far as known
-- column container_image_id: owner, as far as known
-- column related: JSON array of the other ids concerned
-- column message: what is wrong
-- column evidence: JSON object of what the finding rests on
-- column advice: whether it is safe to remove, and the least invasive next step
-- column finding_id: stable while the same damage lasts
SELECT severity, code, family, subject_kind, subject, bytes, since_after, since_before, opened_after, opened_before, certainty,
    cluster, node, store_kind, store_root, file_path, read_only, k8s_namespace_name, k8s_pod_name, container_name, container_id,
    container_image_name, container_image_id, related, message, evidence, advice, finding_id
FROM findings_at($at)
WHERE ($cluster IS NULL OR cluster = $cluster) AND ($node IS NULL OR node = $node) AND ($store IS NULL OR store_root = $store)
  AND ($family IS NULL OR family = $family) AND ($code IS NULL OR code = $code)
ORDER BY list_position(['critical', 'error', 'warning', 'info'], severity), bytes DESC NULLS LAST, code, node, store_root, subject
