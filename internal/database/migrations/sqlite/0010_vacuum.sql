-- compatible: 9
-- This version is about PostgreSQL's autovacuum. New SQLite files have incremental vacuum.
SELECT 1;
