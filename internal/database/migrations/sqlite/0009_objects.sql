-- Older programs do not find the data of blocks in a bucket, so they must not use this schema.
--
-- Every object that is not used any more gets a row in unused_objects, whichever way its
-- block was deleted.
CREATE TRIGGER IF NOT EXISTS block_leaves_object AFTER DELETE ON blocks WHEN OLD.object <> ''
BEGIN
    INSERT INTO unused_objects (name, since) VALUES (OLD.object, CAST(unixepoch('subsec') * 1000000 AS INTEGER));
END;
