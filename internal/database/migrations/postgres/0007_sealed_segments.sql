-- Older programs do not find the events of sealed segments, so they must not use this schema.
--
-- These values are compressed already.
ALTER TABLE segments ALTER COLUMN columns SET STORAGE EXTERNAL, ALTER COLUMN skip SET STORAGE EXTERNAL;
ALTER TABLE blocks ALTER COLUMN data SET STORAGE EXTERNAL;
