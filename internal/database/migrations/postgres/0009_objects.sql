-- Older programs do not find the data of blocks in a bucket, so they must not use this schema.
--
-- Every object that is not used any more gets a row in unused_objects, whichever way its
-- block was deleted.
CREATE OR REPLACE FUNCTION note_unused_object() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO unused_objects (name, since) VALUES (OLD.object, (EXTRACT(EPOCH FROM clock_timestamp()) * 1000000)::bigint);
    RETURN NULL;
END
$$;

DROP TRIGGER IF EXISTS note_unused_object ON blocks;
CREATE TRIGGER note_unused_object AFTER DELETE ON blocks FOR EACH ROW WHEN (OLD.object <> '') EXECUTE FUNCTION note_unused_object();

CREATE OR REPLACE FUNCTION note_unused_objects() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO unused_objects (name, since)
    SELECT object, (EXTRACT(EPOCH FROM clock_timestamp()) * 1000000)::bigint FROM blocks WHERE object <> '';
    RETURN NULL;
END
$$;

DROP TRIGGER IF EXISTS note_unused_objects ON blocks;
CREATE TRIGGER note_unused_objects BEFORE TRUNCATE ON blocks FOR EACH STATEMENT EXECUTE FUNCTION note_unused_objects();
