-- title: When a filesystem is full
-- question: When will each filesystem run out of bytes or inodes if it goes on as it does now, and since when does it go like that?
-- window: since until
-- parameter since timestamp required: from this instant on
-- parameter until timestamp = now: up to this instant; the forecast is made from there
-- parameter cluster text: only this cluster
-- parameter node text: only this node
-- column resource: bytes or inodes
-- column filesystem: mount point
-- column full_at: when nothing will be left, by the median slope (null: it does not grow)
-- column full_earliest: by the steepest tenth of the slopes
-- column full_latest: by the flattest tenth of the slopes (null: it may never be full)
-- column hourly: growth an hour now, by the median slope
-- column slope_since: since when it goes like that: the slope changed about then, or the time begins there
-- column slope_changed: whether the slope changed in the asked time
-- column hourly_before: growth an hour before that (null: it did not change)
-- column free: what an unprivileged writer may still use
-- column capacity: size of the filesystem
-- column samples: number of samples since slope_since
-- column last_sampled: the newest of them
-- column cluster: cluster of the node
-- column node: node
WITH
measured AS (
    SELECT cluster, node, subject AS filesystem, occurred_before AS sampled, epoch_us(occurred_before) / 1e6 AS moment, bytes, available_bytes, capacity_bytes,
        capacity_inodes - available_inodes AS used_inodes, available_inodes, capacity_inodes
    FROM usage
    WHERE scope = 'filesystem' AND occurred_before >= $since::TIMESTAMPTZ AND occurred_before <= $until::TIMESTAMPTZ
      AND ($cluster IS NULL OR cluster = $cluster) AND ($node IS NULL OR node = $node)
),
each AS (
    SELECT cluster, node, filesystem, 'bytes' AS resource, sampled, moment, bytes::DOUBLE AS used, available_bytes AS free, capacity_bytes AS capacity
    FROM measured WHERE bytes IS NOT NULL AND available_bytes IS NOT NULL
    UNION ALL
    SELECT cluster, node, filesystem, 'inodes', sampled, moment, used_inodes::DOUBLE, available_inodes, capacity_inodes
    FROM measured WHERE used_inodes IS NOT NULL AND capacity_inodes > 0
),
thinned AS (  -- at most 300 samples of a filesystem, evenly over time
    SELECT cluster, node, filesystem, resource, max(sampled) AS sampled, max(moment) AS moment, arg_max(used, moment) AS used
    FROM (SELECT *, ntile(300) OVER (PARTITION BY cluster, node, filesystem, resource ORDER BY moment) AS part FROM each)
    GROUP BY cluster, node, filesystem, resource, part
),
numbered AS (
    SELECT *, moment - max(moment) OVER place AS t, row_number() OVER (place ORDER BY moment) AS n, count(*) OVER place AS count
    FROM thinned WINDOW place AS (PARTITION BY cluster, node, filesystem, resource)
),
fitted AS (  -- squared errors of a line through the samples up to here, and through those from here on
    SELECT *, regr_syy(used, t) OVER up - coalesce(regr_sxy(used, t) OVER up * regr_sxy(used, t) OVER up / nullif(regr_sxx(used, t) OVER up, 0), 0) AS error_before,
        regr_syy(used, t) OVER down - coalesce(regr_sxy(used, t) OVER down * regr_sxy(used, t) OVER down / nullif(regr_sxx(used, t) OVER down, 0), 0) AS error_after,
        regr_slope(used, t) OVER up AS slope_before, regr_slope(used, t) OVER down AS slope_after
    FROM numbered
    WINDOW up AS (PARTITION BY cluster, node, filesystem, resource ORDER BY n ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW),
        down AS (PARTITION BY cluster, node, filesystem, resource ORDER BY n ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING)
),
bends AS (
    SELECT cluster, node, filesystem, resource, arg_min(n, error_before + error_after) AS n, min(error_before + error_after) AS error,
        arg_min(abs(slope_after - slope_before) > 0.1 * greatest(abs(slope_after), abs(slope_before)), error_before + error_after) AS turns
    FROM fitted WHERE n >= 4 AND count - n >= 4 GROUP BY ALL
),
starts AS (  -- a bend counts when two lines of different slope leave less than a quarter of the squared error of one
    SELECT f.cluster, f.node, f.filesystem, f.resource, b.n IS NOT NULL AND b.turns AND b.error < 0.25 * f.error_after AS changed,
        CASE WHEN b.n IS NOT NULL AND b.turns AND b.error < 0.25 * f.error_after THEN b.n ELSE 1 END AS first
    FROM fitted AS f LEFT JOIN bends AS b USING (cluster, node, filesystem, resource)
    WHERE f.n = 1
),
lately AS (
    SELECT f.*, s.changed FROM fitted AS f JOIN starts AS s USING (cluster, node, filesystem, resource) WHERE f.n >= s.first
),
slopes AS (
    SELECT a.cluster, a.node, a.filesystem, a.resource, quantile_cont((b.used - a.used) / (b.t - a.t), [0.1, 0.5, 0.9]) AS slope
    FROM lately AS a JOIN lately AS b USING (cluster, node, filesystem, resource)
    WHERE b.t > a.t GROUP BY ALL
),
newest AS (
    SELECT cluster, node, filesystem, resource, max(sampled) AS sampled, arg_max(free, moment) AS free, arg_max(capacity, moment) AS capacity FROM each GROUP BY ALL
),
told AS (
    SELECT cluster, node, filesystem, resource, min(sampled) AS since, any_value(changed) AS changed, count(*) AS samples,
        arg_min(slope_before, n) FILTER (changed) AS before
    FROM lately GROUP BY ALL
)
SELECT t.resource, t.filesystem,
    CASE WHEN s.slope[2] > 0 AND w.free / s.slope[2] < 3e9 THEN w.sampled + to_microseconds((w.free / s.slope[2] * 1e6)::BIGINT) END AS full_at,
    CASE WHEN s.slope[3] > 0 AND w.free / s.slope[3] < 3e9 THEN w.sampled + to_microseconds((w.free / s.slope[3] * 1e6)::BIGINT) END AS full_earliest,
    CASE WHEN s.slope[1] > 0 AND w.free / s.slope[1] < 3e9 THEN w.sampled + to_microseconds((w.free / s.slope[1] * 1e6)::BIGINT) END AS full_latest,
    round(s.slope[2] * 3600)::BIGINT AS hourly, t.since AS slope_since, t.changed AS slope_changed, round(t.before * 3600)::BIGINT AS hourly_before,
    w.free, w.capacity, t.samples, w.sampled AS last_sampled, t.cluster, t.node
FROM told AS t
JOIN newest AS w USING (cluster, node, filesystem, resource)
LEFT JOIN slopes AS s USING (cluster, node, filesystem, resource)
ORDER BY full_at NULLS LAST, t.node, t.filesystem, t.resource
