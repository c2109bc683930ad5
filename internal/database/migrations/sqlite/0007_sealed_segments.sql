-- Older programs do not find the events of sealed segments, so they must not use this schema.
--
-- In rows of an older version, the packed columns come before the new values, which SQLite
-- could reach only through all of their pages.
CREATE TABLE segments_in_order (
    session_id varchar(255),
    number integer,
    first_time datetime NOT NULL,
    last_time datetime NOT NULL,
    event_count integer NOT NULL DEFAULT 4096,
    is_sealed numeric NOT NULL DEFAULT false,
    min_id integer NOT NULL DEFAULT 0,
    max_id integer NOT NULL DEFAULT 0,
    skip blob,
    damage text NOT NULL DEFAULT '',
    columns blob NOT NULL,
    PRIMARY KEY (session_id, number),
    CONSTRAINT fk_segments_session FOREIGN KEY (session_id) REFERENCES sessions (id) ON DELETE CASCADE
);

INSERT INTO segments_in_order (session_id, number, first_time, last_time, event_count, is_sealed, min_id, max_id, skip, damage, columns)
SELECT session_id, number, first_time, last_time, event_count, is_sealed, min_id, max_id, skip, damage, columns FROM segments;

DROP TABLE segments;

ALTER TABLE segments_in_order RENAME TO segments;

CREATE INDEX idx_segments_ids ON segments (min_id) WHERE is_sealed;

CREATE INDEX idx_segments_damage ON segments (damage) WHERE damage <> '';
