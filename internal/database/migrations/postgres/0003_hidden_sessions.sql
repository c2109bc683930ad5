-- The few sessions that are being deleted or imported.
CREATE INDEX IF NOT EXISTS idx_sessions_hidden ON sessions (id) WHERE deleting_since IS NOT NULL OR importing_since IS NOT NULL;

-- Sessions by the beginning of a hash: the order of bytes, not that of a language.
CREATE INDEX IF NOT EXISTS idx_sessions_hash ON sessions (file_sha256 COLLATE "C");
