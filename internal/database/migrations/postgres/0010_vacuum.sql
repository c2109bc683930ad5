-- compatible: 9
-- Retention and sealing delete many rows at once. By default, autovacuum waits until 20 % of
-- a table are dead, and the file system gets nothing back until then. These tables are
-- vacuumed early, so that later events reuse the space, and empty pages at the end of a
-- table are cut off.
--
-- A row of segments or blocks is large, but its large values are in the TOAST table, which
-- has settings of its own.
ALTER TABLE events SET (
    autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000, vacuum_truncate = on,
    toast.autovacuum_vacuum_scale_factor = 0.02, toast.autovacuum_vacuum_threshold = 5000, toast.vacuum_truncate = on
);
ALTER TABLE segments SET (
    autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 50, vacuum_truncate = on,
    toast.autovacuum_vacuum_scale_factor = 0.02, toast.autovacuum_vacuum_threshold = 1000, toast.vacuum_truncate = on
);
ALTER TABLE blocks SET (
    autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 50, vacuum_truncate = on,
    toast.autovacuum_vacuum_scale_factor = 0.02, toast.autovacuum_vacuum_threshold = 1000, toast.vacuum_truncate = on
);

-- Each group of events updates the counter of its session, which is in no index. With free
-- space on the page, the new version of the row stays there (a HOT update), and the table
-- does not grow.
ALTER TABLE sessions SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 100);
